"""OpenAI's causal text transformer under its own key names.

Source: openai/CLIP, clip/model.py (`CLIP.encode_text`).
"""

from typing import Any

import torch

from .clip_text import future_bias
from .layers import Activation, Tensors, layer_norm, normalize, numbered, weight, wide
from .openai_vision import block


def positions(tensors: Tensors, prefix: str) -> int:
    """The longest text in ids that the position table allows."""
    return len(tensors[f"{prefix}positional_embedding"])


def training(tensors: Tensors, prefix: str, first: int, last: int, pad: int) -> dict[str, Any]:
    """The fields of config.json for later training, and the ids of a text's first token, last token and padding."""
    width = tensors[f"{prefix}text_projection"].shape[-1]
    initial = {"initializer_range": 0.02, "initializer_factor": 1.0}
    ids = {"bos_token_id": first, "eos_token_id": last, "pad_token_id": pad}
    return {"attention_dropout": 0.0, "projection_dim": width, **initial, **ids}


def embed(
    tensors: Tensors,
    prefix: str,
    blocks: str,
    ids: torch.Tensor,
    ends: torch.Tensor,
    heads: int,
    activation: Activation,
    eps: float,
) -> torch.Tensor:
    """The state at each text's end after `ln_final`, projected and L2-normalised.

    Args:
        prefix: the part of the keys before `token_embedding.`, `positional_embedding`, `ln_final.`, `text_projection`.
        blocks: the part of the keys before the layer numbers, with its dot.
        ids: `(n, length)` int64.
        ends: `(n,)`, the position in each text whose state is taken; later positions are never attended to.

    Returns:
        `(n, embed)`.

    Raises:
        ValueError: if the texts are longer than the position table.
    """
    length, positions = ids.shape[1], tensors[f"{prefix}positional_embedding"]
    if length > len(positions):
        raise ValueError(
            f"texts of {length} ids, but the checkpoint has {len(positions)} text positions: truncate them"
        )
    x = wide(tensors[f"{prefix}token_embedding.weight"][ids]) + wide(positions[:length])
    for number in numbered(tensors, blocks):
        x = block(tensors, f"{blocks}{number}.", x, heads, activation, eps, pair_bias=future_bias(length))
    states = layer_norm(tensors, f"{prefix}ln_final", x, eps)
    return normalize(states[torch.arange(len(ids)), ends] @ weight(tensors, f"{prefix}text_projection"))
