"""ModelScope's CLIP (damo/multi-modal_clip-vit-*_zh): cn_clip's model in a folder of its own, and its fine-tunes."""

from collections.abc import Collection, Mapping
from typing import Any

import torch

from .. import cn_clip_model, towers
from ..mapping import Rule
from ..read import MODELSCOPE, Checkpoint
from ..source import Description, Facts, Source, Witness

PREFIX = "clip_model."
"""What its trainer saves in front of every key (models/multi_modal/clip/model.py loads either)."""


def rules(keys: Collection[str]) -> tuple[Rule, ...]:
    """cn_clip's tables, under the prefix where one key has it: what lacks it then is claimed by no rule."""
    prefix = _prefix(keys)
    return towers.prefixed(prefix, cn_clip_model.rules(cn_clip_model.bare(dict.fromkeys(keys), prefix)))


def describe(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Description:
    """Reads the architecture from the folder's two JSON files, held against the shapes; a file alone from shapes."""
    shapes = cn_clip_model.bare(checkpoint.shapes, _prefix(checkpoint.tensors))
    by = " or ".join(MODELSCOPE) if checkpoint.config else "--config"
    return cn_clip_model.describe(shapes, config, by)


def original(tensors: Mapping[str, torch.Tensor], facts: Facts) -> Witness | None:
    """The witness from the installed cn_clip: ModelScope's class is a copy of its own (recorded outputs prove it)."""
    return cn_clip_model.original(cn_clip_model.bare(tensors, _prefix(tensors)), facts)


def _prefix(keys: Collection[str]) -> str:
    return PREFIX if any(key.startswith(PREFIX) for key in keys) else ""


SOURCE = Source(
    name="modelscope",
    title="ModelScope's Chinese CLIP (damo/multi-modal_clip-vit-*_zh)",
    part="dual",
    signatures=(*cn_clip_model.signatures(beside=MODELSCOPE), *cn_clip_model.signatures(PREFIX)),
    describe=describe,
    rules=rules,
    home=cn_clip_model.home,
    original=original,
    tokenizer=cn_clip_model.tokenizer,
    limits=cn_clip_model.LIMITS,
)
