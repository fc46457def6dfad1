"""BERT tokenisation in pure Python: cn_clip's own tokenizer, and transformers' BertTokenizers."""

import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence

from .added import Added, parts
from .vocabularies import WordPieces

# Ranges of characters that are words of their own.
CJK = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
# tokenizers/src/normalizers/bert.rs has 0x2B920 instead of Google's 0x2B820: these 256 are not separated there.
NOT_CJK_IN_TOKENIZERS = (0x2B820, 0x2B91F)
ASCII_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


def cn_clip_ids(texts: Sequence[str], vocab: Sequence[str], context_length: int) -> list[list[int]]:
    """Ids as from cn_clip/clip/utils.py `tokenize`, without the padding.

    Words of up to 200 characters are cut into pieces. `[MASK]` and similar tokens in a text are ordinary characters.
    Unassigned and private-use characters stay, as [UNK].
    """
    index = {line.strip(): number for number, line in enumerate(vocab)}

    def encode(text: str) -> Iterator[int]:
        for word in _cn_clip_words(text):
            yield from _pieces(word, index, 200)

    return [_framed(encode(text), index, context_length) for text in texts]


def folder_ids(
    texts: Sequence[str], vocab: WordPieces, context_length: int, alone: Callable[[str], bool] | None = None
) -> list[list[int]]:
    """Ids as from transformers' BertTokenizerFast with truncation, without the padding.

    A word of more than 100 characters is [UNK]. Added tokens in a text, also the special tokens, are found as a whole.
    Private-use characters are removed. Its tables are those of Unicode 8: later punctuation, format characters and
    marks are classified here by Python's newer tables.

    Args:
        vocab: what `vocabularies.stated_wordpiece` or `added_wordpiece` reads.
        alone: which characters are words of their own; the default is the tokenizers library's table.
    """
    model = {token: number for number, token in enumerate(vocab.tokens)}
    index = vocab.rows()

    def normalise(text: str) -> str:
        return _transformers_text(text, vocab, alone or _is_cjk_in_tokenizers)

    def encode(text: str) -> Iterator[int]:
        for part in parts(text, vocab.added, normalise):
            if isinstance(part, Added):
                yield index[part.text]
                continue
            for word in _transformers_words(part):
                yield from _pieces(word, model, 100)

    return [_framed(encode(text), index, context_length) for text in texts]


def slow_transformers_ids(texts: Sequence[str], vocab: WordPieces, context_length: int) -> list[list[int]]:
    """Ids as from transformers' slow BertTokenizer with truncation, without the padding.

    It differs from the fast tokenizer in the ideographs that the fast tokenizer's table leaves out.
    """
    return folder_ids(texts, vocab, context_length, _is_cjk)


def wukong_ids(texts: Sequence[str], vocab: Sequence[str], context_length: int) -> list[list[int]]:
    """Ids as from Wukong's SimpleTokenizer (Noah_WuKong, data/tokenizer/simple_tokenizer.py), unpadded.

    Words of up to 100 characters are cut into pieces. [UNK], [CLS] and [SEP] as whole words are special. Characters of
    the general categories C are removed; Python's own table decides which characters are unassigned.
    """
    index = {line.strip(): number for number, line in enumerate(vocab)}

    def encode(text: str) -> Iterator[int]:
        for word in _spaced(_cleaned(text, removed=("Cc", "Cf", "Cs", "Co", "Cn")), _is_cjk).split():
            if word in ("[UNK]", "[CLS]", "[SEP]"):
                yield index[word]
                continue
            for part in _split_punctuation(_without_accents(word.lower())):
                yield from _pieces(part, index, 100)

    return [_framed(encode(text), index, context_length) for text in texts]


def _framed(pieces: Iterator[int], index: Mapping[str, int], context_length: int) -> list[int]:
    return [index["[CLS]"], *list(pieces)[: context_length - 2], index["[SEP]"]]


def _cn_clip_words(text: str) -> list[str]:
    """cn_clip/clip/bert_tokenizer.py, BasicTokenizer: lower-cases word by word (final sigma), then strips accents."""
    text = _spaced(_cleaned(text, removed=("Cc", "Cf")), _is_cjk)
    words = [_without_accents(word.lower()) for word in text.split()]
    return " ".join(part for word in words for part in _split_punctuation(word)).split()


def _transformers_text(text: str, vocab: WordPieces, alone: Callable[[str], bool]) -> str:
    """tokenizers' BertNormalizer: strips accents, then lower-cases character by character."""
    text = _cleaned(text, removed=("Cc", "Cf", "Co"))
    text = _spaced(text, alone) if vocab.cjk_alone else text
    text = _without_accents(text) if vocab.strip_accents else text
    return "".join(character.lower() for character in text) if vocab.lowercase else text


def _transformers_words(text: str) -> list[str]:
    """tokenizers' BertPreTokenizer."""
    return [part for word in text.split() for part in _split_punctuation(word)]


def _cleaned(text: str, removed: tuple[str, ...]) -> str:
    """Removes NUL, U+FFFD and the general categories `removed`, except tab and line ends; makes spaces plain."""
    return "".join(
        " " if character in "\t\n\r" or unicodedata.category(character) == "Zs" else character
        for character in text
        if character in "\t\n\r" or (character not in "\0\ufffd" and unicodedata.category(character) not in removed)
    )


def _spaced(text: str, alone: Callable[[str], bool]) -> str:
    return "".join(f" {character} " if alone(character) else character for character in text)


def _is_cjk(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in CJK)


def _is_cjk_in_tokenizers(character: str) -> bool:
    first, last = NOT_CJK_IN_TOKENIZERS
    return _is_cjk(character) and not first <= ord(character) <= last


def _without_accents(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")


def _split_punctuation(word: str) -> list[str]:
    """Cuts out each punctuation character; the runs between them stay whole."""
    spaced = (f" {character} " if _is_punctuation(character) else character for character in word)
    return "".join(spaced).split()


def _is_punctuation(character: str) -> bool:
    return character in ASCII_PUNCTUATION or unicodedata.category(character).startswith("P")


def _pieces(word: str, index: Mapping[str, int], limit: int) -> list[int]:
    """Repeatedly takes the longest known piece; [UNK] for a word that cannot be cut or exceeds the limit."""
    unknown = [index["[UNK]"]]
    if len(word) > limit:
        return unknown
    ids: list[int] = []
    start = 0
    while start < len(word):
        mark = "##" if start else ""
        end = next((end for end in range(len(word), start, -1) if mark + word[start:end] in index), None)
        if end is None:
            return unknown
        ids.append(index[mark + word[start:end]])
        start = end
    return ids
