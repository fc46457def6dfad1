"""Tensors that an original's class demands in its file, and that no embedding depends on.

The tables drop these tensors. When a model goes back to its own format, they are written again: position ids, which
only count, and layers that no embedding passes through, which are zeros.
"""

from collections.abc import Mapping

import torch


def position_ids(tensors: Mapping[str, torch.Tensor], *embeddings: str) -> dict[str, torch.Tensor]:
    """The buffers of shape `(1, positions)` beside tables of positions, which transformers saved before 4.31."""
    return {
        f"{key.rpartition('.')[0].rpartition('.')[0]}.position_ids": torch.arange(tensors[key].shape[0])[None]
        for key in embeddings
    }


def bert_positions(prefix: str) -> str:
    """The key of a BERT's table of positions."""
    return f"{prefix}embeddings.position_embeddings.weight"


def clip_positions(prefix: str) -> str:
    """The key of the table of positions in a tower of Hugging Face's CLIP."""
    return f"{prefix}embeddings.position_embedding.weight"


def zeros(tensors: Mapping[str, torch.Tensor], like: Mapping[str, str]) -> dict[str, torch.Tensor]:
    """Zeros under new keys; each has the shape and dtype of the tensor that `like` names for its key."""
    return {key: torch.zeros_like(tensors[other]) for key, other in like.items()}


def bert_pooler(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Zeros in place of a BERT's pooler, which is a square layer as wide as the tower."""
    square = f"{prefix}encoder.layer.0.attention.output.dense."
    like = {f"{prefix}pooler.dense.{each}": f"{square}{each}" for each in ("weight", "bias")}
    return zeros(tensors, like)
