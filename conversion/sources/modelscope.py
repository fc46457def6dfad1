"""ModelScope's CLIP (damo/multi-modal_clip-vit-*_zh) and its fine-tunes: cn_clip's model in its own folder layout."""

from collections.abc import Collection, Mapping
from typing import Any

from ..layouts import cn_clip as cn_clip_model
from ..layouts import towers, unused
from ..mapping import Rule, Shape
from ..reading.read import MODELSCOPE, Checkpoint
from ..source import Files, ImageSide, Relative, Source, Whole

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


LOAD = """\
from modelscope.pipelines import pipeline

# Its input: {"text": [...]}, {"img": [...]}, or both.
embed = pipeline("multi-modal-embedding", model=folder)"""

CONFIGURATION = {
    "framework": "pytorch",
    "task": "multi-modal-embedding",
    "pipeline": {"type": "multi-modal-embedding"},
    "model": {"type": "clip-multi-modal-embedding"},
}
"""The registry's names for this model and its pipeline (modelscope/metainfo.py)."""


def _made(config: Mapping[str, Any]) -> dict[str, Any]:
    """The folder's JSON files; if the original states its two configs, they are written instead of these."""
    stated = cn_clip_model.model_config(config["text_config"], config["vision_config"], config["projection_dim"])
    is_text = {field: field.startswith("text_") or field == "vocab_size" for field in stated}
    image, text = ({field: stated[field] for field in stated if is_text[field] is side} for side in (False, True))
    return {"configuration.json": CONFIGURATION, **dict(zip(MODELSCOPE, (image, text), strict=True))}


# The class's BERT has a pooler, and loads strictly.
FILES = Files(
    weights=("pytorch_model.bin",),
    under="state_dict",
    own_vocabulary=True,
    made=_made,
    unused=lambda tensors: unused.bert_pooler("bert.", tensors),
    left_out=(f"{PREFIX}bert.pooler.dense.*",),
    load=lambda config, stated: LOAD,
)


RELATIVES = (
    Relative(
        "a ModelScope model from before August 2022",
        ("vision_encoder.*", "text_encoder.*", "logit_scale"),
        "It has another architecture under the same name, and is not converted. Fetch today's version of the model.",
        absent=("vision_projection.*",),  # EasyNLP's CLIP has the other keys, too
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
    files=FILES,
    limits=cn_clip_model.LIMITS,
    describe_image=describe_image,
    relatives=RELATIVES,
)
