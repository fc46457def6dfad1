"""Tokenizers whose ids equal the original's, as files that transformers reads back unchanged."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from transformers import BertTokenizer, PreTrainedTokenizerFast

from .errors import InputError

SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}

DEFAULT_VOCAB = Path(__file__).with_name("vocab.txt")

VOCABULARIES = ("tokenizer.json", "vocab.txt")
"""Files of a folder that hold its vocabulary, the first that is there."""

WORD_LIMIT = 200
"""Characters in a word, above which cn_clip makes it [UNK]; BERT's own limit is 100."""

BERT_SETTINGS = {
    "do_lower_case": ("lowercase", True),
    "strip_accents": ("strip_accents", None),
    "tokenize_chinese_chars": ("handle_chinese_chars", True),
}
"""Settings of tokenizer_config.json: their names in tokenizer.json, and what BertTokenizer takes without them."""

# Character classes of cn_clip/clip/bert_tokenizer.py, written so that regex engines of other languages read them too.
CONTROL = r"(?![\t\n\r])[\p{Cc}\p{Cf}\uFFFD]"
ACCENT = r"\p{Mn}"
CJK = (
    "\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002b81f"
    "\U0002b820-\U0002ceaf\uf900-\ufaff\U0002f800-\U0002fa1f"
)
ALONE = rf"[{CJK}\p{{P}}!-/:-@\[-`{{-~]"
"""One CJK character or one punctuation mark: a word of its own."""
NO_LETTER_BEFORE = r"(?:^|[^\p{Cased}\p{Case_Ignorable}])\p{Case_Ignorable}*"
LETTER_AFTER = r"\p{Case_Ignorable}*(?!\p{Case_Ignorable})\p{Cased}"
FINAL_SIGMA = rf"(?<!{NO_LETTER_BEFORE})Σ(?!{LETTER_AFTER})"
"""A capital sigma that str.lower writes ς: the Final_Sigma of the Unicode standard, table 3-17."""


def cn_clip_tokenizer(vocab: Sequence[str], context_length: int) -> PreTrainedTokenizerFast:
    """cn_clip's public `tokenize` as a fast tokenizer.

    It lower-cases, strips accents, and takes `[MASK]` and its like in a text for ordinary characters. A stock
    BertTokenizer can't do this: it knows no word above 100 characters and deletes private-use characters.
    Source: cn_clip/clip/bert_tokenizer.py and utils.py.

    Args:
        vocab: the tokens in the order of their ids.
        context_length: ids at most, [CLS] and [SEP] included.

    Raises:
        InputError: for a vocabulary without the special tokens, with one token twice, or whose id 0 is not [PAD].
    """
    _check_vocabulary(vocab)
    if vocab[0] != "[PAD]":
        raise InputError(f"found {vocab[0]!r} as token 0 of the vocabulary, wanted [PAD]: cn_clip pads with zeros.")
    model = WordPiece(_ids(vocab), unk_token="[UNK]", max_input_chars_per_word=WORD_LIMIT)
    backend = Tokenizer(model)
    backend.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(CONTROL), ""),
            normalizers.Replace(Regex(FINAL_SIGMA), "ς"),
            normalizers.Lowercase(),
            normalizers.NFD(),
            normalizers.Replace(Regex(ACCENT), ""),
        ]
    )
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(ALONE), "isolated")]
    )
    backend.decoder = decoders.WordPiece(prefix="##")
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, vocab.index(token)) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        split_special_tokens=True,
        model_max_length=_checked_length(context_length),
        **SPECIAL_TOKENS,
    )


def bert_tokenizer(source: Path | Sequence[str] | None, context_length: int) -> PreTrainedTokenizerFast:
    """The ids of BertTokenizerFast on the files of a folder, frozen in a tokenizer.json.

    Args:
        source: a folder with tokenizer.json or vocab.txt, and its tokenizer_config.json if any; or a vocabulary or
            its file, used as BertTokenizer does by default (lower-cased, accents stripped).
        context_length: ids at most, [CLS] and [SEP] included.

    Raises:
        InputError: for a folder that does not hold a BERT tokenizer, or whose files contradict each other, and for
            None: no vocabulary serves every BERT.
    """
    if source is None:
        raise InputError(
            "found no vocabulary beside the weights (tokenizer.json or vocab.txt), and none fits every BERT; wanted "
            "the one that it was trained with: --tokenizer PATH."
        )
    if isinstance(source, Path) and not source.is_dir():
        source = read_vocab(source)
    if isinstance(source, Path):
        _check_bert_folder(source)
        original = BertTokenizer.from_pretrained(source)
    else:
        _check_vocabulary(source)
        original = BertTokenizer(vocab=_ids(source))
    backend = original.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=_checked_length(context_length),
        model_input_names=original.model_input_names,
        padding_side=original.padding_side,
        truncation_side=original.truncation_side,
        **{name: getattr(original, name) for name in SPECIAL_TOKENS},
    )


