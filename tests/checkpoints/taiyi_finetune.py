"""Checkpoints of Fengshen's fine-tune of Taiyi-CLIP."""

from pathlib import Path

import torch

from tests.checkpoints import common, hf_clip, prd2, taiyi
from tests.checkpoints.common import Original
from tests.weights import seeded_state_dict


def taiyi_finetune() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of Fengshen's fine-tune of Taiyi-CLIP: a whole English CLIP, and Taiyi's classifier."""
    text = taiyi.taiyi(head=True) | {"bert.embeddings.position_embeddings.weight": (TAIYI_POSITIONS, common.HIDDEN)}
    clip = {f"clip_model.{key}": shape for key, shape in hf_clip.hf_clip().items()}
    return clip | {f"text_encoder.{key}": shape for key, shape in text.items()}


TAIYI_POSITIONS = 96
"""More than the 77 tokens to which this training pads."""


def taiyi_finetune_file(path: Path, prefix: str = "", **extra: object) -> Path:
    """What Lightning saves of Fengshen's fine-tune of Taiyi-CLIP, with the buffers of a transformers of 2022."""
    state_dict = seeded_state_dict(taiyi_finetune())
    for key, length in (
        ("clip_model.text_model.embeddings.position_ids", common.POSITIONS),
        ("clip_model.vision_model.embeddings.position_ids", (common.SIZE // common.PATCH) ** 2 + 1),
        ("text_encoder.bert.embeddings.position_ids", TAIYI_POSITIONS),
    ):
        state_dict[key] = torch.arange(length)[None]
    top = {"epoch": 0, "global_step": 2272, "pytorch-lightning_version": "1.6.5", "loops": {}, "callbacks": {}}
    state = {"optimizer_states": [{"state": {}, "param_groups": [{"lr": 5e-4}]}], "lr_schedulers": [{"T_0": 2000}]}
    named = {prefix + key: tensor for key, tensor in state_dict.items()}
    torch.save({**top, **state, "state_dict": named, **extra}, path)
    return path


def original(folder: Path) -> Original:
    """Makes a checkpoint of Taiyi's fine-tune, and the JSON that states its head counts."""
    config = prd2.prd2_config(folder / "facts.json")
    return Original(taiyi_finetune_file(folder / "epoch=0-step=2272.ckpt"), {"config": config})


ORIGINALS = {"taiyi_finetune": original}
