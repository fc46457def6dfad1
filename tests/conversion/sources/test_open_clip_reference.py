"""The reference of open_clip's models against what can be computed by hand, and against errors planted in it."""

import pytest
import torch

from hf_zhclip.conversion.proof.reference import open_clip, open_clip_xlm_roberta

from tests import checkpoints as c
from tests import unigram
from tests.weights import seeded_state_dict

WORDS = len(unigram.pieces())
PIXELS = torch.linspace(-1.5, 1.5, 2 * 3 * c.common.SIZE**2).reshape(2, 3, c.common.SIZE, c.common.SIZE) ** 3
END = len(c.common.bpe()[0]) - 1
IDS = torch.tensor([[END - 1, 5, 9, 7, END, 0, 0], [END - 1, 3, 3, 2, 8, 6, END]])
XLM_IDS = torch.tensor([[0, 7, 12, 2, 1, 1], [0, 9, 8, 11, 6, 2]])


def plain(text=(), vision=(), **model):
    return c.open_clip.open_clip_config(
        {**c.open_clip.OPEN_CLIP_TEXT, **dict(text)}, {**c.open_clip.OPEN_CLIP_VISION, **dict(vision)}, **model
    )


def with_xlm_roberta(body=(), **text):
    facts = {
        **c.open_clip.OPEN_CLIP_XLM_ROBERTA,
        "hf_model_config": {**c.open_clip.OPEN_CLIP_XLM_ROBERTA_BODY, **dict(body)},
        **text,
    }
    return c.open_clip.open_clip_config(facts, c.open_clip.OPEN_CLIP_VISION)


@pytest.fixture(scope="module")
def tensors():
    return seeded_state_dict(c.open_clip.open_clip())


@pytest.fixture(scope="module")
def xlm_roberta():
    return seeded_state_dict(c.open_clip.open_clip_xlm_roberta(WORDS, pooler=True))


@pytest.mark.parametrize(
    "config", [plain(vision={"head_width": 32}), plain(quick_gelu=True)], ids=["head width", "activation"]
)
def test_each_fact_of_the_image_tower_is_seen(config, tensors):
    right, wrong = (open_clip.encode_image(tensors, PIXELS, each) for each in (plain(), config))
    assert cosine(right, wrong) < 0.99


@pytest.mark.parametrize(
    "config",
    [plain(text={"heads": 8}), plain(quick_gelu=True), plain(text={"norm_kwargs": {"eps": 1e-3}})],
    ids=["heads", "activation", "eps"],
)
def test_each_fact_of_the_text_tower_is_seen(config, tensors):
    right, wrong = (open_clip.encode_text(tensors, IDS, each) for each in (plain(), config))
    assert cosine(right, wrong) < 0.99


@pytest.mark.parametrize(
    "config",
    [
        with_xlm_roberta({"num_attention_heads": 8}),
        with_xlm_roberta({"hidden_act": "quick_gelu"}),
        with_xlm_roberta({"layer_norm_eps": 1e-3}),
        with_xlm_roberta(hf_pooler_type="cls_pooler"),
        with_xlm_roberta(hf_pooler_type="cls_last_hidden_state_pooler"),
    ],
    ids=["heads", "activation", "eps", "pooler", "cls"],
)
def test_each_fact_of_xlm_roberta_is_seen(config, xlm_roberta):
    right, wrong = (
        open_clip_xlm_roberta.encode_text(xlm_roberta, XLM_IDS, each) for each in (with_xlm_roberta(), config)
    )
    assert cosine(right, wrong) < 0.99


def test_a_text_is_the_same_however_far_it_is_padded(tensors, xlm_roberta):
    for encode, weights, ids, config, pad in (
        (open_clip.encode_text, tensors, IDS, plain(), 0),
        (open_clip_xlm_roberta.encode_text, xlm_roberta, XLM_IDS, with_xlm_roberta(), 1),
    ):
        longer = torch.nn.functional.pad(ids, (0, 9), value=pad)
        assert torch.allclose(encode(weights, ids, config), encode(weights, longer, config), atol=1e-6)


def test_the_keys_of_custom_text_clip_give_the_same_as_those_of_clip(tensors):
    visual = {key: value for key, value in tensors.items() if key.startswith(("visual.", "logit_scale"))}
    custom = visual | {f"text.{key}": value for key, value in tensors.items() if key not in visual}
    assert torch.equal(open_clip.encode_text(custom, IDS, plain()), open_clip.encode_text(tensors, IDS, plain()))


def test_a_linear_projection_is_one_matrix_and_none_is_none(xlm_roberta):
    config = with_xlm_roberta()
    bare = {key: value for key, value in xlm_roberta.items() if not key.startswith("text.proj.")}
    matrix = torch.linspace(-1, 1, c.common.EMBED * c.common.HIDDEN).reshape(c.common.EMBED, c.common.HIDDEN)
    pooled = open_clip_xlm_roberta.encode_text(bare, XLM_IDS, config)
    projected = open_clip_xlm_roberta.encode_text({**bare, "text.proj.weight": matrix}, XLM_IDS, config)
    assert torch.allclose(projected, torch.nn.functional.normalize(pooled @ matrix.T, dim=-1), atol=1e-6)


def test_a_resnet_has_heads_of_64_unless_a_config_says_otherwise():
    tensors = seeded_state_dict(c.open_clip.open_clip(resnet=True))
    config = c.open_clip.open_clip_config(c.open_clip.OPEN_CLIP_TEXT, c.open_clip.OPEN_CLIP_RESNET)
    stated, other = ({**config["model_cfg"], "vision_cfg": {"head_width": width}} for width in (64, 32))
    right = open_clip.encode_image(tensors, PIXELS, config)
    assert torch.equal(right, open_clip.encode_image(tensors, PIXELS, {"model_cfg": stated}))
    assert not torch.allclose(right, open_clip.encode_image(tensors, PIXELS, {"model_cfg": other}), atol=1e-4)


def test_a_width_that_was_not_published_needs_its_heads_stated(xlm_roberta):
    with pytest.raises(LookupError, match="a width of 32 is of no published size"):
        open_clip_xlm_roberta.encode_text(xlm_roberta, XLM_IDS, with_xlm_roberta(hf_model_config=None))


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.double() * b.double()).sum(-1).min())
