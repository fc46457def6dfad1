"""Patterns in a tokenizer.json, which a library searches in every text."""

import json
from pathlib import Path

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from hf_zhclip.conversion.tokenizers import builders, mending
from hf_zhclip.errors import InputError
from hf_zhclip.tokenizer_files import check_steps

OWN = (
    *(builders.CONTROL, builders.REMOVED, builders.ACCENT, builders.ALONE, builders.FINAL_SIGMA, builders.OPENAI_WORD),
    *(builders.SWALLOWED, *mending.MENDED),
)
OF_OTHERS = (
    r" {2,}",  # SentencePiece
    r"\s+",  # CLIP, transformers/convert_slow_tokenizer.py
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",  # GPT-2
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{M}]*[\p{Ll}\p{M}]+(?i:'s|'t)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s+",  # GPT-4o
)
SLOW = (
    *("(a+)+$", "(?:a*)*b", "((a+)b?)+c", "([ab]+|c)*d", "(a{2,})+", "(?<x>a+)+", r"(\p{L}+\s?)+$"),
    *(".*.*.*b", "(.*)(.*)(.*)b", r"[\]a]*[^]]*\**x*", "x|(a|b+)*", "a" * 1001),
)


def tokenizer_json(pattern: str, place: str) -> dict:
    """The content of a tokenizer.json as the library writes it, with this pattern."""
    found = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    if place == "normalizer":
        found.normalizer = normalizers.Sequence([normalizers.Replace(Regex(pattern), "")])
    else:
        found.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated")])
    return json.loads(found.to_str())


@pytest.mark.parametrize("pattern", [*OWN, *OF_OTHERS])
def test_a_pattern_of_a_known_tokenizer_passes(pattern):
    for place in ("normalizer", "pre_tokenizer"):
        check_steps(tokenizer_json(pattern, place), Path("tokenizer.json"))


@pytest.mark.parametrize("pattern", SLOW)
@pytest.mark.parametrize("place", ["normalizer", "pre_tokenizer"])
def test_a_pattern_that_may_take_minutes_is_refused(pattern, place):
    with pytest.raises(
        InputError, match="found the pattern .*, whose search may take minutes for a single text; a pattern of few"
    ):
        check_steps(tokenizer_json(pattern, place), Path("tokenizer.json"))
