"""Vocabulary files: WordPiece, byte-level BPE and Unigram, checked for consistency."""

import gzip
import io
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

from tokenizers import pre_tokenizers

from hf_zhclip.budget import MOST_JSON_BYTES, MOST_ROWS, MOST_TEXT_BYTES
from hf_zhclip.json_files import Field, brief, check_each, check_fields, is_kind, parse_json
from hf_zhclip.steady import steady
from hf_zhclip.tokenizer_files import check_lengths, check_steps

from ..errors import InputError
from .mending import MENDING_STEPS

SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}

DEFAULT_VOCAB = Path(__file__).with_name("vocab.txt")

VOCABULARIES = ("tokenizer.json", "vocab.txt")
"""A folder's vocabulary files; the first existing file is read."""

OPENAI_BPE_FILE = Path(__file__).with_name("bpe_simple_vocab_16e6.txt.gz")

OPENAI_MERGES = 49152 - 256 - 2
"""The number of merges that OpenAI's vocabulary takes from 262,145 in the file (openai/CLIP, simple_tokenizer.py)."""

BPE_FILES = ("tokenizer.json", "vocab.json")
"""A folder's files of a BPE; merges.txt lies beside vocab.json."""

CLIP_ENDS = ("<|startoftext|>", "<|endoftext|>")
"""CLIP's first and last token of a text."""

SENTENCEPIECE = "sentencepiece.bpe.model"
"""SentencePiece's own file; reading it needs a package of its own."""

UNIGRAM_FILES = ("tokenizer.json", SENTENCEPIECE)
"""A folder's files of SentencePiece's unigram model; the second is listed so that an error can say what is missing."""

XLM_ROBERTA_TOKENS = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "cls_token": "<s>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}

BERT_SETTINGS = {
    "do_lower_case": ("lowercase", True),
    "strip_accents": ("strip_accents", None),
    "tokenize_chinese_chars": ("handle_chinese_chars", True),
}
"""Settings of tokenizer_config.json: their names in tokenizer.json, and BertTokenizer's defaults."""

# The parts of a tokenizer.json that are read here.
TOKENIZER = {
    "model": Field((dict, NoneType), needed=False),
    "added_tokens": Field((list,), needed=False),
    **{name: Field((dict, NoneType), needed=False) for name in ("normalizer", "pre_tokenizer", "post_processor")},
}
ADDED_TOKEN = {"content": Field((str,)), "id": Field((int,)), "lstrip": Field((bool,), needed=False)}
BPE_MODEL = {"type": Field((str,)), "vocab": Field((dict,)), "merges": Field((list,))}
UNIGRAM_MODEL = {"vocab": Field((list,)), "unk_id": Field((int,))}
STEP = {"type": Field((str,))}
PRECOMPILED = {"precompiled_charsmap": Field((str,))}
POST_PROCESSOR = {"single": Field((list,), needed=False)}
BERT_NORMALIZER = {name: Field((bool, NoneType), needed=False) for name, _ in BERT_SETTINGS.values()}


def default_vocab() -> list[str]:
    """The vocabulary of every official cn_clip checkpoint: Google's Chinese BERT, 21,128 tokens."""
    return _lines(DEFAULT_VOCAB.read_text(encoding="utf-8"))


def read_vocab(path: Path) -> list[str]:
    """The tokens of a vocab.txt, a tokenizer.json or a folder with one of them, in the order of their ids.

    Raises:
        InputError: the path is anything else.
    """
    file = _vocabulary_file(path, VOCABULARIES) if path.is_dir() else path
    text = _text(file, "a vocab.txt, a tokenizer.json, or a folder with one of these files")
    vocab = _wordpieces(file, text) if file.suffix == ".json" else _lines(text)
    check_vocabulary(vocab, file)
    return vocab


@dataclass(frozen=True)
class Bpe:
    """A byte-level BPE: tokens with ids, merges in order, and the special tokens at which a text is cut first."""

    ids: Mapping[str, int]
    merges: Sequence[tuple[str, str]]
    special: frozenset[str]


