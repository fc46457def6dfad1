"""Tokenizers with the original's ids, as files that transformers reads back unchanged."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from transformers import BertTokenizer, CLIPTokenizer, PreTrainedTokenizerFast

from hf_zhclip.errors import is_fault
from hf_zhclip.json_files import brief
from hf_zhclip.tokenizer_files import check_added_tokens

from ..errors import InputError
from .mending import mending
from .vocabularies import (
    BERT_SETTINGS,
    CLIP_ENDS,
    OPENAI_BPE_FILE,
    SPECIAL_TOKENS,
    XLM_ROBERTA_TOKENS,
    Unigram,
    added_words,
    bert_normalizer,
    check_vocabulary,
    ids_of,
    optional_json,
    read_bpe,
    read_openai_bpe,
    read_unigram,
    read_vocab,
    steps_of,
    token_content,
)

WORD_LIMIT = 200
"""cn_clip makes a word with more characters [UNK]; BERT's own limit is 100."""

SETTINGS: Mapping[str, tuple[Any, ...]] = {
    "truncation_side": ("right",),
    "padding_side": ("right",),
    "split_special_tokens": (False,),
}
BERT_KINDS: Mapping[str, tuple[Any, ...]] = {
    **SETTINGS,
    "do_lower_case": (True, False),
    "strip_accents": (True, False, None),
    "tokenize_chinese_chars": (True, False),
}
XLM_ROBERTA_SETTINGS: Mapping[str, tuple[Any, ...]] = {**SETTINGS, "add_prefix_space": (True,)}
"""Fields of tokenizer_config.json that change ids or their positions, and the accepted values.

Positions count from the left: padding on the left would shift them, and a text's first token would not come first.
"""

NAMED_TOKENS = tuple(XLM_ROBERTA_TOKENS)
"""Fields of tokenizer_config.json that name one token."""

MORE_TOKENS = ("additional_special_tokens", "extra_special_tokens", "added_tokens_decoder")
"""Fields that name several tokens: in a list, or as the values of an object."""

# Character classes of cn_clip/clip/bert_tokenizer.py, in a syntax that other languages' regex engines also read.
CONTROL = r"(?![\t\n\r])[\p{Cc}\p{Cf}\uFFFD]"
REMOVED = r"(?![\t\n\r])[\p{Cc}\p{Cf}\p{Co}\uFFFD]"
"""The same class with private-use characters (transformers, models/bert/tokenization_bert.py: BasicTokenizer)."""
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
"""A capital sigma that str.lower writes as ς: Final_Sigma in the Unicode standard, table 3-17."""


def cn_clip_tokenizer(vocab: Sequence[str], context_length: int) -> PreTrainedTokenizerFast:
    """cn_clip's public `tokenize` as a fast tokenizer.

    It lower-cases, strips accents, and treats `[MASK]` and similar tokens in a text as ordinary characters. A stock
    BertTokenizer cannot do this: it makes words above 100 characters [UNK] and deletes private-use characters. Source:
    cn_clip/clip/bert_tokenizer.py and utils.py.

    Args:
        vocab: the tokens in the order of their ids.
        context_length: the most ids, including [CLS] and [SEP].

    Raises:
        InputError: the vocabulary has no special tokens, has a token twice, or its id 0 is not [PAD].
    """
    check_vocabulary(vocab)
    if vocab[0] != "[PAD]":
        raise InputError(f"found {vocab[0]!r} as token 0 of the vocabulary, wanted [PAD]: cn_clip pads with zeros.")
    model = WordPiece(ids_of(vocab), unk_token="[UNK]", max_input_chars_per_word=WORD_LIMIT)
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
    """BertTokenizerFast's ids on a folder's files, stored in a tokenizer.json.

    Args:
        source: a folder with tokenizer.json or vocab.txt, and its tokenizer_config.json if it exists; or a vocabulary
            or its file, used with BertTokenizer's defaults (lower-cased, accents stripped).
        context_length: the most ids, including [CLS] and [SEP].

    Raises:
        InputError: the folder holds no BERT tokenizer, or its files contradict each other, or `source` is None: no
            vocabulary fits every BERT.
    """
    if source is None:
        raise InputError(
            "found no vocabulary beside the weights (tokenizer.json or vocab.txt), and no vocabulary fits every BERT; "
            "wanted the vocabulary that the model was trained with: --tokenizer PATH."
        )
    if isinstance(source, Path) and not source.is_dir():
        _check_no_word_is_added(source)
        source = read_vocab(source)
    if isinstance(source, Path):
        _check_bert_folder(source)
        with _read_by_the_library(source):
            original = (PreTrainedTokenizerFast if _is_frozen(source) else BertTokenizer).from_pretrained(source)
    else:
        check_vocabulary(source)
        original = BertTokenizer(vocab=ids_of(source))
    backend = original.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=_checked_length(context_length),
        model_input_names=original.model_input_names,
        padding_side=original.padding_side,
        truncation_side=original.truncation_side,
        **{name: getattr(original, name) or default for name, default in SPECIAL_TOKENS.items()},
    )


