"""Texts that meet every step of a tokenizer: each character, special tokens, the edge of its limit, sentences."""

import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache

OLDEST = unicodedata.ucd_3_2_0
"""Unicode of 2002: characters unchanged since then are the same in every library that knows Unicode."""

UNIFORM = ((0x3400, 0x4DB6), (0x4E00, 0x9FA6), (0xAC00, 0xD7A4), (0x20000, 0x2A6D7))
"""Blocks of ideographs and syllables that are treated alike: their edges show whether a tokenizer knows the block."""

PLANES = (range(0x30000), range(0xE0000, 0xE0080))
"""Where Unicode of 2002 has characters, besides private ones."""

EDGE, STRIDE = 16, 61
"""The number of characters from each edge of such a block, and the step between characters taken inside it."""

MOST_TOKENS = 8
"""More tokens than almost any character gives."""

WORDS = tuple("a" * length for length in (99, 100, 101, 199, 200, 201))
"""Lengths around WordPiece's limits for unknown words: 100 in transformers, 200 in BERT's own code."""

SENTENCES = (
    "一只戴着红色帽子的小猫坐在窗台上看雪。",
    "这款手机支持5G，售价￥3,999元起！",
    "《红楼梦》第三回：“贾雨村夤缘复旧职，林黛玉抛父进京都”",
    "臺灣的夜市裡有許多好吃的東西",
    "The quick brown fox jumps over the lazy dog, doesn't it?",
    "A photo of two dogs playing in the snow; it's 10:30 a.m. on 3/4/2021.",
    "I'm sure I'd've said they're we'll you're, what's it cost: $12.50?",
    "Transformers (BERT, RoBERTa & CLIP) pre-trained on e-mail addresses like user@example.com",
    "用PyTorch训练CLIP模型：batch_size=128，lr=1e-4",
    "iPhone 15 Pro Max手机壳 防摔 透明 for men/women",
    "Déjà vu à la crème brûlée — naïve façade, Ångström, İstanbul, straße",
    "  前后  都有   空格\t制表符\n换行 ",
)


def whole(special: Sequence[str], context_length: int) -> Iterator[str]:
    """All texts for a tokenizer with these special tokens.

    Args:
        context_length: the longest text in tokens; no text of characters is longer, so that no such text is cut.
    """
    yield from SENTENCES
    yield from WORDS
    for token in special:
        # Never alone in a text: no fast tokenizer can do what Wukong's own tokenizer does then (sources/wukong.py).
        yield f"猫{token}cat{token}{token}狗 x{token.lower()}"
    characters = stable_characters()
    number = max(1, (context_length - 2) // MOST_TOKENS)
    for start in range(0, len(characters), number):
        yield " ".join(characters[start : start + number])


@cache
def stable_characters() -> str:
    """Characters that are unchanged since Unicode of 2002; for uniform blocks, the edges and a few between."""
    taken = (number for plane in PLANES for number in plane if not _is_left_out(number))
    return "".join(character for character in map(chr, taken) if _is_stable(character))


def _is_left_out(number: int) -> bool:
    for first, end in UNIFORM:
        if first <= number < end:
            return min(number - first, end - 1 - number) >= EDGE and (number - first) % STRIDE != 0
    return False


def _is_stable(character: str) -> bool:
    kind = OLDEST.category(character)
    if kind in ("Cn", "Cs", "Co"):  # unassigned, half of a surrogate pair, private use
        return False
    decomposition = unicodedata.decomposition(character)
    return kind == unicodedata.category(character) and OLDEST.decomposition(character) == decomposition