def read_bpe(path: Path) -> Bpe:
    """The BPE of a tokenizer.json, of a vocab.json with its merges.txt, or of a folder with either.

    Raises:
        InputError: the path is anything else.
    """
    folder = path if path.is_dir() else path.parent
    file = _vocabulary_file(folder, BPE_FILES)
    if path not in (folder, file):
        # Merges and settings belong to `file`, and transformers would also read `file`, not `path`.
        raise InputError(
            f"found {path} beside {file.name}, which takes precedence; wanted the folder of both files: {folder}."
        )
    if file.name == "vocab.json":
        ids, merges, special = _json_of(file), _merges(folder / "merges.txt"), set[str]()
    else:
        _, model, added = _tokenizer_json(file)
        if model.get("type") != "BPE":
            raise InputError(
                f"found a tokenizer of type {brief(model.get('type'))} in {file}; wanted BPE, as in CLIP."
            )
        check_fields(model, BPE_MODEL, f"the model of {file}")
        ids = {entry["content"]: entry["id"] for entry in added} | model["vocab"]
        merges = [_pair(merge, file) for merge in model["merges"]]
        special = {entry["content"] for entry in added}
    _check_ids(ids, file)
    _check_bpe(ids, file)
    bpe = Bpe(ids, merges, frozenset({*special, *CLIP_ENDS, *_stated_special_tokens(folder)}))
    _check_merges(bpe, file)
    return bpe


def read_openai_bpe(path: Path) -> Bpe:
    """Like `read_bpe`; also reads OpenAI's bpe_simple_vocab_16e6.txt.gz: a title, then merges; the first are used.

    Raises:
        InputError: the path is anything else.
    """
    if path.is_dir() or path.suffix != ".gz":
        return read_bpe(path)
    if not path.is_file():
        raise InputError(f"found no file {path}; wanted OpenAI's merges, or a folder with {' or '.join(BPE_FILES)}.")
    try:
        with gzip.open(path) as file:
            content = file.read(MOST_TEXT_BYTES + 1)
        if len(content) > MOST_TEXT_BYTES:
            raise InputError(f"found more than {MOST_TEXT_BYTES:,} bytes of text in {path}; wanted OpenAI's merges.")
        lines = content.decode("utf-8").split("\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no gzip of UTF-8 text, or is damaged: {error}. Fetch it again.") from error
    merges = [_pair(line, path) for line in lines[1 : 1 + OPENAI_MERGES] if line]
    if len(merges) < OPENAI_MERGES:
        raise InputError(
            f"{path} has {len(merges)} merges, but OpenAI's vocabulary needs {OPENAI_MERGES}. The file is damaged or "
            "truncated. Fetch it again."
        )
    letters = _byte_letters()
    tokens = [*letters, *(letter + "</w>" for letter in letters), *map("".join, merges), *CLIP_ENDS]
    return Bpe(ids_of(tokens), merges, frozenset(CLIP_ENDS))


def _byte_letters() -> list[str]:
    """GPT-2's letter for each byte, in the order of OpenAI's vocabulary: visible Latin-1 first, then from U+0100."""
    return sorted(pre_tokenizers.ByteLevel.alphabet())


def _merges(file: Path) -> list[tuple[str, str]]:
    lines = _text(file, "the merges that belong to the vocab.json beside it").split("\n")
    return [_pair(line, file) for line in lines if line and not line.startswith("#version")]


def _pair(merge: Any, file: Path) -> tuple[str, str]:
    parts = merge.split(" ") if isinstance(merge, str) else merge
    if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, str) for part in parts):
        raise InputError(f"found the merge {brief(merge)} in {file}; wanted two tokens.")
    return parts[0], parts[1]


def _stated_special_tokens(folder: Path) -> Iterable[str]:
    """Special tokens that the settings beside a vocabulary name; transformers adds them on loading."""
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        settings = optional_json(folder / name)
        for field in ("bos_token", "eos_token", "unk_token", "pad_token"):
            if token := settings.get(field):
                yield token_content(token, field, folder / name)


def _check_bpe(ids: Mapping[str, int], file: Path) -> None:
    if absent := [token for token in CLIP_ENDS if token not in ids]:
        raise InputError(f"found no {', '.join(absent)} among the {len(ids)} tokens of {file}; wanted CLIP's BPE.")
    letters = pre_tokenizers.ByteLevel.alphabet()
    if absent := [f"{letter}{end}" for end in ("", "</w>") for letter in letters if letter + end not in ids]:
        raise InputError(
            f"found no {', '.join(sorted(absent)[:5])} among the {len(ids)} tokens of {file}; wanted a byte-level BPE "
            "with every byte, both alone and at the end of a word."
        )


