"""Wukong checkpoints, of the PyTorch and of the MindSpore release."""

import json
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch

from tests.checkpoints import cn_clip, common, open_clip
from tests.checkpoints.common import Original
from tests.weights import seeded_state_dict

WUKONG_FACTS = {"is_token_wise": False, "text": {"heads": 4}}
"""What `--config` has to state of a small Wukong."""


def wukong() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of a Wukong with global similarity; a head of its image tower is as wide as the tower."""
    text = {key: shape for key, shape in open_clip.open_clip_text().items() if not key.startswith("transformer.")}
    text |= {"token_embedding.weight": (common.VOCAB, common.HIDDEN), "positional_embedding": (32, common.HIDDEN)}
    blocks = {key: shape for key, shape in open_clip.open_clip_text().items() if key.startswith("transformer.")}
    image = {key: shape for key, shape in cn_clip.cn_clip_vit().items() if key.startswith("visual.")}
    return image | blocks | {f"transformer.{key}": shape for key, shape in text.items()} | {"loss.logit_scale": ()}


def wukong_file(path: Path, shapes: Mapping[str, tuple[int, ...]] | None = None) -> Path:
    """A file of the PyTorch release, or with `.pkl` the MindSpore release's pickle of numpy arrays."""
    state_dict = seeded_state_dict(shapes or wukong())
    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps({key: tensor.numpy() for key, tensor in state_dict.items()}, protocol=4))
    else:
        torch.save({"state_dict": state_dict}, path)
    return path


def wukong_config(path: Path) -> Path:
    """The JSON that states what the small Wukong's shapes don't."""
    path.write_text(json.dumps(WUKONG_FACTS), encoding="utf-8")
    return path


def original(folder: Path) -> Original:
    """Makes a Wukong checkpoint, and the JSON that states its head count."""
    config = wukong_config(folder / "facts.json")
    return Original(wukong_file(folder / "wukong_vit_b_g.ckpt"), {"config": config})


ORIGINALS = {"wukong": original}
