"""The cn_clip reference against cn_clip's own model, tokenizer and transform, and how well its errors are seen."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_zhclip.conversion.proof.reference import cn_clip
from hf_zhclip.conversion.tokenizers.vocabularies import default_vocab

from tests import planted
from tests.image_modes import PICTURES
from tests.inputs import characters, seeded_ids, seeded_pixels
from tests.parity import peers
from tests.planted import SEEN, Case, cosine
from tests.weights import seeded_state_dict

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore:Palette images with Transparency"),
]

SMALL = {
    "embed_dim": 128,
    "image_resolution": 56,
    "vision_layers": 5,
    "vision_width": 128,
    "vision_patch_size": 14,
    "vision_head_width": 64,
    "vocab_size": 300,
    "text_attention_probs_dropout_prob": 0.1,
    "text_hidden_act": "gelu",
    "text_hidden_dropout_prob": 0.1,
    "text_hidden_size": 128,
    "text_initializer_range": 0.02,
    "text_intermediate_size": 512,
    "text_max_position_embeddings": 64,
    "text_num_attention_heads": 4,
    "text_num_hidden_layers": 4,
    "text_type_vocab_size": 2,
}
SMALL_CONFIGS = {
    "ViT, head width 64": SMALL,
    "ViT, head width 32": {**SMALL, "vision_head_width": 32},
    "ViT, head width 80": {**SMALL, "vision_width": 160, "vision_head_width": 80},
    "ResNet": {
        **SMALL,
        "vision_layers": [1, 2, 1, 1],
        "vision_width": 16,
        "vision_patch_size": None,
        "image_resolution": 96,
        "vision_head_width": 64,
    },
}
BASE, LARGE, RBT3 = "RoBERTa-wwm-ext-base-chinese", "RoBERTa-wwm-ext-large-chinese", "RBT3-chinese"
FULL_SIZE = [
    ("RN50", RBT3),
    pytest.param(("ViT-B-16", BASE), marks=pytest.mark.slow),
    pytest.param(("ViT-B-32", BASE), marks=pytest.mark.slow),
    pytest.param(("ViT-L-14", BASE), marks=pytest.mark.slow),
    pytest.param(("ViT-L-14-336", BASE), marks=pytest.mark.slow),
    pytest.param(("ViT-H-14", LARGE), marks=pytest.mark.slow),
]
OTHER_TEXT_HEADS = {128: 8, 768: 16, 1024: 8}
OTHER_HEAD_WIDTHS = {128: 16, 160: 40, 512: 32, 768: 48, 1024: 128, 1280: 64, 2048: 32}


def shipped(vision: str, text: str) -> dict:
    """The model config that cn_clip merges from two of its JSON files, its `eval` of the ResNet's layers included."""
    folder = Path(peers.cn_clip("clip").__file__).parent / "model_configs"
    config = {}
    for name in (vision, text):
        config |= json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    if isinstance(config["vision_layers"], str):
        config["vision_layers"] = json.loads(config["vision_layers"])
    return config


def original(config: dict) -> torch.nn.Module:
    """cn_clip's model with seeded weights; made without memory of its own, which a large one would need twice."""
    with torch.device("meta"):
        model = peers.cn_clip("clip.model").CLIP(**config)
    tensors = seeded_state_dict({key: tuple(tensor.shape) for key, tensor in model.state_dict().items()})
    model.load_state_dict(tensors, assign=True)
    return model.eval()


@pytest.fixture(scope="module", params=list(SMALL_CONFIGS))
def small(request):
    return original(SMALL_CONFIGS[request.param]), SMALL_CONFIGS[request.param]


@pytest.fixture(scope="module", params=FULL_SIZE, ids=lambda names: names[0])
def full(request):
    config = shipped(*request.param)
    return original(config), config


def assert_equal(ours, theirs):
    wanted = theirs / theirs.norm(dim=-1, keepdim=True)
    difference, smallest = float((ours - wanted).abs().max()), float((ours.double() * wanted.double()).sum(-1).min())
    print(f"max abs {difference:.1e}, cosine {smallest:.8f}")
    assert ours.shape == wanted.shape
    assert difference <= 1e-5
    assert smallest >= 0.999999


@torch.no_grad()
def assert_same_embeddings(model, tensors, config, stated):
    ids, pixels = seeded_ids(config["vocab_size"]), seeded_pixels(config["image_resolution"])
    assert_equal(cn_clip.encode_text(tensors, ids, stated), model.encode_text(ids))
    assert_equal(cn_clip.encode_image(tensors, pixels, stated), model.encode_image(pixels))
    assert cn_clip.logit_scale(tensors, stated) == model.logit_scale.item()
    assert cn_clip.image_size(tensors, stated) == config["image_resolution"]


