"""CLIP's causal text transformer under transformers' key names (`text_model.*`, `text_projection.weight`)."""

import torch

from .hf_config import Facts
from .layers import Tensors, attention, layer_norm, linear, normalize, numbered, weight, wide

LEGACY_END = 2


def embed(tensors: Tensors, ids: torch.Tensor, facts: Facts, end: int) -> torch.Tensor:
    """The state of the end token after `final_layer_norm`, projected and L2-normalised.

    Causal attention hides everything after the end token, including padding.

    Args:
        ids: `(n, length)` int64.
        end: the config's eos_token_id; the legacy value 2 means the highest id of a text.

    Returns:
        `(n, projection)`.

    Raises:
        ValueError: if the texts are longer than the position table.
    """
    x = _embed(tensors, ids)
    for number in numbered(tensors, "text_model.encoder.layers."):
        x = _block(tensors, f"text_model.encoder.layers.{number}.", x, facts)
    states = layer_norm(tensors, "text_model.final_layer_norm", x, facts.eps)
    pooled = states[torch.arange(len(ids)), end_places(ids, end)]
    return normalize(pooled @ weight(tensors, "text_projection.weight").T)


def positions(tensors: Tensors) -> int:
    """The longest text in ids that the position table allows."""
    return len(tensors["text_model.embeddings.position_embedding.weight"])


def end_places(ids: torch.Tensor, end: int) -> torch.Tensor:
    """`(n,)`: each text's end: the first `end`, or the first of its highest id."""
    ends = ids == (ids.max(dim=1, keepdim=True).values if end == LEGACY_END else end)
    return ends.int().argmax(dim=1)


def future_bias(length: int) -> torch.Tensor:
    """`(length, length)`: minus infinity if a query would see a later key."""
    return torch.full((length, length), float("-inf")).triu(1)


def _embed(tensors: Tensors, ids: torch.Tensor) -> torch.Tensor:
    length = ids.shape[1]
    positions = tensors["text_model.embeddings.position_embedding.weight"]
    if length > len(positions):
        raise ValueError(
            f"texts of {length} ids, but the checkpoint has {len(positions)} text positions: truncate them"
        )
    words = wide(tensors["text_model.embeddings.token_embedding.weight"][ids])
    return words + wide(positions[:length])


def _block(tensors: Tensors, layer: str, x: torch.Tensor, facts: Facts) -> torch.Tensor:
    """One pre-norm layer: causal attention, then the two-layer perceptron."""
    before = layer_norm(tensors, f"{layer}layer_norm1", x, facts.eps)
    query, key, value = (linear(tensors, f"{layer}self_attn.{name}_proj", before) for name in "qkv")
    seen = attention(query, key, value, facts.heads, pair_bias=future_bias(x.shape[1]))
    x = x + linear(tensors, f"{layer}self_attn.out_proj", seen)
    before = layer_norm(tensors, f"{layer}layer_norm2", x, facts.eps)
    return x + linear(tensors, f"{layer}mlp.fc2", facts.activation(linear(tensors, f"{layer}mlp.fc1", before)))
