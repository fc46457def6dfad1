"""Reads the vocabularies of the originals again from their files, with only the standard library.

For any file content, a reader returns or raises ValueError or LookupError with what was found and expected. Source:
transformers 5, tokenization_utils_base.py (`_from_pretrained`: what the files of a folder add to each other) and
models/bert, models/clip; openai/CLIP, clip/simple_tokenizer.py; huggingface/tokenizers, added_vocabulary.rs.
"""

import base64
import gzip
import json
import os
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from .added import Added

MOST_BYTES = 1 << 28
"""More bytes than any vocabulary's file has; XLM-R's has 17 MB."""

MOST_ROWS = 1 << 24
"""More rows than any model has words."""

BERT_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
XLM_ROBERTA_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
START, END = "<|startoftext|>", "<|endoftext|>"

NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""The fields that name one special token, in the order in which transformers adds the tokens."""

CLIP_NAMED = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
BERT_NAMED = dict(zip(NAMES[2:], ("[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"), strict=True))
"""CLIPTokenizer's and BertTokenizer's own special tokens, for names that no file states."""

OPENAI_MERGES = 49152 - 256 - 2
"""The number of lines after the title that OpenAI's tokenizer uses."""

FROZEN_CLASSES = ("TokenizersBackend", "PreTrainedTokenizerFast", "ChineseCLIPTokenizer")
"""Classes that follow tokenizer.json; BertTokenizer takes only its vocabulary from it.

transformers has no ChineseCLIPTokenizer, and reads tokenizer.json in its place.
"""

KINDS = {dict: "an object", list: "a list", str: "a text", int: "a whole number", bool: "true or false"}


@dataclass(frozen=True)
class WordPieces:
    """A WordPiece vocabulary: its tokens in the order of their ids, its preparation of texts, and the added tokens.

    Added tokens that the vocabulary lacks have the ids that follow. The defaults are BertTokenizer's.
    """

    tokens: Sequence[str]
    lowercase: bool = True
    strip_accents: bool = True
    cjk_alone: bool = True
    added: Sequence[Added] = tuple(map(Added, BERT_TOKENS))

    def rows(self) -> dict[str, int]:
        """The id of each token, also of the added tokens."""
        own = {token: number for number, token in enumerate(self.tokens)}
        return _extended(own, (token.text for token in self.added))


@dataclass(frozen=True)
class Bpe:
    """A byte-level BPE: tokens with ids, merges in order, and the added tokens, at which a text is cut first."""

    ids: Mapping[str, int]
    merges: tuple[tuple[str, str], ...]
    added: Sequence[Added]

    @property
    def special(self) -> frozenset[str]:
        """The texts of the added tokens."""
        return frozenset(token.text for token in self.added)


@dataclass(frozen=True)
class Unigram:
    """A unigram model: pieces with scores in the order of their ids; other fields as for `unigram.xlm_roberta_ids`."""

    pieces: Sequence[tuple[str, float]]
    unknown: int
    normalizers: Sequence[Mapping[str, Any]]
    splits: bool
    special: Mapping[str, int]
    added: Sequence[Added]

    @property
    def greedy(self) -> frozenset[str]:
        """The texts of the added tokens that include the white space on their left."""
        return frozenset(token.text for token in self.added if token.left)


@dataclass(frozen=True)
class Table:
    """A vocabulary of any kind: each row with its id, the special tokens, and merges or scores."""

    rows: Mapping[str, int]
    special: Sequence[str]
    rules: Sequence[tuple[str, str] | tuple[str, float]] = ()


def table(vocab: Sequence[str] | WordPieces | Bpe | Unigram) -> Table:
    """A vocabulary from one of the readers here, as a table."""
    if isinstance(vocab, Unigram):
        rows = {piece: number for number, (piece, _) in enumerate(vocab.pieces)} | dict(vocab.special)
        return Table(rows, sorted(vocab.special), tuple(vocab.pieces))
    if isinstance(vocab, Bpe):
        return Table(vocab.ids, sorted(vocab.special), vocab.merges)
    if isinstance(vocab, WordPieces):
        return Table(vocab.rows(), [token.text for token in vocab.added])
    return Table({token: number for number, token in enumerate(vocab)}, BERT_TOKENS)