def slow_bert_tokenizer(source: Path | Sequence[str] | None, context_length: int) -> PreTrainedTokenizerFast:
    """The ids of transformers' slow BertTokenizer, as a fast tokenizer.

    The fast BertTokenizer has tables of Unicode 8 and treats U+2B820 to U+2B91F as letters. Python's tables, and the
    expressions here, are newer.

    Args:
        source: as for `bert_tokenizer`; a folder must state lower-casing.
        context_length: the most ids, including [CLS] and [SEP].

    Raises:
        InputError: as for `bert_tokenizer`, and if the folder states another preparation of texts.
    """
    fast = bert_tokenizer(source, context_length)
    stated = fast.backend_tokenizer.normalizer
    if not (stated.lowercase and stated.strip_accents is not False and stated.handle_chinese_chars):
        raise InputError(
            f"found do_lower_case {stated.lowercase}, strip_accents {stated.strip_accents} and tokenize_chinese_chars "
            f"{stated.handle_chinese_chars} beside {source}; wanted BertTokenizer's own settings. Take the tokenizer "
            "that the model was trained with."
        )
    fast.backend_tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(REMOVED), ""),
            normalizers.Lowercase(),
            normalizers.NFD(),
            normalizers.Replace(Regex(ACCENT), ""),
        ]
    )
    fast.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(ALONE), "isolated")]
    )
    return fast


