"""Checkpoints of R2D2 and of its PRD2."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from tests.checkpoints import common
from tests.checkpoints.common import Original, bert, hf_clip_vision, linear, norm
from tests.weights import seeded_state_dict


def prd2() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of PRD2, of which the last norm, the pooler and the position buffers are in no embedding."""
    tower = {key: shape for key, shape in hf_clip_vision().items() if key.startswith("vision_model.")}
    shapes = {key.replace("vision_model.", "visual_encoder."): shape for key, shape in tower.items()}
    shapes |= {"visual_encoder.embeddings.position_ids": (1, (common.SIZE // common.PATCH) ** 2 + 1)}
    shapes |= bert("text_encoder.", pooler=True) | {"text_encoder.embeddings.position_ids": (1, common.POSITIONS)}
    return (
        shapes
        | linear("vision_proj", common.EMBED, common.WIDTH)
        | linear("text_proj", common.EMBED, common.HIDDEN)
        | {"temp": ()}
    )


def r2d2() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of R2D2: a PRD2 and the first keys of each part of its cross-encoder."""
    shapes = prd2() | linear("img_joint_proj", common.HIDDEN, common.WIDTH)
    for side, width in (("text", common.WIDTH), ("img", common.HIDDEN)):
        layer = f"{side}_joint_layer.encoder.layer.0."
        shapes |= norm(f"{side}_joint_layer.embeddings.LayerNorm", common.HIDDEN)
        shapes |= linear(layer + "attention.self.query", common.HIDDEN, common.HIDDEN)
        shapes |= linear(layer + "crossattention.self.key", common.HIDDEN, width)
    return shapes | linear("itm_head", 2, common.HIDDEN) | linear("itm_head_i", 2, common.HIDDEN)


PRD2_FACTS = {
    "text_config": {"num_attention_heads": 4, "hidden_act": "gelu", "layer_norm_eps": 1e-12},
    "vision_config": {"num_attention_heads": 4, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
}
"""What `--config` has to state of a small PRD2."""


def prd2_file(path: Path, shapes: Mapping[str, tuple[int, ...]] | None = None) -> Path:
    """A checkpoint as R2D2's fine-tuning saves it, optimizer and config included."""
    top = {"optimizer": {"state": {}, "param_groups": [{"lr": 1e-5}]}, "config": {"vit_type": "base"}, "epoch": 3}
    torch.save({**top, "model": seeded_state_dict(shapes or r2d2())}, path)
    return path


def prd2_config(path: Path) -> Path:
    """The JSON that states what the small checkpoints' shapes don't."""
    path.write_text(json.dumps(PRD2_FACTS), encoding="utf-8")
    return path


def original(folder: Path) -> Original:
    """Makes an R2D2 checkpoint, and the JSON that states its head counts."""
    config = prd2_config(folder / "facts.json")
    return Original(prd2_file(folder / "checkpoint_best.pth"), {"config": config})


ORIGINALS = {"r2d2": original}