def _check_merges(bpe: Bpe, file: Path) -> None:
    """Refuses merges that do not belong to the vocabulary: with missing merges, words would get other ids."""
    apart = file.name == "vocab.json"
    name, whose = (file.with_name("merges.txt"), file.name) if apart else (file, "its vocabulary")
    made = {"".join(pair) for pair in bpe.merges}
    used = made.union(*bpe.merges)
    if foreign := sorted(used - bpe.ids.keys()):
        raise InputError(
            f"{name} has merges with {', '.join(foreign[:5])}, but {whose} does not hold these tokens. The merges "
            "belong to another vocabulary, or are damaged. Fetch merges and vocabulary again."
        )
    letters = {*pre_tokenizers.ByteLevel.alphabet()}
    # A token with any other character fills a row that no text reaches.
    reached = {token for token in bpe.ids if letters.issuperset(token.removesuffix("</w>"))}
    needed = reached - bpe.special - {letter + end for letter in letters for end in ("", "</w>")}
    if absent := sorted(needed - made):
        raise InputError(
            f"{name} has {len(bpe.merges)} merges, but {whose} needs {len(needed)} (no merge makes "
            f"{', '.join(absent[:5])}). The merges are damaged or truncated. Fetch {name} again."
        )


@dataclass(frozen=True)
class Unigram:
    """SentencePiece's unigram model: pieces with scores in the order of their ids, and the settings around them.

    `normalizers` are the steps of the file's own normaliser. `splits` says whether a text is cut at every white space,
    or only at spaces. `special` are the tokens at which a text is cut first, with their ids; tokens in `greedy`
    include the white space on their left. `file` is the file that holds the model.
    """

    pieces: Sequence[tuple[str, float]]
    unknown: int
    normalizers: Sequence[Mapping[str, Any]]
    splits: bool
    special: Mapping[str, int]
    greedy: frozenset[str]
    file: Path


def read_unigram(path: Path) -> Unigram:
    """The unigram model of an XLM-R tokenizer.json, or of a folder with one.

    Raises:
        InputError: the path is anything else.
    """
    file = _vocabulary_file(path, UNIGRAM_FILES) if path.is_dir() else path
    if file.suffix == ".model":
        raise InputError(
            f"found {file} but no tokenizer.json; wanted a tokenizer.json, which holds the same vocabulary. Fetch "
            "tokenizer.json from the same repository, or write it. With sentencepiece and protobuf installed, this "
            "code writes it: transformers.AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)."
        )
    file = _vocabulary_file(path, UNIGRAM_FILES) if path.is_dir() else path
    content, model, added = _tokenizer_json(file)
    if model.get("type", "Unigram") != "Unigram":
        raise InputError(
            f"found a tokenizer of type {brief(model.get('type'))} in {file}; wanted Unigram, as in XLM-R."
        )
    check_fields(model, UNIGRAM_MODEL, f"the model of {file}")
    pieces = [_piece(entry, file) for entry in model["vocab"]]
    ids = {piece: number for number, (piece, _) in enumerate(pieces)} | {each["content"]: each["id"] for each in added}
    if absent := [token for token in XLM_ROBERTA_TOKENS.values() if token not in ids]:
        raise InputError(f"found no {', '.join(absent)} among the {len(ids)} tokens of {file}; wanted XLM-R's tokens.")
    _check_ids(ids, file)
    if not 0 <= model["unk_id"] < len(pieces):
        raise InputError(f"found unk_id {model['unk_id']} in {file}; wanted a number from 0 to {len(pieces) - 1}.")
    _check_unigram(content, file)
    return Unigram(
        pieces=pieces,
        unknown=model["unk_id"],
        normalizers=_own_normalizers(content, file),
        splits=_steps(content["pre_tokenizer"], "pretokenizers", file)[0]["type"] == "WhitespaceSplit",
        special={each["content"]: each["id"] for each in added},
        greedy=frozenset(each["content"] for each in added if each.get("lstrip")),
        file=file,
    )


