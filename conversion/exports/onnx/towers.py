"""The towers of a repo as modules that take and give tensors alone, in the terms of their graphs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ...repos.repo import Repo
from ..quiet import loaded


@dataclass(frozen=True)
class Tower:
    """A tower's graph: its file, the names of its inputs with their dimensions, and the name of its output.

    A dimension is the name of a number that each call chooses, or a fixed number; `side` is the picture's side.
    `others` are further outputs, of a graph of both towers.
    """

    name: str
    file: str
    inputs: Mapping[str, tuple[str | int, ...]]
    output: str
    others: tuple[str, ...] = ()


BATCH, LENGTH, SIDE = "batch", "length", "side"
PICTURES = "pictures"
"""The number of pictures, in a graph of both towers."""

TEXT = Tower(
    "text",
    "text_model.onnx",
    {"input_ids": (BATCH, LENGTH), "attention_mask": (BATCH, LENGTH)},
    "text_embeds",
)
IMAGE = Tower("image", "vision_model.onnx", {"pixel_values": (BATCH, 3, SIDE, SIDE)}, "image_embeds")

CLASSES = {
    ("text", "pair"): "ZhCLIPTextModelWithProjection",
    ("image", "pair"): "ZhCLIPVisionModelWithProjection",
    ("text", "alone"): "ZhCLIPTextModel",
}
"""The class that holds a tower: by the tower, and by whether the repo has both towers or a text tower alone."""


def towers_of(repo: Repo) -> tuple[Tower, ...]:
    """The towers that the repo has."""
    return (TEXT,) if repo.is_text_alone else (TEXT, IMAGE)


class Vectors(nn.Module):
    """A tower that gives L2-normalised vectors alone, (batch, projection_dim).

    A text tower alone has no projection: its vectors are its pooled states, (batch, width).
    """

    def __init__(self, model: nn.Module, tower: Tower):
        super().__init__()
        self.model, self.output = model, tower.output

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        outputs = self.model(*inputs, return_dict=True)
        vectors = getattr(outputs, self.output) if hasattr(outputs, self.output) else outputs.pooler_output
        return nn.functional.normalize(vectors, dim=-1)


def load_tower(repo: Repo, tower: Tower) -> Vectors:
    """The repo's tower in float32. No other tower is loaded, and no code in the repo runs."""
    import hf_zhclip

    kind: Any = getattr(hf_zhclip, CLASSES[tower.name, "alone" if repo.is_text_alone else "pair"])
    model = loaded(kind, repo.path, torch.float32)
    # The wrapper, too: an exporter that restores the wrapper's training flag restores it in the whole model.
    return Vectors(model, tower).eval()