def wordpiece(path: Path) -> list[str]:
    """The tokens of a vocab.txt, of a tokenizer.json, or of a folder with either, in the order of their ids.

    Raises:
        ValueError, LookupError: if the path is anything else.
    """
    tokens, listed, file = _wordpieces(path)
    # transformers adds tokens in the order of their stated ids; the tokenizers library uses the file's order.
    rows = WordPieces(tokens, added=[listed[number] for number in sorted(listed)]).rows()
    _require(BERT_TOKENS, rows, file)
    return list(rows)


def added_wordpiece(path: Path) -> WordPieces:
    """Like `wordpiece`, with the tokens that the folder adds; a file alone adds BERT's own.

    Raises:
        ValueError, LookupError: if no WordPiece vocabulary is there.
    """
    if not os.path.isdir(path):
        return WordPieces(wordpiece(path))
    tokens, listed, file = _wordpieces(path)
    found = WordPieces(tokens, added=_added_tokens(path, listed, BERT_NAMED))
    _require(BERT_TOKENS, found.rows(), file)
    return found


def stated_wordpiece(path: Path) -> WordPieces:
    """Like `added_wordpiece`, with the settings that BertTokenizer finds in the folder; a file has its defaults.

    Raises:
        ValueError, LookupError: if no WordPiece vocabulary is there, or if a setting has another type.
    """
    found = added_wordpiece(path)
    if not os.path.isdir(path):
        return found
    lowercase, accents, cjk_alone = _bert_settings(path)
    # BERT's own rule (google-research/bert, tokenization.py): lower-casing also strips accents.
    accents = lowercase if accents is None else accents
    return replace(found, lowercase=lowercase, strip_accents=accents, cjk_alone=cjk_alone)


def clip_bpe(path: Path) -> Bpe:
    """What CLIPTokenizer reads from a folder: tokenizer.json, else vocab.json with merges.txt, and the settings there.

    Args:
        path: the folder, or the first existing of these files in it.

    Raises:
        ValueError, LookupError: if the path is anything else, or if merges do not fit their vocabulary.
    """
    folder = path if os.path.isdir(path) else path.parent
    file = _first(folder, "tokenizer.json", "vocab.json")
    if path not in (folder, file):
        raise ValueError(f"found {path} beside {file.name}, which goes first; wanted their folder: {folder}.")
    if file.name == "vocab.json":
        ids, merges, listed = _object(file), _merge_lines(folder / "merges.txt"), dict[int, Added]()
    else:
        content = _object(file)
        model = _model(content, "BPE", dict, file)
        ids, listed = model["vocab"], _added(content, file)
        merges = [_pair(each, file) for each in _field(model, "merges", list, file)]
    _check_ids(ids, file)
    _check_bpe(ids, merges, file)
    added = _added_tokens(folder, listed, CLIP_NAMED)
    _check_clip_ends(folder)
    bpe = Bpe(_extended(ids, (token.text for token in added)), tuple(merges), added)
    _check_all_made(bpe, file)
    return bpe


def openai_bpe(path: Path) -> Bpe:
    """OpenAI's vocabulary from its file of merges (.txt.gz), or the vocabulary that `clip_bpe` reads.

    Ids: the letters of the 256 bytes, the same letters at the end of a word, each merge's result, and the two ends.

    Raises:
        ValueError, LookupError: if the path is anything else.
    """
    if os.path.isdir(path) or path.suffix != ".gz":
        return clip_bpe(path)
    lines = _text(path, "OpenAI's merges").split("\n")[1 : 1 + OPENAI_MERGES]
    merges = [_pair(line.split(), path) for line in lines if line.strip()]
    if len(merges) < OPENAI_MERGES:
        raise ValueError(f"found {len(merges)} merges in {path}; wanted {OPENAI_MERGES}, OpenAI's: it may be cut.")
    letters = _letters()
    tokens = [*letters, *(letter + "</w>" for letter in letters), *map("".join, merges), START, END]
    ids = {token: number for number, token in enumerate(tokens)}
    _check_bpe(ids, merges, path)
    return Bpe(ids, tuple(merges), (Added(START), Added(END)))