def _piece(entry: Any, file: Path) -> tuple[str, float]:
    match entry:
        case [str(piece), score] if is_kind(score, (float,)):
            return piece, score
    raise InputError(f"found {brief(entry)} in the vocabulary of {file}; wanted a piece and its score.")


def _steps(step: Any, parts: str, file: Path) -> list[dict]:
    """The steps of a sequence; a single step as a list; no steps for null."""
    if step is None:
        return []
    check_fields(step, STEP, f"a step of {file}")
    if step["type"] != "Sequence":
        return [step]
    check_fields(step, {parts: Field((list,))}, f"a sequence of {file}")
    check_each(step[parts], STEP, f"{parts} of {file}")
    return step[parts]


def _own_normalizers(content: Mapping[str, Any], file: Path) -> list[dict]:
    """The steps of a normaliser, without the steps that `with_mending` has put before them."""
    steps = _steps(content.get("normalizer"), "normalizers", file)
    if tuple(steps[: len(MENDING_STEPS)]) != MENDING_STEPS:
        return steps
    return [each for step in steps[len(MENDING_STEPS) :] for each in _steps(step, "normalizers", file)]


def _check_unigram(content: Mapping[str, Any], file: Path) -> None:
    """Refuses a unigram model with another text preparation than XLM-R's in transformers' old and new files."""
    steps = _own_normalizers(content, file)
    unknown = [step["type"] for step in steps if not _is_known(step)]
    if unknown:
        raise InputError(f"found the normalizer {', '.join(unknown)} in {file}; wanted Precompiled, as in XLM-R.")
    # Without this check, Rust code panics inside the library.
    check_each((step for step in steps if step["type"] == "Precompiled"), PRECOMPILED, f"{file}, normalizer")
    cuts = [step["type"] for step in _steps(content.get("pre_tokenizer"), "pretokenizers", file)]
    if cuts not in (["WhitespaceSplit", "Metaspace"], ["Metaspace"]):
        raise InputError(
            f"found the pre-tokenizer {cuts} in {file}; wanted WhitespaceSplit and Metaspace, as in XLM-R."
        )
    post_processor = content.get("post_processor") or {}
    check_fields(post_processor, POST_PROCESSOR, f"the post_processor of {file}")
    around = [_id_of(each) for each in post_processor.get("single", [])]
    if around != ["<s>", "A", "</s>"]:
        raise InputError(
            f"found {brief(around)} as the order of special tokens and text (A) in {file}; wanted <s>, A, </s>, as in "
            "XLM-R."
        )


def _id_of(part: Any) -> Any:
    """The id in a part of a template, `{"SpecialToken": {"id": "<s>"}}`; for anything else, the part itself."""
    match list(part.values()) if isinstance(part, dict) else []:
        case [{"id": name}]:
            return name
    return part


def _is_known(step: Mapping[str, Any]) -> bool:
    joins_spaces = step["type"] == "Replace" and step.get("pattern") == {"Regex": " {2,}"}
    return step["type"] in ("Precompiled", "Strip") or joins_spaces


@dataclass(frozen=True)
class WordPieces:
    """A WordPiece vocabulary: its tokens in the order of their ids, and its preparation of texts."""

    tokens: Sequence[str]
    lowercase: bool
    strip_accents: bool
    cjk_alone: bool


def read_wordpieces(path: Path) -> WordPieces:
    """The WordPiece vocabulary of `read_vocab` with its settings, as BertTokenizer reads them from the same files.

    Raises:
        InputError: the path is anything else.
    """
    folder = path if path.is_dir() else None
    config = optional_json(folder / "tokenizer_config.json") if folder else {}
    # In a folder that this package wrote, only tokenizer.json states the settings.
    normalizer = bert_normalizer(folder) if folder else {}
    found = {name: config.get(key, normalizer.get(name, default)) for key, (name, default) in BERT_SETTINGS.items()}
    lowercase, accents = bool(found["lowercase"]), found["strip_accents"]
    return WordPieces(
        tokens=read_vocab(path),
        lowercase=lowercase,
        strip_accents=lowercase if accents is None else bool(accents),
        cjk_alone=bool(found["handle_chinese_chars"]),
    )