def clip_tokenizer(source: Path | None, context_length: int) -> PreTrainedTokenizerFast:
    """CLIPTokenizerFast's ids on a folder's files, stored in a tokenizer.json.

    Args:
        source: a folder with tokenizer.json, or vocab.json and merges.txt; its tokenizer_config.json is read if it
            exists.
        context_length: the most ids, including <|startoftext|> and <|endoftext|>.

    Raises:
        InputError: the folder holds no CLIP tokenizer, or `source` is None: no vocabulary fits every CLIP.
    """
    if source is None:
        raise InputError(
            "found no vocabulary beside the weights (tokenizer.json, or vocab.json with merges.txt), and no "
            "vocabulary fits every model; wanted the vocabulary that the model was trained with: --tokenizer PATH."
        )
    folder = source if source.is_dir() else source.parent
    _check_settings(folder, SETTINGS, "CLIPTokenizer")
    read_bpe(source)
    with _read_by_the_library(folder):
        original = CLIPTokenizer.from_pretrained(folder)
    backend = original.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    # CLIPTokenizer corrects decoded texts in Python code, which a tokenizer.json cannot store.
    backend.decoder = decoders.Sequence(
        [decoders.ByteLevel(), decoders.Replace("</w>", " "), decoders.Strip(" ", 0, 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=_checked_length(context_length),
        model_input_names=original.model_input_names,
        padding_side=original.padding_side,
        truncation_side=original.truncation_side,
        **{name: getattr(original, name) for name in ("bos_token", "eos_token", "unk_token", "pad_token")},
    )


def xlm_roberta_tokenizer(source: Path | None, context_length: int) -> PreTrainedTokenizerFast:
    """XLMRobertaTokenizerFast's ids on a folder's tokenizer.json, stored in a tokenizer.json.

    Args:
        source: a folder with tokenizer.json, and its tokenizer_config.json if it exists; or the tokenizer.json.
        context_length: the most ids, including <s> and </s>.

    Raises:
        InputError: the folder holds no XLM-R tokenizer, or `source` is None: no vocabulary fits every model.
    """
    if source is None:
        raise InputError(
            "found no vocabulary beside the weights (tokenizer.json), and no vocabulary fits every model; wanted the "
            "vocabulary that the model was trained with: --tokenizer PATH."
        )
    unigram = read_unigram(source)
    _check_settings(unigram.file.parent, XLM_ROBERTA_SETTINGS, "XLMRobertaTokenizer")
    _check_xlm_roberta_tokens(unigram)
    with _read_by_the_library(unigram.file):
        backend = Tokenizer.from_file(str(unigram.file))
    backend.no_truncation()
    backend.no_padding()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=_checked_length(context_length),
        # RoBERTa has one token type, and its tokenizer gives no token types.
        model_input_names=["input_ids", "attention_mask"],
        **XLM_ROBERTA_TOKENS,
    )


# For OpenAI's SimpleTokenizer, whose pattern ignores case: a long s also ends "'s". U+0345 is in no word, because it
# is no letter but its capital is a letter.
OPENAI_WORD = r"<\|startoftext\|>|<\|endoftext\|>|'[sſ]|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
IN_NO_WORD = "\u0345"
SWALLOWED = r"(?<=[^\s\p{L}\p{N}])(?<!(?:^|[\s\p{L}\p{N}])(?:<\|(?:start|end)oftext\|>)+)<\|(?=(?:start|end)oftext\|>)"
"""The start of an end token's name after punctuation: a word of punctuation takes this character first."""


def openai_clip_tokenizer(vocabulary: Path | None, context_length: int) -> PreTrainedTokenizerFast:
    """OpenAI's SimpleTokenizer as a fast tokenizer; open_clip's is the same.

    Both originals first apply ftfy and html.unescape to a text. This tokenizer applies ftfy's changes to single
    characters (wide forms, curled quotes, ligatures; NFC), but leaves badly decoded characters and HTML entities
    unchanged. Padding is `<|endoftext|>` instead of the original's 0, because tokens after a text's end are never
    attended to. The reference's function is `bpe.openai_ids`. Source: openai/CLIP, clip/simple_tokenizer.py and
    clip.py.

    Args:
        vocabulary: a path for `read_openai_bpe`; None: OpenAI's own vocabulary, which ships with this package.
        context_length: the most ids, including <|startoftext|> and <|endoftext|>.

    Raises:
        InputError: the file or folder holds no byte-level BPE of CLIP's kind.
    """
    bpe = read_openai_bpe(vocabulary or OPENAI_BPE_FILE)
    backend = Tokenizer(models.BPE(dict(bpe.ids), list(bpe.merges), end_of_word_suffix="</w>"))
    backend.normalizer = normalizers.Sequence(
        [
            *mending(),
            normalizers.Replace(Regex(FINAL_SIGMA), "ς"),
            normalizers.Lowercase(),
            normalizers.Replace(IN_NO_WORD, " "),
            normalizers.Replace(Regex(SWALLOWED), "<| "),
        ]
    )
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(OPENAI_WORD), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.Sequence(
        [decoders.ByteLevel(), decoders.Replace("</w>", " "), decoders.Strip(" ", 0, 1)]
    )
    start, end = CLIP_ENDS
    backend.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        pair=f"{start} $A {end} {end} $B {end}",
        special_tokens=[(token, bpe.ids[token]) for token in CLIP_ENDS],
    )
    # Matched in normalised text: the original lower-cases a text before it looks for these tokens.
    first, last = (AddedToken(token, special=True, normalized=True) for token in CLIP_ENDS)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=_checked_length(context_length),
        model_input_names=["input_ids", "attention_mask"],
        bos_token=first,
        eos_token=last,
        unk_token=last,
        pad_token=last,
    )


@contextmanager
def _read_by_the_library(place: Path) -> Iterator[None]:
    """Reports a library's errors about a vocabulary's files; the library also checks fields that are not read here."""
    check_added_tokens(place if place.is_dir() else place.parent)
    try:
        yield
    except BaseException as error:
        if isinstance(error, MemoryError) or not is_fault(error):
            raise
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"found a tokenizer in {place} that transformers can't read: {said}. Fetch the tokenizer's files again, "
            "or pass the vocabulary that the model was trained with: --tokenizer PATH."
        ) from error


def _checked_length(context_length: int) -> int:
    if context_length < 3:
        raise InputError(f"found a context length of {context_length}; wanted at least 3: [CLS], one token and [SEP].")
    return context_length


def _check_settings(folder: Path, taken: Mapping[str, tuple[Any, ...]], *classes: str) -> None:
    """Refuses a folder whose tokenizer_config.json states another class than these, or an unaccepted setting."""
    config = optional_json(folder / "tokenizer_config.json")
    declared = config.get("tokenizer_class") or classes[0]
    if declared not in classes and str(declared).removesuffix("Fast") not in classes:
        raise InputError(
            f"found tokenizer_class {declared!r} in tokenizer_config.json of {folder}; wanted {classes[0]}. If the "
            f'model was trained with a {classes[0]}, write "tokenizer_class": "{classes[0]}" into this file.'
        )
    for key in taken.keys() & config.keys():
        # Compares the type too: to the class that reads it, 0 is not False.
        if (type(config[key]), config[key]) not in [(type(value), value) for value in taken[key]]:
            wanted = " or ".join(map(json.dumps, taken[key]))
            raise InputError(f"found {key} {config[key]!r} in tokenizer_config.json of {folder}; wanted {wanted}.")
    for name in NAMED_TOKENS:
        if config.get(name) is not None:
            token_content(config[name], name, folder / "tokenizer_config.json")


