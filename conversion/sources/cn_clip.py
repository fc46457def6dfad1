"""cn_clip (OFA-Sys/Chinese-CLIP): `.pt` files of the official models and from its training, ViT and RN50.

Projects that adopted cn_clip with its keys (QA-CLIP) have this format too.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..layouts.cn_clip import LIMITS, check_fields, home, rules, signatures, tokenizer
from ..layouts.cn_clip import describe as describe_shapes
from ..layouts.cn_clip import describe_image as describe_image_shapes
from ..layouts.unstated import PUBLISHED
from ..reading.read import Checkpoint
from ..source import ImageSide, Source, Whole

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


SOURCE = Source(
    name="cn_clip",
    title="cn_clip (OFA-Sys/Chinese-CLIP)",
    part="dual",
    signatures=signatures(),
    describe=describe,
    rules=rules,
    home=home,
    tokenizer=tokenizer,
    reads_config_json=False,
    limits=(*LIMITS, PUBLISHED),
    describe_image=describe_image,
)
