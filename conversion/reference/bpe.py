"""CLIP's byte-level BPE in plain Python, as transformers' CLIPTokenizerFast computes it.

Source: openai/CLIP clip/simple_tokenizer.py for the merging; transformers, models/clip/tokenization_clip.py for what
is done to a text before it (NFC, white space, lower case; no ftfy).
"""

import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise

START, END = "<|startoftext|>", "<|endoftext|>"
ENDINGS = "'s", "'t", "'re", "'ve", "'m", "'ll", "'d"
# Unicode's White_Space, which a regular expression's \s means there; Python's own counts U+001C to U+001F, too.
WHITE_SPACE = frozenset("\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000")
WHITE_SPACE |= frozenset(map(chr, range(0x2000, 0x200B)))


def clip_ids(
    texts: Sequence[str],
    ids: Mapping[str, int],
    merges: Sequence[tuple[str, str]],
    special: Collection[str],
    context_length: int,
) -> list[list[int]]:
    """Ids of each text between <|startoftext|> and <|endoftext|>, unpadded, at most `context_length`.

    Args:
        ids: token -> id.
        merges: pairs of tokens, the first to be joined first.
        special: tokens that stand for themselves where a text holds them.
    """
    ranks = {pair: rank for rank, pair in enumerate(merges)}

    def encode(text: str) -> Iterator[int]:
        for part in _parts(text, special):
            if part in special:
                yield ids[part]
                continue
            for word in _words(_normalised(part)):
                yield from (ids[token] for token in _merged(word, ranks))

    return [[ids[START], *list(encode(text))[: context_length - 2], ids[END]] for text in texts]


def _parts(text: str, special: Collection[str]) -> Iterator[str]:
    """The text cut at special tokens, which are parts of their own; of two at one place the longer."""
    start = place = 0
    longest_first = sorted(special, key=len, reverse=True)
    while place < len(text):
        found = next((token for token in longest_first if text.startswith(token, place)), None)
        if found is None:
            place += 1
            continue
        yield text[start:place]
        yield found
        start = place = place + len(found)
    yield text[start:]


def _normalised(text: str) -> str:
    # A character at a time: no context decides about a final sigma.
    return "".join(character.lower() for character in unicodedata.normalize("NFC", text))


def _words(text: str) -> Iterator[str]:
    """Endings after an apostrophe, runs of letters, single digits, and runs of whatever else is not white space."""
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
    """A visible character for each byte: itself where it is one, else the next from U+0100 on (GPT-2's table)."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in visible else chr(next(others)) for byte in range(0x100)]


BYTES = _byte_characters()
