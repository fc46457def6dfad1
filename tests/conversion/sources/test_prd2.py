"""PRD2 and R2D2: what its files state, what they leave open, and what is left out."""

import json
from pathlib import Path

import pytest
import torch

from hf_zhclip.conversion import convert, export
from hf_zhclip.conversion.errors import InputError, MappingError
from hf_zhclip.conversion.exports.natives import native_for
from hf_zhclip.conversion.mapping import inverse, plan
from hf_zhclip.conversion.reading.read import Checkpoint
from hf_zhclip.conversion.sources import prd2

from tests import checkpoints
from tests.weights import seeded_state_dict

KEYS = Path(__file__).parents[2] / "keys"
FACTS = checkpoints.prd2.PRD2_FACTS


def checkpoint(shapes):
    tensors = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    return Checkpoint(Path("x.pth"), (), "zip", tensors)


def published(name):
    return checkpoint(json.loads((KEYS / f"{name}.json").read_text(encoding="utf-8"))["keys"])


# checkpoints/r2d2_config/vision_config.json, vision_config_base.json and hfl_roberta/config.json.
@pytest.mark.parametrize(
    ("name", "architecture", "heads", "layers", "patch"),
    [
        ("prd2", "PRD2 ViT-L-14@chinese-roberta-wwm-ext", 16, 24, 14),
        ("r2d2", "R2D2 ViT-L-14@chinese-roberta-wwm-ext", 16, 24, 14),
        ("r2d2-base", "R2D2 ViT-B-16@chinese-roberta-wwm-ext", 12, 12, 16),
    ],
)
def test_a_published_size_is_described_as_upstreams_configs_have_it(name, architecture, heads, layers, patch):
    found = prd2.describe(published(name), {})

    assert found.architecture == architecture
    vision, text = found.vision.config, found.text.config
    assert (vision["num_attention_heads"], vision["num_hidden_layers"], vision["patch_size"]) == (heads, layers, patch)
    assert (vision["hidden_act"], vision["layer_norm_eps"]) == ("quick_gelu", 1e-5)
    assert (text["num_attention_heads"], text["hidden_act"], text["layer_norm_eps"]) == (12, "gelu", 1e-12)
    assert (found.text.pooling, found.vision.pooling) == ("cls", "cls")
    assert (found.text.projection, found.vision.projection) == ("linear_bias", "linear_bias")
    assert (found.text.width, found.vision.width) == (768, 768)
    assert (found.image_order, found.image_size, found.context_length) == ("rgb_then_squash", 224, 64)


def test_of_another_size_everything_that_a_weight_file_does_not_hold_has_to_be_stated():
    found = checkpoint(checkpoints.prd2.prd2())
    with pytest.raises(InputError) as error:
        prd2.describe(found, {"text_config": {**FACTS["text_config"], "hidden_size": checkpoints.common.HIDDEN}})

    assert [line.strip() for line in str(error.value).splitlines()[1:4]] == [
        "vision_config.num_attention_heads",
        "vision_config.hidden_act",
        "vision_config.layer_norm_eps",
    ]
    assert "pass --config FILE" in str(error.value)
    described = prd2.describe(found, FACTS)
    for tower, side in ((described.text, "text_config"), (described.vision, "vision_config")):
        assert {field: tower.config[field] for field in FACTS[side]} == FACTS[side]


@pytest.mark.parametrize(
    ("side", "stated", "message"),
    [
        ("text_config", {"hidden_size": 768}, "text_config.hidden_size: stated 768, the shapes say 32"),
        ("vision_config", {"patch_size": 14}, "vision_config.patch_size: stated 14, the shapes say 16"),
        ("vision_config", {"num_attention_heads": 5}, "vision_config.num_attention_heads 5; wanted a divisor"),
        ("text_config", {"num_attention_heads": "4"}, "num_attention_heads '4'; a whole number was wanted"),
        ("text_config", {"layer_norm_eps": 0}, "text_config.layer_norm_eps 0; a number between 0 and 1 was wanted"),
        ("text_config", {"hidden_act": "gelu_new"}, "states the activation 'gelu_new'"),
    ],
)
def test_what_is_stated_is_held_against_the_shapes(side, stated, message):
    with pytest.raises(InputError, match=message):
        prd2.describe(checkpoint(checkpoints.prd2.prd2()), {**FACTS, side: {**FACTS[side], **stated}})