def test_small_models(small):
    model, config = small
    assert_same_embeddings(model, model.state_dict(), config, config)


def test_flash_attention_layout(small):
    model, config = small
    flash = peers.cn_clip("clip.model").convert_state_dict(dict(model.state_dict()))
    assert any("Wqkv" in key for key in flash)

    assert_same_embeddings(model, flash, config, config)


def test_an_unused_pooler_changes_nothing(small):
    model, config = small
    hidden = config["text_hidden_size"]
    pooler = {"bert.pooler.dense.weight": (hidden, hidden), "bert.pooler.dense.bias": (hidden,)}

    assert_same_embeddings(model, {**model.state_dict(), **seeded_state_dict(pooler)}, config, config)


@pytest.mark.parametrize("name", SMALL_CONFIGS)
def test_mixed_half_and_single_precision(name):
    model, config = original(SMALL_CONFIGS[name]), SMALL_CONFIGS[name]
    peers.cn_clip("clip.model").convert_weights(model)
    mixed = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    assert {torch.float16, torch.float32} <= {tensor.dtype for tensor in mixed.values()}

    assert_same_embeddings(model.float(), mixed, config, config)


def test_full_size_models_with_the_references_own_head_counts(full):
    model, config = full
    assert_same_embeddings(model, model.state_dict(), config, stated={})


def errors_of(config: dict) -> tuple[dict, dict]:
    """The planted errors of both towers that can be planted at these sizes."""
    hidden, width = config["text_hidden_size"], config["vision_width"]
    text = planted.cn_clip_text(OTHER_TEXT_HEADS[hidden])
    if hidden == config["embed_dim"]:
        text |= planted.SQUARE_TEXT
    if isinstance(config["vision_layers"], list):
        return text, planted.cn_clip_resnet(OTHER_HEAD_WIDTHS[32 * width])
    image = planted.cn_clip_vit(OTHER_HEAD_WIDTHS[width])
    return text, image | planted.SQUARE_VISION if width == config["embed_dim"] else image


def assert_every_error_is_seen(model, config):
    hidden = config["text_hidden_size"]
    pooler = {"bert.pooler.dense.weight": (hidden, hidden), "bert.pooler.dense.bias": (hidden,)}
    tensors = {**model.state_dict(), **seeded_state_dict(pooler)}
    ids, pixels = seeded_ids(config["vocab_size"]), seeded_pixels(config["image_resolution"])
    towers = ((cn_clip.encode_text, ids), (cn_clip.encode_image, pixels))
    cosines = {}
    for (encode, inputs), errors in zip(towers, errors_of(config), strict=True):
        right = encode(tensors, inputs, config)
        for name, plant in errors.items():
            with pytest.MonkeyPatch.context() as patch:
                case = plant(Case(tensors, config, patch))
                cosines[encode.__name__, name] = cosine(encode(case.tensors, inputs, case.config), right)
    print("\n".join(f"{value:.4f} {' '.join(name)}" for name, value in cosines.items()))
    assert {name: value for name, value in cosines.items() if value >= SEEN} == {}


def test_every_planted_error_is_seen_in_small_models(small):
    assert_every_error_is_seen(*small)


def test_every_planted_error_is_seen_at_full_size(full):
    assert_every_error_is_seen(*full)


def original_ids(texts: list[str], context_length: int) -> list[list[int]]:
    padded = peers.cn_clip("clip.utils").tokenize(texts, context_length=context_length)
    return [[number for number in row if number] for row in padded.tolist()]


def test_token_ids_of_every_kind_of_character():
    texts = [f"a{character}b {character}{character}" for character in characters()]

    assert cn_clip.token_ids(texts, default_vocab(), 52) == original_ids(texts, 52)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.text(), st.sampled_from(["[MASK]", "ΑΣ", "한국어", "é", " ", "x" * 101, "“"]))))
def test_token_ids_of_any_text(parts):
    text = "".join(parts)
    for length in (52, 8, 2):
        assert cn_clip.token_ids([text], default_vocab(), length) == original_ids([text], length)


@pytest.mark.parametrize("letters", [100, 101, 200, 201])
def test_token_ids_of_long_words(letters):
    texts = ["x" * letters, "é" * letters, "가" * letters]
    assert cn_clip.token_ids(texts, default_vocab(), 300) == original_ids(texts, 300)


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("size", [224, 336])
def test_pixels_are_equal_to_the_bit(name, size):
    theirs = peers.cn_clip("clip.utils").image_transform(size)(PICTURES[name]()).numpy()
    assert np.array_equal(cn_clip.pixels(PICTURES[name](), {}, size).numpy(), theirs)
