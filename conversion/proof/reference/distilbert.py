"""The DistilBERT text tower (Sanh et al., 2019): a BERT with half the layers, without token types.

Source: transformers, models/distilbert/modeling_distilbert.py. The file stores its positions, sinusoidal or learnt.
"""

import torch

from .layers import Activation, Tensors, attention, layer_norm, linear, numbered, wide


def last_hidden(
    tensors: Tensors,
    prefix: str,
    ids: torch.Tensor,
    heads: int,
    activation: Activation,
    eps: float,
    key_bias: torch.Tensor | None,
) -> torch.Tensor:
    """The last layer's states.

    Args:
        prefix: the part of the keys before `embeddings.` and `transformer.`, with its dot.
        ids: `(n, length)` int64.
        key_bias: `(n, length)`, see `bert.padding_bias`; None: every position is attended to.

    Returns:
        `(n, length, hidden)`.

    Raises:
        ValueError: if the texts are longer than the position table.
    """
    x = layer_norm(tensors, f"{prefix}embeddings.LayerNorm", _embed(tensors, f"{prefix}embeddings.", ids), eps)
    for number in numbered(tensors, f"{prefix}transformer.layer."):
        layer = f"{prefix}transformer.layer.{number}."
        query, key, value = (linear(tensors, f"{layer}attention.{name}_lin", x) for name in "qkv")
        attended = linear(tensors, f"{layer}attention.out_lin", attention(query, key, value, heads, key_bias))
        x = layer_norm(tensors, f"{layer}sa_layer_norm", x + attended, eps)
        inner = activation(linear(tensors, f"{layer}ffn.lin1", x))
        x = layer_norm(tensors, f"{layer}output_layer_norm", x + linear(tensors, f"{layer}ffn.lin2", inner), eps)
    return x


def _embed(tensors: Tensors, prefix: str, ids: torch.Tensor) -> torch.Tensor:
    """Word + position; rows are selected before they are widened, because the word table is large."""
    length = ids.shape[1]
    positions = tensors[f"{prefix}position_embeddings.weight"]
    if length > len(positions):
        raise ValueError(
            f"texts of {length} ids, but the checkpoint has {len(positions)} text positions: truncate them"
        )
    words = wide(tensors[f"{prefix}word_embeddings.weight"][ids])
    return words + wide(positions[:length])