def default_vocab() -> list[str]:
    """The vocabulary of every official cn_clip checkpoint: Google's Chinese BERT, 21,128 tokens."""
    return _lines(DEFAULT_VOCAB.read_text(encoding="utf-8"))


def read_vocab(path: Path) -> list[str]:
    """The tokens of a vocab.txt, a tokenizer.json or a folder with one of them, in the order of their ids.

    Raises:
        InputError: for anything else.
    """
    file = _vocabulary_file(path) if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"found no file {file}; wanted a vocab.txt, a tokenizer.json, or a folder with one of them.")
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"found bytes in {file} that are not UTF-8 ({error.reason}); wanted text.") from error
    vocab = _wordpieces(file, text) if file.suffix == ".json" else _lines(text)
    _check_vocabulary(vocab, file)
    return vocab


def has_vocabulary(folder: Path) -> bool:
    """Whether a folder has a file that `read_vocab` finds there."""
    return any((folder / name).is_file() for name in VOCABULARIES)


def _vocabulary_file(folder: Path) -> Path:
    for name in VOCABULARIES:
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"found no vocabulary in {folder}; wanted {' or '.join(VOCABULARIES)} there.")


def _lines(text: str) -> list[str]:
    # Not splitlines: two tokens of Google's vocabulary hold a line separator (U+2028).
    return text.rstrip("\n").split("\n")


def _wordpieces(file: Path, text: str) -> list[str]:
    content = _json(file, text)
    model = content.get("model") or {}
    if model.get("type", "WordPiece") != "WordPiece" or not isinstance(model.get("vocab"), dict):
        raise InputError(f"found a tokenizer of type {model.get('type')!r} in {file}; wanted WordPiece, BERT's.")
    ids = {entry["content"]: entry["id"] for entry in content.get("added_tokens", [])} | model["vocab"]
    if sorted(ids.values()) != list(range(len(ids))):
        raise InputError(f"found {len(ids)} tokens in {file} whose ids are not 0 to {len(ids) - 1}, each once.")
    return sorted(ids, key=ids.__getitem__)


def _json(file: Path, text: str) -> dict:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"found no JSON in {file}: {error}.") from error
    if not isinstance(content, dict):
        raise InputError(f"found a JSON {type(content).__name__} in {file}; wanted an object.")
    return content


def _check_vocabulary(vocab: Sequence[str], file: Path | str = "the vocabulary") -> None:
    if absent := [token for token in SPECIAL_TOKENS.values() if token not in vocab]:
        raise InputError(
            f"found no {', '.join(absent)} among the {len(vocab)} tokens of {file}; wanted a BERT vocabulary, "
            "one token a line."
        )
    if repeated := [token for token, count in Counter(vocab).items() if count > 1]:
        found = ", ".join(map(repr, repeated[:5]))
        raise InputError(f"found {found} more than once in {file}; wanted each token once.")


def _checked_length(context_length: int) -> int:
    if context_length < 3:
        raise InputError(f"found a context length of {context_length}; wanted at least 3: [CLS], one token and [SEP].")
    return context_length


def _ids(vocab: Sequence[str]) -> dict[str, int]:
    return {token: number for number, token in enumerate(vocab)}


def _check_bert_folder(folder: Path) -> None:
    read_vocab(folder)
    config = _optional_json(folder / "tokenizer_config.json")
    declared = config.get("tokenizer_class") or "BertTokenizer"
    if declared not in ("BertTokenizer", "BertTokenizerFast"):
        raise InputError(
            f"found tokenizer_class {declared!r} in tokenizer_config.json of {folder}; wanted BertTokenizer."
        )
    # BertTokenizer takes its normaliser from tokenizer_config.json and its own defaults, whatever tokenizer.json says.
    normalizer = _optional_json(folder / "tokenizer.json").get("normalizer") or {}
    for setting, (name, default) in BERT_SETTINGS.items():
        if setting not in config and (found := normalizer.get(name, default)) != default:
            raise InputError(
                f"found {name}={found} in tokenizer.json of {folder} but no {setting} in tokenizer_config.json, where "
                f"BertTokenizer takes {default}. Write the {setting} of the training into tokenizer_config.json."
            )


def _optional_json(file: Path) -> dict:
    return _json(file, file.read_text(encoding="utf-8")) if file.is_file() else {}
