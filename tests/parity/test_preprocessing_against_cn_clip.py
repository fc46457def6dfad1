"""Token ids against cn_clip's own `tokenize`, and pixels against the original pipelines of all four image orders."""

import sys
import unicodedata
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hf_zhclip import ZhCLIPImageProcessor, ZhCLIPProcessor
from hf_zhclip.conversion.tokenizers.builders import cn_clip_tokenizer
from hf_zhclip.conversion.tokenizers.vocabularies import default_vocab
from hf_zhclip.processing_zhclip import normalize_evaluation_text

from tests.image_modes import PICTURES, values
from tests.parity.peers import cn_clip
from tests.parity.pipelines import PIPELINES

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore:Palette images with Transparency"),
]

UNBOUNDED = 100_000
RECLASSIFIED = {"14.0.0": {"\U0001171e"}}.get(unicodedata.unidata_version, set())
"""By Unicode version of Python: assigned characters that the tokenizer's newer Unicode puts in another category."""


@cache
def tokenizer(context_length: int):
    return cn_clip_tokenizer(default_vocab(), context_length)


def original_ids(text: str) -> list[int]:
    peer = cn_clip("clip")._tokenizer
    return peer.convert_tokens_to_ids(peer.tokenize(text))


def ids(text: str) -> list[int]:
    return tokenizer(UNBOUNDED)(text, add_special_tokens=False).input_ids


ASSIGNED = st.characters(exclude_categories=["Cs", "Cn"]).filter(lambda character: character not in RECLASSIFIED)
PIECES = st.one_of(
    st.text(ASSIGNED, max_size=12),
    st.text(st.sampled_from("一二三中国人猫狗的了在是我有和，。！？、；：“”‘’《》…—·"), max_size=12),
    st.text(st.sampled_from("abcdeABCXYZ0189 éÉñÇüß"), max_size=12),
    st.text(st.sampled_from("ΑΣσςΣΣ a1.'ʰ\u00ad\u0301\u0345·:中"), max_size=8),
    st.text(
        st.sampled_from(" \t\n\r\v\f\x00\x1c\x85\xa0\u1680\u2003\u2028\u2029\u3000\u200b\ufeff\ufffd"), max_size=5
    ),
    st.text(st.characters(categories=["So", "Sk", "Sm", "Sc", "Mn", "Me", "Mc", "Cf", "Co"]), max_size=6).filter(
        lambda text: not RECLASSIFIED & set(text)
    ),
    st.builds(
        lambda piece, length: (piece * length)[:length],
        st.sampled_from(["a", "ab", "é", "가", "x1", "Ω"]),
        st.integers(90, 260),
    ),
    st.sampled_from(["[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]", "[unused1]", "##s", "👨‍👩‍👧", "🇨🇳", "👍🏽"]),
)
TEXTS = st.lists(PIECES, max_size=6).map("".join)


@settings(max_examples=3000, deadline=None, derandomize=True)
@given(TEXTS)
def test_ids_against_cn_clip(text):
    assert ids(text) == original_ids(text)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(TEXTS, min_size=1, max_size=3), st.sampled_from([3, 24, 52, 128]))
def test_padded_and_cut_ids_against_cn_clip(texts, context_length):
    processor = ZhCLIPProcessor(ZhCLIPImageProcessor(image_order="squash_then_rgb", size=8), tokenizer(context_length))
    found = processor(text=texts, padding="max_length", return_tensors="pt").input_ids
    assert found.equal(cn_clip("clip").tokenize(texts, context_length=context_length))


def test_every_assigned_character_against_cn_clip():
    characters = [each for each in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(each)[0] != "C"]
    characters += [each for each in map(chr, range(0xFFFF)) if unicodedata.category(each) in ("Cc", "Cf")]
    texts = [f"a{each}b {each}" for each in characters]
    found = tokenizer(UNBOUNDED)(texts, add_special_tokens=False).input_ids
    different = {each for each, text, row in zip(characters, texts, found, strict=True) if row != original_ids(text)}
    assert different == RECLASSIFIED


def test_an_unassigned_character_can_differ():
    # An accent since Unicode 15; to the Python of these tests, which has 14, no character at all.
    assert unicodedata.category("\U0001e4ec") == "Cn"
    assert ids("a\U0001e4ec") != original_ids("a\U0001e4ec")


def test_a_lone_surrogate_differs():
    assert original_ids("\ud83d") == [100]
    with pytest.raises((TypeError, UnicodeEncodeError)):
        ids("\ud83d")


@settings(max_examples=300, deadline=None, derandomize=True)
@given(TEXTS)
def test_evaluation_text_against_cn_clip(text):
    assert normalize_evaluation_text(text) == cn_clip("eval.data")._preprocess_text(text)


@pytest.mark.parametrize("size", [224, 336])
@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("order", PIPELINES)
def test_pixels_against_the_original_pipeline(order, name, size):
    check(order, PICTURES[name](), size)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.sampled_from(sorted(PIPELINES)),
    st.sampled_from(["RGB", "RGBA", "LA", "L", "P", "1", "CMYK", "I;16"]),
    st.integers(1, 120),
    st.integers(1, 120),
    st.integers(1, 40),
)
def test_pixels_of_any_shape_against_the_original_pipeline(order, mode, width, height, size):
    if mode == "I;16":
        picture = Image.fromarray(values(width, height, 1, levels=65536)[..., 0].astype(np.uint16))
    else:
        picture = Image.fromarray(values(width, height, 4).astype(np.uint8)).convert(mode)
    check(order, picture, size)


def check(order: str, picture: Image.Image, size: int) -> None:
    found = ZhCLIPImageProcessor(image_order=order, size=size)(picture).pixel_values[0]
    wanted = PIPELINES[order](picture, size)
    assert found.dtype == wanted.dtype == np.float32
    assert np.array_equal(found, wanted)