def unigram(path: Path) -> Unigram:
    """XLM-R's unigram model from a tokenizer.json or its folder, of the source or of a converted repo.

    Raises:
        ValueError, LookupError: if the path is anything else.
    """
    file = _first(path, "tokenizer.json", "sentencepiece.bpe.model") if os.path.isdir(path) else path
    if file.suffix == ".model":
        raise LookupError(f"found {file} but no tokenizer.json; wanted the tokenizer.json of the same repository.")
    content = _object(file)
    model = _model(content, "Unigram", list, file)
    if model.get("byte_fallback"):
        raise ValueError(f"found byte_fallback in {file}; wanted XLM-R's, which has no pieces for single bytes.")
    pieces = [_piece(each, file) for each in model["vocab"]]
    unknown = _field(model, "unk_id", int, file)
    if not 0 <= unknown < len(pieces):
        raise ValueError(f"found unk_id {_short(unknown)} and {len(pieces)} pieces in {file}; wanted one of theirs.")
    added = tuple(_added(content, file).values())
    own = {piece: number for number, (piece, _) in enumerate(pieces)}
    ids = _extended(own, (token.text for token in added))
    _require(XLM_ROBERTA_TOKENS, ids, file)
    _check_ends(content, file)
    return Unigram(
        pieces=pieces,
        unknown=unknown,
        normalizers=_own_steps(content, file),
        splits=_splits(content, file),
        special={token.text: ids[token.text] for token in added},
        added=added,
    )


def multilingual(path: Path) -> Unigram | WordPieces:
    """XLM-R's model, or BERT's vocabulary with its settings, whichever the folder or file holds.

    Raises:
        ValueError, LookupError: if the path is anything else.
    """
    names = ("tokenizer.json", "vocab.txt", "sentencepiece.bpe.model")
    file = _first(path, *names) if os.path.isdir(path) else path
    if file.suffix == ".model":
        return unigram(path)
    pieces = file.suffix == ".json" and type(_field(_object(file), "model", dict, file).get("vocab")) is list
    return unigram(path) if pieces else stated_wordpiece(path)


# Files.


def _first(folder: Path, *names: str) -> Path:
    for name in names:
        if os.path.isfile(folder / name):
            return folder / name
    raise LookupError(f"found no vocabulary in {folder}; wanted {' or '.join(names)} there.")


