"""cn_clip (OFA-Sys/Chinese-CLIP): `.pt` files of the official models and from its training, ViT and RN50.

Projects that adopted cn_clip with its keys (QA-CLIP) have this format too.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..layouts.cn_clip import LIMITS, check_fields, home, model_config, rules, signatures, tokenizer
from ..layouts.cn_clip import describe as describe_shapes
from ..layouts.cn_clip import describe_image as describe_image_shapes
from ..layouts.unstated import PUBLISHED
from ..reading.read import Checkpoint
from ..source import Files, ImageSide, Source, Whole

HEADS = {"vision_head_width", "text_num_attention_heads"}
"""The fields that the user states for an unpublished size."""


def describe(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Whole:
    """Reads the architecture from shapes, and what they do not show from the user's config."""
    check_fields(config)
    described = describe_shapes(checkpoint.shapes, config)
    return described if HEADS <= config.keys() else replace(described, limits=(*LIMITS, PUBLISHED))


def describe_image(checkpoint: Checkpoint, config: Mapping[str, Any]) -> ImageSide:
    """Like `describe`, for the image tower alone."""
    check_fields(config)
    return describe_image_shapes(checkpoint.shapes, config)


LOAD = """\
import torch
from cn_clip.clip import tokenize
from cn_clip.clip.model import CLIP
from cn_clip.clip.utils import image_transform

model = CLIP(**{model_config!r})
state_dict = torch.load(f"{{folder}}/epoch_latest.pt", map_location="cpu", weights_only=True)["state_dict"]
model.load_state_dict({{key.removeprefix("module."): tensor for key, tensor in state_dict.items()}})
model.eval()
preprocess = image_transform({size})"""


def load(config: Mapping[str, Any], stated: Mapping[str, Any]) -> str:
    """The class itself, because load_from_name knows only published sizes and rounds weights to half precision."""
    stated = model_config(config["text_config"], config["vision_config"], config["projection_dim"])
    return LOAD.format(model_config=stated, size=stated["image_resolution"])


# cn_clip/training/main.py saves these keys, and an optimizer's state.
FILES = Files(
    weights=("epoch_latest.pt",),
    under="state_dict",
    beside={"epoch": 0, "step": 0, "name": "finetune"},
    named=lambda key, stated: f"module.{key}",
    left_out=("bert.pooler.dense.*",),
    load=load,
)

SOURCE = Source(
    name="cn_clip",
    title="cn_clip (OFA-Sys/Chinese-CLIP)",
    part="dual",
    signatures=signatures(),
    describe=describe,
    rules=rules,
    home=home,
    tokenizer=tokenizer,
    files=FILES,
    reads_config_json=False,
    limits=(*LIMITS, PUBLISHED),
    describe_image=describe_image,
)
