"""ModelScope's CLIP (damo/multi-modal_clip-vit-*_zh) and its fine-tunes: cn_clip's model in its own folder layout."""

from collections.abc import Collection, Mapping
from typing import Any

from ..layouts import cn_clip as cn_clip_model
from ..layouts import towers
from ..mapping import Rule, Shape
from ..reading.read import MODELSCOPE, Checkpoint
from ..source import ImageSide, Relative, Source, Whole

PREFIX = "clip_model."
"""The key prefix in files of its trainer (models/multi_modal/clip/model.py loads keys with and without it)."""


def rules(keys: Collection[str]) -> tuple[Rule, ...]:
    """cn_clip's tables, under the prefix if one key has it; then no rule claims a key without the prefix."""
    prefix = _prefix(keys)
    return towers.prefixed(prefix, cn_clip_model.rules(cn_clip_model.bare(dict.fromkeys(keys), prefix)))


def describe(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Whole:
    """Reads the architecture from the folder's two JSON files, checked against shapes; of a lone file, from shapes."""
    return cn_clip_model.describe(*_given(checkpoint, config))


def describe_image(checkpoint: Checkpoint, config: Mapping[str, Any]) -> ImageSide:
    """Like `describe`, for the image tower alone."""
    return cn_clip_model.describe_image(*_given(checkpoint, config))


def _given(checkpoint: Checkpoint, config: Mapping[str, Any]) -> tuple[Mapping[str, Shape], Mapping[str, Any], str]:
    """The shapes under cn_clip's names, the stated facts, and the name of what states them."""
    shapes = cn_clip_model.bare(checkpoint.shapes, _prefix(checkpoint.tensors))
    return shapes, config, " or ".join(MODELSCOPE) if checkpoint.config else "--config"


def _prefix(keys: Collection[str]) -> str:
    return PREFIX if any(key.startswith(PREFIX) for key in keys) else ""


RELATIVES = (
    Relative(
        "a ModelScope model from before August 2022",
        ("vision_encoder.*", "text_encoder.*", "logit_scale"),
        "It has another architecture under the same name and is not converted: fetch today's version of the model.",
    ),
)


SOURCE = Source(
    name="modelscope",
    title="ModelScope's Chinese CLIP (damo/multi-modal_clip-vit-*_zh)",
    part="dual",
    signatures=(*cn_clip_model.signatures(beside=MODELSCOPE), *cn_clip_model.signatures(PREFIX)),
    describe=describe,
    rules=rules,
    home=cn_clip_model.home,
    tokenizer=cn_clip_model.tokenizer,
    limits=cn_clip_model.LIMITS,
    describe_image=describe_image,
    relatives=RELATIVES,
)
