"""cn_clip (OFA-Sys/Chinese-CLIP): `.pt` files of the official models and of its training, ViT and RN50.

Projects that took cn_clip over with its keys (QA-CLIP) are this format, too.
"""

from collections.abc import Mapping
from typing import Any

from ..cn_clip_model import LIMITS, home, original, rules, signatures, tokenizer
from ..cn_clip_model import describe as describe_shapes
from ..read import Checkpoint
from ..source import Description, Source


def describe(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Description:
    """Reads the architecture from shapes, and what they don't say from what the user states."""
    return describe_shapes(checkpoint.shapes, config)


SOURCE = Source(
    name="cn_clip",
    title="cn_clip (OFA-Sys/Chinese-CLIP)",
    part="dual",
    signatures=signatures(),
    describe=describe,
    rules=rules,
    home=home,
    original=original,
    tokenizer=tokenizer,
    reads_config_json=False,
    limits=LIMITS,
)
