"""CLIP's byte-level BPE in plain Python, as transformers' CLIPTokenizerFast computes it.

Source: openai/CLIP clip/simple_tokenizer.py for the merging; transformers, models/clip/tokenization_clip.py for the
steps before it (NFC, white space, lower case; no ftfy).
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from .added import WHITE_SPACE, Added, parts

START, END = "<|startoftext|>", "<|endoftext|>"
ENDINGS = "'s", "'t", "'re", "'ve", "'m", "'ll", "'d"

SEPARATOR = "\N{COMBINING GREEK YPOGEGRAMMENI}"
"""In no class of OpenAI's pattern: it is no letter itself, but one of its case forms is a letter."""

DIGRAPHS = frozenset("\u0132\u0133\u0149") | frozenset(map(chr, [*range(0x1C4, 0x1CD), *range(0x1F1, 0x1F4)]))
DIGRAPHS |= frozenset(map(chr, range(0xFB00, 0xFB07)))
QUOTES = dict.fromkeys([0x2BC, *range(0x2018, 0x201C)], "'") | dict.fromkeys(range(0x201C, 0x2020), '"')
INVISIBLE = frozenset(map(chr, [*range(9), 0xB, *range(0xE, 0x20), 0x7F, 0xFEFF]))
INVISIBLE |= frozenset(map(chr, [*range(0x206A, 0x2070), *range(0xFFF9, 0xFFFD)]))
"""Characters that ftfy splits, replaces by plain quotes, and removes (ftfy, chardata.py)."""


def clip_ids(
    texts: Sequence[str],
    ids: Mapping[str, int],
    merges: Sequence[tuple[str, str]],
    added: Sequence[Added],
    context_length: int,
) -> list[list[int]]:
    """Ids of each text between <|startoftext|> and <|endoftext|>, unpadded, at most `context_length`.

    Args:
        ids: token -> id.
        merges: pairs of tokens in the order in which they are joined.
        added: tokens that are recognised as a whole in a text.
    """
    ranks = {pair: rank for rank, pair in enumerate(merges)}

    def encode(text: str) -> Iterator[int]:
        for part in parts(text, added, _normalised):
            if isinstance(part, Added):
                yield ids[part.text]
                continue
            for word in _words(part):
                yield from (ids[token] for token in _merged(word, ranks))

    return [[ids[START], *list(encode(text))[: context_length - 2], ids[END]] for text in texts]


def openai_ids(
    texts: Sequence[str], ids: Mapping[str, int], merges: Sequence[tuple[str, str]], context_length: int
) -> list[list[int]]:
    """Like `clip_ids`, as OpenAI's SimpleTokenizer; without repairing badly decoded characters and HTML entities.

    Source: openai/CLIP, clip/simple_tokenizer.py; ftfy for the changes to characters before it.
    """
    ranks = {pair: rank for rank, pair in enumerate(merges)}

    def encode(text: str) -> Iterator[int]:
        for word in _openai_words(mended(text).lower()):
            yield from [ids[word]] if word in (START, END) else (ids[token] for token in _merged(word, ranks))

    return [[ids[START], *list(encode(text))[: context_length - 2], ids[END]] for text in texts]


def mended(text: str) -> str:
    """The text without terminal escapes, ligatures, wide forms, curled quotes and control characters; in NFC."""
    text = re.sub("\x1b\\[[\\d;]*[a-zA-Z]", "", text)
    signs = re.sub("[\x80\x82-\x8c\x8e\x91-\x9c\x9e\x9f]", _of_windows, text)
    plain = "".join(map(_mended_character, signs)).translate(QUOTES)
    kept = "".join(character for character in plain if character not in INVISIBLE)
    return unicodedata.normalize("NFC", kept)


def _of_windows(match: re.Match) -> str:
    """The sign that Windows-1252 has for a control character."""
    return match[0].encode("latin-1").decode("cp1252")


def _mended_character(character: str) -> str:
    if character == "\N{LATIN SMALL LIGATURE LONG S T}":
        return "\N{LATIN SMALL LETTER LONG S}t"
    if character in DIGRAPHS or "\uff01" <= character <= "\uffef":
        return unicodedata.normalize("NFKC", character)
    return character


def _openai_words(text: str) -> Iterator[str]:
    """Like `_words`, and also the two special tokens, unless the word before takes their first character."""
    place = 0
    while place < len(text):
        if text[place] in WHITE_SPACE or text[place] == SEPARATOR:
            place += 1
            continue
        word = next((token for token in (START, END, *ENDINGS, "'ſ") if text.startswith(token, place)), None)
        if word is None:
            kind, end = _kind(text[place]), place + 1
            while kind != "N" and end < len(text) and _kind(text[end]) == kind and text[end] != SEPARATOR:
                end += 1
            word = text[place:end]
        yield word
        place += len(word)


def _normalised(text: str) -> str:
    composed = (" " if character in WHITE_SPACE else character for character in unicodedata.normalize("NFC", text))
    # Character by character, so that no context decides about a final sigma.
    return re.sub(" +", " ", "".join(character.lower() for character in composed))


def _words(text: str) -> Iterator[str]:
    """Endings after an apostrophe, runs of letters, single digits, and runs of other characters except white space."""
    place = 0
    while place < len(text):
        if text[place] in WHITE_SPACE:
            place += 1
            continue
        word = next((ending for ending in ENDINGS if text.startswith(ending, place)), None)
        if word is None:
            kind = _kind(text[place])
            end = place + 1
            while kind != "N" and end < len(text) and _kind(text[end]) == kind:
                end += 1
            word = text[place:end]
        yield word
        place += len(word)


def _kind(character: str) -> str:
    if character in WHITE_SPACE:
        return "white space"
    category = unicodedata.category(character)[0]
    return category if category in "LN" else "other"


def _merged(word: str, ranks: Mapping[tuple[str, str], int]) -> list[str]:
    """The word's bytes as characters, the last one marked, joined pair by pair in the order of the merges."""
    tokens = [BYTES[byte] for byte in word.encode("utf-8")]
    tokens[-1] += "</w>"
    while len(tokens) > 1:
        pairs = list(pairwise(tokens))
        best = min(pairs, key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        place = pairs.index(best)
        tokens[place : place + 2] = ["".join(best)]
    return tokens


def _byte_characters() -> list[str]:
    """A visible character for each byte: the byte's own, or the next from U+0100 on (GPT-2's table)."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in visible else chr(next(others)) for byte in range(0x100)]


BYTES = _byte_characters()
