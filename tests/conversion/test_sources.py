"""Every published checkpoint at full size, on the meta device: its keys and shapes against the model they make."""

import json
from pathlib import Path

import pytest
import torch

from hf_zhclip.conversion.detect import detect
from hf_zhclip.conversion.mapping import check, claimed, inverse, plan
from hf_zhclip.conversion.parts import Part, Role, describe
from hf_zhclip.conversion.pipeline import build
from hf_zhclip.conversion.read import Checkpoint
from hf_zhclip.conversion.sources import SOURCES

KEYS = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (Path(__file__).parents[1] / "keys").glob("*")
}

DUAL = ("cn_clip", "chinese_clip", "bert_clip", "hf_clip", "modelscope", "prd2")
# A text part and the image part that it was published with.
MODELS = {
    **{(name,): None for name in KEYS if KEYS[name]["format"] in DUAL},
    ("taiyi-102m", "hf_clip-vit-base-patch32"): None,
    ("taiyi-326m", "hf_clip-vit-large-patch14"): None,
    ("taiyi-102m-vit-l", "hf_clip-vit-large-patch14"): None,
    ("taiyi-326m-vit-h", "hf_clip-vit-huge-patch14"): None,
}


def checkpoint(name: str) -> Checkpoint:
    recorded = KEYS[name]
    tensors = {key: torch.empty(shape, device="meta") for key, shape in recorded["keys"].items()}
    config = {**recorded["config"], "architectures": [recorded["architecture"]]} if recorded["config"] else {}
    beside = tuple(Path(file) for file in SOURCES[recorded["format"]].signatures[0].beside)
    return Checkpoint(Path(name), beside, "meta", tensors, config=config)


def part(name: str, role: Role = "whole") -> Part:
    found = checkpoint(name)
    return Part(SOURCES[KEYS[name]["format"]], found, found.config, "recorded", role)


def parts_of(names: tuple[str, ...]) -> list[Part]:
    first, *image = names
    return [part(first), *(part(name, "image") for name in image)]


@pytest.mark.parametrize("names", MODELS, ids="+".join)
def test_every_key_of_a_published_checkpoint_is_claimed_and_every_key_of_the_model_filled(names):
    parts = parts_of(names)
    _, shapes = build(describe(parts))
    check([each.plan for each in parts], shapes)


@pytest.mark.parametrize("names", MODELS, ids="+".join)
def test_the_inverse_table_gives_the_published_keys_back(names):
    parts = parts_of(names)
    config, shapes = build(describe(parts))
    for each in parts:
        table = inverse(each.home(config.to_dict()))
        own = {key: shapes[key] for key in claimed(table, shapes)}
        kept = {key: shape for key, shape in each.checkpoint.shapes.items() if key not in each.plan.dropped}
        assert plan(table, own).shapes == kept


@pytest.mark.parametrize("name", [name for name in KEYS if not name.startswith("taiyi-") or "vit" not in name])
def test_exactly_one_source_claims_a_published_checkpoint(name):
    assert detect(checkpoint(name)).source.name == KEYS[name]["format"]


@pytest.mark.parametrize("name", [name for name in KEYS if KEYS[name]["format"] == "cn_clip"])
def test_a_published_cn_clip_size_is_named_without_any_config(name):
    description = describe([part(name)])
    assert description.architecture == KEYS[name]["architecture"]


@pytest.mark.parametrize(
    ("name", "text_heads", "vision_heads", "size"),
    [
        ("cn_clip-vit-b-16", 12, 12, 224),
        ("cn_clip-vit-b-32", 12, 12, 224),
        ("cn_clip-vit-l-14", 12, 16, 224),
        ("cn_clip-vit-l-14-336", 12, 16, 336),
        ("cn_clip-vit-h-14", 16, 16, 224),
        ("cn_clip-rn50", 12, 32, 224),
        ("modelscope-vit-b-16", 12, 12, 224),
        ("modelscope-vit-l-14", 12, 16, 224),
        ("modelscope-vit-l-14-336", 12, 16, 336),
        ("modelscope-vit-h-14", 16, 16, 224),
    ],
)
def test_the_facts_that_no_weight_file_holds_are_the_published_ones(name, text_heads, vision_heads, size):
    description = describe([part(name)])
    assert description.text.config["num_attention_heads"] == text_heads
    assert description.vision.config["num_attention_heads"] == vision_heads
    assert description.image_size == size
