"""The steps of a tokenizer.json, by which a library searches and changes every text."""

import json
from pathlib import Path

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from hf_zhclip.conversion.tokenizers import builders, mending
from hf_zhclip.errors import InputError, is_panic
from hf_zhclip.tokenizer_files import RULES, check_steps, growth_of

FILE = Path("tokenizer.json")

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
        check_steps(tokenizer_json(pattern, place), FILE)


@pytest.mark.parametrize("pattern", SLOW)
@pytest.mark.parametrize("place", ["normalizer", "pre_tokenizer"])
def test_a_pattern_that_may_take_minutes_is_refused(pattern, place):
    with pytest.raises(
        InputError, match="found the pattern .*, whose search may take minutes for a single text; a pattern of few"
    ):
        check_steps(tokenizer_json(pattern, place), FILE)


def content(**parts) -> dict:
    """A tokenizer.json, with these parts."""
    return {**json.loads(Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]")).to_str()), **parts}


def steps(*each: dict) -> dict:
    return {"type": "Sequence", "normalizers": list(each)}


def replacing(pattern: str, by: str, kind: str = "String") -> dict:
    return {"type": "Replace", "pattern": {kind: pattern}, "content": by}


WORDS = st.text("ab \u00e9", min_size=0, max_size=3)
STEPS = st.one_of(
    st.builds(replacing, WORDS, WORDS),
    st.builds(replacing, st.sampled_from(["b?", "a|b", "a+", "b*", "[ab]", "a|", "(a)?", "x{0,2}", "^", "a{1,2}"]),
              WORDS, st.just("Regex")),
    st.builds(replacing, st.sampled_from([r"\bb?", r"a\b", r"\x61*", "(?i)", "(?<=a)", "b(?=a)", "(a|)b", r"\s"]),
              WORDS, st.just("Regex")),
    WORDS.map(lambda text: {"type": "Prepend", "prepend": text}),
    st.sampled_from(["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "ByteLevel", "StripAccents", "Nmt"]).map(
        lambda name: {"type": name}
    ),
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(STEPS, max_size=5), st.text("ab \u00e9\u0390\ufdfa\u732b", min_size=1, max_size=6))
def test_no_text_becomes_longer_than_what_is_found_before(chain, text):
    normalizer = Tokenizer.from_str(json.dumps(content(normalizer=steps(*chain)))).normalizer
    try:
        found = normalizer.normalize_str(text)
    except BaseException as error:
        assert is_panic(error)  # the library does not expect what fits no character behind the last one
        reject()
    assert len(found.encode()) <= growth_of(chain) * len(text.encode()) * (1 + 1e-9)


PRE_STEPS = st.one_of(
    st.builds(lambda space: {"type": "ByteLevel", "add_prefix_space": space, "trim_offsets": True, "use_regex": True},
              st.booleans()),
    st.builds(lambda sign, when, split: {"type": "Metaspace", "replacement": sign, "prepend_scheme": when,
                                         "split": split},
              st.sampled_from("_\u2581"), st.sampled_from(["always", "first", "never"]), st.booleans()),
    st.sampled_from(["Whitespace", "WhitespaceSplit", "BertPreTokenizer", "UnicodeScripts"]).map(
        lambda name: {"type": name}
    ),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(PRE_STEPS, max_size=4), st.text("ab \u00e9\u732b", min_size=1, max_size=6))
def test_no_words_become_longer_than_what_is_found_before(chain, text):
    whole = content(pre_tokenizer={"type": "Sequence", "pretokenizers": chain})
    words = Tokenizer.from_str(json.dumps(whole)).pre_tokenizer.pre_tokenize_str(text)
    assert sum(len(word.encode()) for word, _ in words) <= growth_of(chain) * len(text.encode())


DOUBLED = replacing("a", "aa")
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
TEXT, TOKEN = {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[CLS]", "type_id": 0}}


def template(*single, ids=1, **more) -> dict:
    known = {"[CLS]": {"id": "[CLS]", "ids": [0] * ids, "tokens": ["[CLS]"] * ids}}
    return {"type": "TemplateProcessing", "single": list(single), "pair": [], "special_tokens": known, **more}


GROWING = {
    "a replacement behind itself": (
        {"normalizer": steps(*[DOUBLED] * 24)},
        "1.678e.07 times as long; 512 times at most",
    ),
    "sequences in sequences": ({"normalizer": steps(*[steps(*[DOUBLED] * 5)] * 5)}, "times as long"),
    "what fits no character": ({"normalizer": steps(*[replacing("", "b" * 100)] * 2)}, "times as long"),
    "what may fit none": ({"normalizer": steps(*[replacing("b*", "b" * 100, "Regex")] * 2)}, "times as long"),
    "a beginning": ({"normalizer": steps({"type": "Prepend", "prepend": "a" * 600})}, "601 times as long"),
    "bytes of bytes": ({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [BYTES] * 24}}, "times as long"),
    "more steps than any": ({"normalizer": steps(*[{"type": "Strip"}] * 1001)}, "found 1,001 steps"),
    "a step without a type": ({"normalizer": {"pattern": {"String": "a"}, "content": "aa"}}, "among the steps"),
    "a step of another type": ({"normalizer": {**DOUBLED, "type": "Twice"}}, "found 'Twice' among the steps"),
    "a step as a list": ({"normalizer": steps([DOUBLED])}, "found .* among the steps"),
    "a word of any length": ({"model": {"max_input_chars_per_word": 10**12}}, "max_input_chars_per_word .* in"),
    "a step of words that is a beginning": ({"normalizer": {"type": "Split", "prepend": "x" * 5000}}, "found 'Split'"),
    "what may fit none by a turned range": ({"normalizer": replacing("a{1,0}", "x" * 500, "Regex")}, "times as long"),
    "what may fit none by a class of classes": ({"normalizer": replacing("[a&&[b]]*", "x" * 500, "Regex")}, "as long"),
    "ends around ends": (
        {"post_processor": {"type": "Sequence", "processors": [{"type": "BertProcessing", "sep": ["x", 0]}] * 50}},
        "puts 100 tokens around",
    ),
    "a token of no id and many texts": (
        {"post_processor": template(TEXT, TOKEN, special_tokens={"[CLS]": {"ids": [], "tokens": ["x"] * 100}})},
        "puts 100 tokens around",
    ),
    "a text twice": ({"post_processor": template(TEXT, TEXT)}, "repeats a text"),
    "a text twice under another type": ({"post_processor": template(TEXT, TEXT, type="ByteLevel")}, "repeats a text"),
    "a text twice in a part": (
        {"post_processor": {"type": "Sequence", "processors": [template(TEXT), template(TEXT, TEXT)]}},
        "repeats a text",
    ),
    "a token of many ids": ({"post_processor": template(TEXT, TOKEN, ids=65)}, "puts 65 tokens around texts; at most"),
    "a token many times": ({"post_processor": template(TEXT, *[TOKEN] * 65)}, "puts 65 tokens around texts; at most"),
    "a template as a list": ({"post_processor": [[TEXT, TEXT], [TEXT], {}]}, " as a post_processor"),
    "a piece as a text": ({"post_processor": template("$A")}, "in the post_processor"),
    "pieces as a number": ({"post_processor": {**template(), "single": 5}}, "in the post_processor"),
    "a token that is not defined": (
        {"post_processor": template(TEXT, TOKEN, special_tokens=[])},
        "special_tokens lack",
    ),
}


@pytest.mark.parametrize("name", GROWING)
def test_steps_that_grow_a_text_are_refused(name):
    parts, message = GROWING[name]
    with pytest.raises(InputError, match=message):
        check_steps(content(**parts), FILE)


FIELDS = st.sampled_from(
    ["type", "normalizers", "pretokenizers", "processors", "pattern", "content", "String", "Regex", "prepend"]
    + [
        "replacement",
        "precompiled_charsmap",
        "single",
        "pair",
        "special_tokens",
        "Sequence",
        "SpecialToken",
        "id",
        "ids",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(JSON, st.sampled_from(["normalizer", "pre_tokenizer", "post_processor"]), st.sampled_from(sorted(RULES)))
def test_parts_of_any_kind_pass_or_are_refused_in_words(part, place, kind):
    if isinstance(part, dict) and place != "post_processor":
        part["type"] = kind
    try:
        check_steps({place: part}, FILE)
    except InputError as error:
        assert "tokenizer.json" in str(error)