def test_a_tower_that_is_stated_as_no_object_is_refused():
    with pytest.raises(InputError, match="states text_config 'bert'; an object with fields was wanted"):
        prd2.describe(checkpoint(checkpoints.prd2.prd2()), {**FACTS, "text_config": "bert"})


def test_what_is_in_no_embedding_is_dropped_and_the_cross_encoder_told_of():
    plain, joint = checkpoint(checkpoints.prd2.prd2()), checkpoint(checkpoints.prd2.r2d2())
    dropped = {key.partition(".")[0] for key in plan(prd2.RULES, joint.shapes).dropped}

    assert sorted(plan(prd2.RULES, plain.shapes).dropped) == [
        "text_encoder.embeddings.position_ids",
        "text_encoder.pooler.dense.bias",
        "text_encoder.pooler.dense.weight",
        "visual_encoder.embeddings.position_ids",
        "visual_encoder.post_layernorm.bias",
        "visual_encoder.post_layernorm.weight",
    ]
    cross = {"text_joint_layer", "img_joint_layer", "img_joint_proj", "itm_head", "itm_head_i"}
    assert dropped == cross | {"text_encoder", "visual_encoder"}
    assert prd2.CROSS_ENCODER_LIMIT in prd2.describe(joint, FACTS).limits
    assert prd2.CROSS_ENCODER_LIMIT not in prd2.describe(plain, FACTS).limits


def test_all_that_is_kept_comes_back_and_only_the_temperature_rounded():
    shapes = {key: tuple(min(size, 96) for size in shape) for key, shape in checkpoints.prd2.r2d2().items()}
    tensors = seeded_state_dict(shapes)
    forward = plan(prd2.RULES, shapes)
    mapped = dict(forward.run(tensors))
    table = inverse(prd2.RULES)
    back = dict(plan(table, {key: tuple(tensor.shape) for key, tensor in mapped.items()}).run(mapped))

    assert back.keys() == tensors.keys() - set(forward.dropped)
    assert all(torch.equal(back[key], tensors[key]) for key in back if key != "temp")
    assert back["temp"].item() == pytest.approx(tensors["temp"].item(), rel=3e-7)


def test_a_copy_of_the_towers_is_not_dropped_without_a_word(tmp_path):
    # ALBEF, which R2D2 follows, keeps momentum copies; R2D2's published code has none, and its loader would skip them.
    shapes = checkpoints.prd2.prd2() | {"vision_proj_m.weight": (checkpoints.common.EMBED, checkpoints.common.WIDTH)}
    source = checkpoints.prd2.prd2_file(tmp_path / "x.pth", shapes)
    with pytest.raises(MappingError, match=r"unknown keys(.|\n)*vision_proj_m\.weight \[48, 64\]"):
        convert(source, tmp_path / "out", config=checkpoints.prd2.prd2_config(tmp_path / "facts.json"))


def test_no_class_of_transformers_and_no_cn_clip_file_holds_it(repo, tmp_path):
    folder = repo("r2d2").path
    with pytest.raises(InputError) as native:
        native_for(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    with pytest.raises(InputError) as cn_clip:
        export(folder, tmp_path / "x.pt", to="cn_clip")

    biases = ["the bias of the text projection", "the bias of the image projection"]
    told = [line.strip() for line in str(native.value).splitlines()]
    assert told[1:5] == [
        "ChineseCLIPModel would lose:",
        *biases,
        "the raw class token: the class applies a layer norm to the class token",
    ]
    for loss in (
        *biases,
        "the raw class token: cn_clip applies a layer norm to the class token",
        "the image order: the repo makes pictures RGB",
    ):
        assert loss in str(cn_clip.value)
    assert not (tmp_path / "x.pt").exists()


@pytest.mark.quick(1)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_cast_rounds_the_scale_and_not_the_temperature(dtype, original, tmp_path):
    found = original("r2d2")

    report = convert(found.source, tmp_path / "OUT", dtype=dtype, **found.arguments)

    assert report.passed