@dataclass(frozen=True)
class Vocabulary:
    """Where a source's vocabulary files lie, and how a witness reads them.

    `files` are a folder's files, of which the first existing file is read. `read` takes the folder or a file. `ends`
    are a text's first and last token. `default` is the packaged vocabulary, for sources that do not need their own.
    """

    files: tuple[str, ...]
    read: Callable[[Path], Any]
    ends: tuple[str, str]
    default: Path | None = None

    def lies_in(self, folder: Path) -> bool:
        """Whether a folder has one of these files."""
        return any((folder / name).is_file() for name in self.files)


WORDPIECE = Vocabulary(VOCABULARIES, read_vocab, ("[CLS]", "[SEP]"), DEFAULT_VOCAB)
"""BERT's vocabulary, as a list of tokens in the order of their ids."""

OWN_WORDPIECE = Vocabulary(VOCABULARIES, read_vocab, ("[CLS]", "[SEP]"))
"""BERT's vocabulary for sources that must have their own, because no vocabulary fits every BERT."""

STATED_WORDPIECE = Vocabulary(VOCABULARIES, read_wordpieces, ("[CLS]", "[SEP]"))
"""BERT's vocabulary as `WordPieces`, for folders that may be cased; no default."""

BPE = Vocabulary(BPE_FILES, read_bpe, CLIP_ENDS)
"""CLIP's vocabulary, as a `Bpe`."""


XLM_ROBERTA = Vocabulary(UNIGRAM_FILES, read_unigram, ("<s>", "</s>"))
"""XLM-R's vocabulary, as a `Unigram`."""


def is_unigram(path: Path) -> bool:
    """Whether a vocabulary is a unigram model, by its tokenizer.json, or a SentencePiece file."""
    present = (path / name for name in (*VOCABULARIES, SENTENCEPIECE) if (path / name).is_file())
    file = next(present, None) if path.is_dir() else path
    if file is None or file.suffix != ".json":
        return file is not None and file.suffix == ".model"
    return isinstance(_tokenizer_json(file)[1].get("vocab"), list)


MULTILINGUAL = Vocabulary(
    (*VOCABULARIES, SENTENCEPIECE),
    lambda path: read_unigram(path) if is_unigram(path) else read_wordpieces(path),
    XLM_ROBERTA.ends,
)
"""XLM-R's vocabulary as a `Unigram`, or BERT's as `WordPieces`, for families with towers of both kinds."""


OPENAI_BPE = Vocabulary(BPE_FILES, read_openai_bpe, CLIP_ENDS, OPENAI_BPE_FILE)
"""CLIP's vocabulary for sources that can use OpenAI's, which ships with this package."""


def _vocabulary_file(folder: Path, names: Sequence[str]) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"found no vocabulary in {folder}; wanted {' or '.join(names)} in this folder.")


def _lines(text: str) -> list[str]:
    # Not splitlines: two tokens of Google's vocabulary contain a line separator (U+2028).
    return text.rstrip("\n").split("\n")


def _wordpieces(file: Path, text: str) -> list[str]:
    _, model, added = _checked_tokenizer(_json(file, text), file)
    if model.get("type", "WordPiece") != "WordPiece":
        raise InputError(
            f"found a tokenizer of type {brief(model.get('type'))} in {file}; wanted WordPiece, as in BERT."
        )
    check_fields(model, {"vocab": Field((dict,))}, f"the model of {file}")
    ids = {entry["content"]: entry["id"] for entry in added} | model["vocab"]
    _check_ids(ids, file)
    if sorted(ids.values()) != list(range(len(ids))):
        raise InputError(
            f"found {len(ids)} tokens in {file}; wanted tokens with the ids 0 to {len(ids) - 1}, each once."
        )
    return sorted(ids, key=ids.__getitem__)


def _json(file: Path, text: str) -> dict:
    content = parse_json(text, str(file))
    check_fields(content, {}, str(file))
    return content


def _tokenizer_json(file: Path) -> tuple[dict, dict, list[dict]]:
    """A tokenizer.json, its model and its added tokens, with their kinds checked."""
    return _checked_tokenizer(_json_of(file), file)