def _text(file: Path, wanted: str) -> str:
    if not os.path.isfile(file):
        raise LookupError(f"found no file {file}; wanted {wanted}.")
    try:
        with gzip.open(file) if file.suffix == ".gz" else open(file, "rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"found {file}, which can not be read ({error}); wanted {wanted}.") from error
    if len(content) > MOST_BYTES:
        raise ValueError(f"found more than {MOST_BYTES} bytes in {file}; wanted {wanted}.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"found bytes in {file} that are no UTF-8 ({error.reason}); wanted {wanted}.") from error


def _lines(text: str) -> list[str]:
    """Lines as in Python's text files, without empty lines at the end; U+2028 and similar characters end no line."""
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").split("\n")


def _object(file: Path) -> dict[str, Any]:
    text = _text(file, "a JSON object")
    try:
        content = json.loads(text, object_pairs_hook=_each_key_once, parse_constant=_no_number)
        if "\\ud" in text.lower():
            json.dumps(content, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError(f"found JSON nested too deep in {file}; wanted a JSON object.") from error
    except UnicodeEncodeError as error:
        raise ValueError(f"found half a character (a lone surrogate) in {file}; wanted text.") from error
    except ValueError as error:
        raise ValueError(f"found no sound JSON in {file} ({error}); wanted a JSON object.") from error
    if type(content) is not dict:
        raise ValueError(f"found {_kind(content)} in {file}; wanted a JSON object.")
    return content


def _optional(file: Path) -> dict[str, Any]:
    return _object(file) if os.path.isfile(file) else {}


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = sorted(key for key, _ in pairs)
        raise ValueError(f"the key {next(a for a, b in pairwise(keys) if a == b)!r} stands twice")
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


# Values. JSON's types are exact: a bool is no int here.


def _kind(value: Any) -> str:
    return "null" if value is None else KINDS.get(type(value), "a number")


def _short(value: Any) -> str:
    """The value for a message; Python cannot write a number with thousands of digits."""
    return f"a number of {value.bit_length()} bits" if type(value) is int and abs(value) > 1 << 64 else repr(value)


def _checked(value: Any, kind: type, what: str, file: Path) -> Any:
    if type(value) is not kind:
        raise ValueError(f"found {_kind(value)} as {what} in {file}; wanted {KINDS[kind]}.")
    return value


def _field(holder: Mapping[str, Any], name: str, kind: type, file: Path) -> Any:
    if name not in holder:
        raise LookupError(f"found no {name} in {file}; wanted {KINDS[kind]} of that name.")
    return _checked(holder[name], kind, name, file)


def _row(value: Any, what: str, file: Path) -> int:
    if type(value) is not int or not 0 <= value < MOST_ROWS:
        found = _short(value) if type(value) is int else _kind(value)
        raise ValueError(f"found {found} as {what} in {file}; wanted a whole number from 0 to {MOST_ROWS - 1}.")
    return value


def _require(wanted: Iterable[str], tokens: Iterable[str], file: Path) -> None:
    found = frozenset(tokens)
    if absent := [token for token in wanted if token not in found]:
        raise LookupError(f"found no {', '.join(absent[:5])} among the {len(found)} tokens of {file}; wanted each.")


def _check_ids(ids: Mapping[str, Any], file: Path) -> None:
    rows = {_row(number, f"the id of {token!r}", file) for token, number in ids.items()}
    if len(rows) < len(ids):
        raise ValueError(f"found {len(ids)} tokens with {len(rows)} ids in {file}; wanted an id for each.")


# The content of a tokenizer.json.


def _model(content: Mapping[str, Any], kind: str, vocabulary: type, file: Path) -> dict[str, Any]:
    """The tokenizer.json's model; old files do not state its type."""
    model = _field(content, "model", dict, file)
    if model.get("type", kind) != kind:
        found = model["type"] if type(model["type"]) is str else _kind(model["type"])
        raise ValueError(f"found a model of type {found} in {file}; wanted {kind}.")
    _field(model, "vocab", vocabulary, file)
    return model


def _added(content: Mapping[str, Any], file: Path) -> dict[int, Added]:
    """The entries of added_tokens by their stated ids, in the file's order."""
    listed = [] if content.get("added_tokens") is None else _field(content, "added_tokens", list, file)
    found = {}
    for each in listed:
        _checked(each, dict, "an added token", file)
        number = _row(each.get("id"), "the id of an added token", file)
        found[number] = _as_added(each, "an added token", file)
    return found


def _as_added(stated: Any, what: str, file: Path, special: bool = False) -> Added:
    """An added token as transformers reads it; a special token is not normalised unless the file says so."""
    text, fields = _token(stated, what, file), stated if type(stated) is dict else {}

    def flag(name: str, otherwise: bool) -> bool:
        return _checked(fields.get(name, otherwise), bool, name, file)

    return Added(
        text,
        normalized=flag("normalized", not flag("special", special)),
        single_word=flag("single_word", False),
        left=flag("lstrip", False),
        right=flag("rstrip", False),
    )


def _token(stated: Any, what: str, file: Path) -> str:
    """A token that is stated as a text, or as an object with its content."""
    token: Any = stated.get("content") if type(stated) is dict else stated
    if not _checked(token, str, f"the text of {what}", file):
        raise ValueError(f"found an empty text as {what} in {file}; wanted a token.")
    return token


def _extended(ids: Mapping[str, int], added: Iterable[str]) -> dict[str, int]:
    """The ids plus the tokens that the model lacks: they follow its last id, whatever id the file states."""
    found = dict(ids)
    for token in added:
        found.setdefault(token, len(found))
    return found


def _wordpieces(path: Path) -> tuple[list[str], dict[int, Added], Path]:
    """A WordPiece model's own tokens, the added tokens of a tokenizer.json by their stated ids, and the file."""
    file = _first(path, "tokenizer.json", "vocab.txt") if os.path.isdir(path) else path
    if file.suffix != ".json":
        tokens, listed = _lines(_text(file, "one token a line")), dict[int, Added]()
    else:
        content = _object(file)
        vocab = _model(content, "WordPiece", dict, file)["vocab"]
        _check_ids(vocab, file)
        if set(vocab.values()) != set(range(len(vocab))):
            raise ValueError(
                f"found {len(vocab)} tokens in {file} whose ids leave gaps; wanted 0 to {len(vocab) - 1}."
            )
        tokens, listed = sorted(vocab, key=vocab.__getitem__), _added(content, file)
    if len(set(tokens)) < len(tokens):
        twice = [token for token, count in Counter(tokens).items() if count > 1]
        raise ValueError(f"found {', '.join(map(repr, twice[:5]))} twice or more in {file}; wanted each token once.")
    return tokens, listed, file


def _added_tokens(folder: Path, listed: Mapping[int, Added], own: Mapping[str, str]) -> tuple[Added, ...]:
    """The tokens at which transformers' class cuts a text, in the order in which it adds them.

    Args:
        listed: the added tokens of tokenizer.json by their ids, if the folder has one.
        own: the class's own special tokens, by the name of their field.
    """
    file = folder / "tokenizer_config.json"
    settings = _optional(file)
    if "added_tokens_decoder" in settings:
        stated = _field(settings, "added_tokens_decoder", dict, file)
        tokens = {_number(key, file): _as_added(each, "an added token", file) for key, each in stated.items()}
        # transformers then ignores special_tokens_map.json and the added tokens of tokenizer.json.
        if settings.get("tokenizer_class") in FROZEN_CLASSES:
            tokens = {**listed, **tokens}
    else:
        settings = {**settings, **_optional(folder / "special_tokens_map.json")}
        special = {token.text for token in _named(settings, {}, file)}
        more = folder / "added_tokens.json"
        tokens = {}
        for text, number in _optional(more).items():
            number, text = _row(number, "an id", more), _token(text, "a token", more)
            tokens[number] = Added(text, normalized=text not in special)
        tokens |= listed
    found = [*(tokens[number] for number in sorted(tokens)), *_named(settings, own, file)]
    # What a list of added tokens states of a token goes before what its name states.
    texts = {token.text: token for token in reversed(found)}
    if settings.get("tokenizer_class") in FROZEN_CLASSES:
        found = [*listed.values(), *found]
    return tuple(texts[text] for text in dict.fromkeys(token.text for token in found))


def _bert_settings(folder: Path) -> tuple[bool, bool | None, bool]:
    """Whether BertTokenizer lower-cases, strips accents (None: not stated) and separates CJK characters."""
    file, names = folder / "tokenizer_config.json", ("do_lower_case", "strip_accents", "tokenize_chinese_chars")
    stated = _optional(file)
    if stated.get("tokenizer_class") in FROZEN_CLASSES:
        file, names = folder / "tokenizer.json", ("lowercase", "strip_accents", "handle_chinese_chars")
        stated = _field(_object(file), "normalizer", dict, file)
        if stated.get("type") != "BertNormalizer":
            raise ValueError(f"found a normalizer of another type in {file}; wanted BertNormalizer.")
        _field(stated, names[0], bool, file), _field(stated, names[2], bool, file)
    lowercase = _checked(stated.get(names[0], True), bool, names[0], file)
    accents = None if stated.get(names[1]) is None else _checked(stated[names[1]], bool, names[1], file)
    return lowercase, accents, _checked(stated.get(names[2], True), bool, names[2], file)


# BPE.


def _letters() -> list[str]:
    """GPT-2's letter for each byte, in the order of OpenAI's ids: visible Latin-1 first, then from U+0100."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [*map(chr, visible), *(chr(256 + number) for number in range(256 - len(visible)))]


def _merge_lines(file: Path) -> list[tuple[str, str]]:
    lines = _lines(_text(file, "the merges that belong to the vocab.json beside it"))
    return [_pair(line, file) for line in lines if line and not line.startswith("#version")]


def _pair(merge: Any, file: Path) -> tuple[str, str]:
    parts = merge.split(" ") if type(merge) is str else merge
    if type(parts) is not list or [type(part) for part in parts] != [str, str]:
        raise ValueError(f"found {str(merge)[:80]!r} as a merge in {file}; wanted two tokens.")
    return parts[0], parts[1]


def _check_bpe(ids: Mapping[str, int], merges: Sequence[tuple[str, str]], file: Path) -> None:
    """Refuses tokens without an id: of a text's bytes, of a merge, or of a text's ends."""
    _require((START, END), ids, file)
    _require((letter + end for letter in _letters() for end in ("", "</w>")), ids, file)
    for first, second in merges:
        if not {first, second, first + second} <= ids.keys():
            raise ValueError(
                f"found the merge {first} {second} beside {file}, which lacks its tokens; wanted its own."
            )


def _check_all_made(bpe: Bpe, file: Path) -> None:
    """Refuses an incomplete list of merges: no merge makes some token that consists of bytes."""
    letters = frozenset(_letters())
    made = {first + second for first, second in bpe.merges} | bpe.special
    for token in bpe.ids.keys() - made:
        plain = token.removesuffix("</w>")
        if len(plain) > 1 and letters.issuperset(plain):
            raise ValueError(f"found no merge that makes {token!r} of {file}; wanted all: they may be cut.")


def _check_clip_ends(folder: Path) -> None:
    file = folder / "tokenizer_config.json"
    settings = _optional(file)
    if "added_tokens_decoder" not in settings:
        settings = {**settings, **_optional(folder / "special_tokens_map.json")}
    ends = [token.text for token in _named(settings, CLIP_NAMED, file)][:2]
    if ends != [START, END]:
        raise ValueError(f"found {ends} as the ends of a text in {file}; wanted {START} and {END}, CLIP's.")


def _named(settings: Mapping[str, Any], own: Mapping[str, str], file: Path) -> list[Added]:
    """The tokens that the settings name, after the class's own."""
    given = ((name, settings.get(name, own.get(name))) for name in NAMES)
    named = [_as_added(each, name, file, special=True) for name, each in given if each]
    more = settings.get("extra_special_tokens") or settings.get("additional_special_tokens") or []
    listed = list(more.values()) if type(more) is dict else _checked(more, list, "special tokens", file)
    return [*named, *(_as_added(each, "a special token", file, special=True) for each in listed)]


def _number(key: str, file: Path) -> int:
    if not (key.isascii() and key.isdecimal() and len(key) < 9):
        raise ValueError(f"found the id {key[:80]!r} of an added token in {file}; wanted a whole number.")
    return int(key)


# Unigram.


def _piece(stated: Any, file: Path) -> tuple[str, float]:
    if type(stated) is not list or len(stated) != 2 or type(stated[0]) is not str:
        raise ValueError(f"found {_kind(stated)} among the pieces of {file}; wanted a text and its score in each.")
    piece, score = stated
    if type(score) not in (int, float) or not -1e30 < score < 1e30:
        raise ValueError(f"found {_kind(score)} as the score of {piece!r} in {file}; wanted a logarithm.")
    return piece, float(score)


def _steps(content: Mapping[str, Any], name: str, parts: str, file: Path) -> list[dict[str, Any]]:
    """The steps of a field that may be null, one step, or a sequence; inner sequences stay steps."""
    if content.get(name) is None:
        return []
    step = _field(content, name, dict, file)
    listed = _field(step, parts, list, file) if step.get("type") == "Sequence" else [step]
    for each in listed:
        _field(_checked(each, dict, f"a part of {name}", file), "type", str, file)
    return listed


def _own_steps(content: Mapping[str, Any], file: Path) -> list[dict[str, Any]]:
    """The steps of XLM-R's normaliser.

    A converted open_clip repo has other steps before them, which replace ftfy and end in NFC; `bpe.mended` is their
    witness. XLM-R's own steps contain no NFC.
    """
    steps = _steps(content, "normalizer", "normalizers", file)
    kinds = [step["type"] for step in steps]
    front = len(kinds) - kinds[::-1].index("NFC") if "NFC" in kinds else 0
    if front and set(kinds[: front - 1]) != {"Replace"}:
        raise ValueError(f"found NFC behind {', '.join(kinds[: front - 1]) or 'nothing'} in {file}; wanted XLM-R's.")
    own = [part for step in steps[front:] for part in _steps({"it": step}, "it", "normalizers", file)]
    for step in own:
        _check_step(step, file)
    return own


def _check_step(step: Mapping[str, Any], file: Path) -> None:
    """Refuses steps that `unigram.xlm_roberta_ids` does not know."""
    if step["type"] == "Precompiled":
        _check_map(_field(step, "precompiled_charsmap", str, file), file)
    elif step["type"] == "Strip":
        _field(step, "strip_left", bool, file), _field(step, "strip_right", bool, file)
    elif step["type"] != "Replace" or step.get("pattern") != {"Regex": " {2,}"}:
        raise ValueError(f"found the normalizer {step['type']} in {file}; wanted XLM-R's: a map, and spaces joined.")
    else:
        _field(step, "content", str, file)


def _check_map(text: str, file: Path) -> None:
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError(
            f"found a character map in {file} that is no base64 ({error}); wanted SentencePiece's."
        ) from error
    size = int.from_bytes(content[:4], "little")
    if size < 4 or size % 4 or len(content) < 4 + size:
        raise ValueError(f"found a character map of {len(content)} bytes in {file}, which is cut; wanted it whole.")


def _splits(content: Mapping[str, Any], file: Path) -> bool:
    """Whether words end at every white space, or only at spaces."""
    steps = _steps(content, "pre_tokenizer", "pretokenizers", file)
    kinds = [step["type"] for step in steps]
    if kinds not in (["WhitespaceSplit", "Metaspace"], ["Metaspace"]):
        raise ValueError(f"found the pre-tokenizers {kinds} in {file}; wanted WhitespaceSplit and Metaspace, XLM-R's.")
    wanted = {"replacement": "▁", "prepend_scheme": "always", "add_prefix_space": True, "split": True}
    if other := [name for name, value in wanted.items() if steps[-1].get(name, value) != value]:
        raise ValueError(f"found another {', '.join(other)} of Metaspace in {file}; wanted XLM-R's: {wanted}.")
    return len(kinds) == 2


def _check_ends(content: Mapping[str, Any], file: Path) -> None:
    single = _field(_field(content, "post_processor", dict, file), "single", list, file)
    around = [next(iter(each.values()), None) if type(each) is dict else None for each in single]
    found = [each.get("id") if type(each) is dict else None for each in around]
    if found != ["<s>", "A", "</s>"]:
        raise ValueError(f"found {str(found)[:80]} as a text and its ends in {file}; wanted <s>, A and </s>, XLM-R's.")