def _check_xlm_roberta_tokens(unigram: Unigram) -> None:
    """Refuses special tokens in tokenizer_config.json that differ from tokenizer.json, because the latter is used."""
    file = unigram.file.parent / "tokenizer_config.json"
    config = optional_json(file)
    more = unigram.file.parent / "added_tokens.json"
    if absent := [token for token in optional_json(more) if token not in unigram.special]:
        raise InputError(
            f"found {brief(absent)} in {more}, but not in {unigram.file.name}, which is the file that is read. "
            f"Wanted: each token of {more.name} also in {unigram.file.name}. In Python, write {unigram.file.name} "
            f"again: import transformers as t; place = {str(more.parent)!r}; "
            "t.XLMRobertaTokenizer.from_pretrained(place).save_pretrained(place)"
        )
    for name, wanted in XLM_ROBERTA_TOKENS.items():
        if config.get(name) is not None and token_content(config[name], name, file) != wanted:
            raise InputError(f"found {name} {config[name]!r} in {file}; wanted {wanted}, as in XLM-R.")
    for name in MORE_TOKENS:
        stated = config.get(name) or []
        tokens = list(stated.values()) if isinstance(stated, dict) else stated
        if not isinstance(tokens, list) or any(
            token_content(each, name, file) not in unigram.special for each in tokens
        ):
            raise InputError(
                f"found {name} {stated!r} in {file}; wanted a list or an object of special tokens. "
                f"{unigram.file.name} must have these tokens, too."
            )


def _check_no_word_is_added(file: Path) -> None:
    """Refuses a tokenizer.json alone with added tokens that its model lacks: BertTokenizer would not find them."""
    words = added_words(file) if file.suffix == ".json" else []
    if words:
        raise InputError(
            f"found the added tokens {brief(words)} in {file}, but a vocabulary alone does not hold added tokens. "
            f"Pass the folder {file.parent}, whose tokenizer has these tokens."
        )


FROZEN_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend", "ChineseCLIPTokenizer")
"""Classes that take everything from tokenizer.json; the last is one of no transformers, which reads it so, too."""

BERT_STEPS = {"normalizer": "BertNormalizer", "pre_tokenizer": "BertPreTokenizer"}


def _is_frozen(folder: Path) -> bool:
    return optional_json(folder / "tokenizer_config.json").get("tokenizer_class") in FROZEN_CLASSES


def _check_frozen(folder: Path) -> None:
    """Refuses a folder without a tokenizer.json of BERT's kind, if its class takes everything from that file."""
    named = f"tokenizer_class {optional_json(folder / 'tokenizer_config.json')['tokenizer_class']!r}"
    file = folder / "tokenizer.json"
    way_out = (
        f'If the model was trained with a BertTokenizer, write "tokenizer_class": "BertTokenizer" into '
        f"{folder / 'tokenizer_config.json'}."
    )
    if not file.is_file():
        raise InputError(
            f"found {named} but no tokenizer.json in {folder}; wanted a tokenizer.json, because this class reads only "
            f"tokenizer.json. {way_out}"
        )
    found = {name: (steps_of(file).get(name) or {}).get("type") for name in BERT_STEPS}
    if found != BERT_STEPS:
        raise InputError(
            f"found {named} and the steps {', '.join(map(str, found.values()))} in {file}; wanted "
            f"BERT's steps, {' and '.join(BERT_STEPS.values())}. {way_out}"
        )


def _check_bert_folder(folder: Path) -> None:
    read_vocab(folder)
    if _is_frozen(folder):
        _check_frozen(folder)
        _check_settings(folder, SETTINGS, *FROZEN_CLASSES)
        return
    _check_settings(folder, BERT_KINDS, "BertTokenizer", "DistilBertTokenizer")
    config = optional_json(folder / "tokenizer_config.json")
    # BertTokenizer builds its normaliser from tokenizer_config.json and its own defaults, whatever tokenizer.json
    # says.
    normalizer = bert_normalizer(folder)
    for setting, (name, default) in BERT_SETTINGS.items():
        if setting not in config and (found := normalizer.get(name, default)) != default:
            raise InputError(
                f"found {name}={found} in tokenizer.json of {folder} but no {setting} in tokenizer_config.json, where "
                f"BertTokenizer takes {default}. Write the {setting} of the training into tokenizer_config.json."
            )