def _checked_tokenizer(content: dict, file: Path) -> tuple[dict, dict, list[dict]]:
    check_fields(content, TOKENIZER, str(file))
    added = content.get("added_tokens", [])
    check_each(added, ADDED_TOKEN, f"{file}, added_tokens")
    check_steps(content, file)
    return content, content.get("model") or {}, added


def steps_of(file: Path) -> dict:
    """The content of a tokenizer.json, with the kinds of its parts checked."""
    return _tokenizer_json(file)[0]


def added_words(file: Path) -> list[str]:
    """The added tokens of a tokenizer.json that its model lacks."""
    _, model, added = _tokenizer_json(file)
    return [entry["content"] for entry in added if entry["content"] not in (model.get("vocab") or ())]


def bert_normalizer(folder: Path) -> dict:
    """The settings of the normaliser in a folder's tokenizer.json; empty without one."""
    file = folder / "tokenizer.json"
    normalizer = (_tokenizer_json(file)[0].get("normalizer") if file.is_file() else None) or {}
    check_fields(normalizer, BERT_NORMALIZER, f"the normalizer of {file}")
    return normalizer


def _check_ids(ids: Mapping[str, Any], file: Path) -> None:
    """Refuses ids that are no rows of an embedding, an id that two tokens share, and tokens that are no words."""
    check_lengths(ids, file)
    for token, number in ids.items():
        if not is_kind(number, (int,)) or not 0 <= number < MOST_ROWS:
            raise InputError(
                f"found the id {brief(number)} of {brief(token)} in {file}; wanted a whole number from 0 to "
                f"{MOST_ROWS - 1}, a row of the embedding. Fetch the file again."
            )
    if twice := [number for number, count in Counter(ids.values()).items() if count > 1]:
        tokens = [token for token, number in ids.items() if number == twice[0]]
        raise InputError(f"found the id {twice[0]} of {brief(tokens)} in {file}; wanted each id once.")


def check_vocabulary(vocab: Sequence[str], file: Path | str = "the vocabulary") -> None:
    check_lengths(vocab, file)
    if absent := [token for token in SPECIAL_TOKENS.values() if token not in vocab]:
        raise InputError(
            f"found no {', '.join(absent)} among the {len(vocab)} tokens of {file}; wanted a BERT vocabulary, "
            "one token a line."
        )
    if repeated := [token for token, count in Counter(vocab).items() if count > 1]:
        found = ", ".join(map(repr, repeated[:5]))
        raise InputError(f"found {found} more than once in {file}; wanted each token once.")


def optional_json(file: Path) -> dict:
    return _json_of(file) if file.is_file() else {}


def _json_of(file: Path) -> dict:
    return _json(file, _text(file, "JSON"))


def _text(file: Path, wanted: str) -> str:
    if not file.is_file():
        raise InputError(f"found no file {file}; wanted {wanted}.")
    if file.stat().st_size > MOST_JSON_BYTES:
        raise InputError(f"found more than {MOST_JSON_BYTES:,} bytes in {file}; wanted {wanted}.")
    try:
        with io.TextIOWrapper(steady(file), encoding="utf-8") as opened:
            text = opened.read()
    except UnicodeDecodeError as error:
        raise InputError(
            f"found bytes in {file} that are not UTF-8 ({error.reason}); wanted text in UTF-8."
        ) from error
    if text.startswith("\ufeff"):
        # transformers also reads these files, and would make it a part of the first token.
        raise InputError(
            f"found a byte order mark at the beginning of {file}; wanted UTF-8 without a byte order mark. Save the "
            "file without the mark, in an editor or in Python: "
            f"import pathlib; f = pathlib.Path({str(file)!r}); f.write_bytes(f.read_bytes()[3:])"
        )
    return text


def ids_of(vocab: Sequence[str]) -> dict[str, int]:
    return {token: number for number, token in enumerate(vocab)}


def token_content(token: Any, name: str, file: Path) -> str:
    """A token that is stated as a text, or as an object that contains the text."""
    content = token.get("content") if isinstance(token, dict) else token
    if not isinstance(content, str):
        raise InputError(f"found {name} {token!r} in {file}; wanted a token's text, or an object with its content.")
    return content
