"""The XLM-RoBERTa text tower (Conneau et al., 2019): a BERT whose positions start after the pad id.

Source: transformers, models/xlm_roberta/modeling_xlm_roberta.py; fairseq, modules/learned_positional_embedding.py.
"""

import torch

from . import bert
from .layers import Activation, Tensors, weight, wide

PAD = 1


def padding_bias(ids: torch.Tensor) -> torch.Tensor:
    """`(n, length)`: -10000 at padding ids, whose softmax weight is then exactly 0."""
    return (ids == PAD) * -10000.0


def behind_bias(ids: torch.Tensor) -> torch.Tensor:
    """Like `padding_bias`, for the padding behind a text alone: `bert.behind`."""
    return bert.behind(ids, PAD) * -10000.0


def last_hidden(
    tensors: Tensors,
    prefix: str,
    ids: torch.Tensor,
    heads: int,
    activation: Activation,
    eps: float,
    key_bias: torch.Tensor | None,
) -> torch.Tensor:
    """The last layer's states, `(n, length, hidden)`; the arguments are those of `bert.last_hidden`.

    Raises:
        ValueError: if the texts are longer than the position table.
    """
    own = f"{prefix}embeddings."
    table = tensors[f"{own}position_embeddings.weight"]
    if ids.shape[1] > len(table) - PAD - 1:
        raise ValueError(
            f"texts of {ids.shape[1]} ids, but the checkpoint has {len(table) - PAD - 1} text positions: truncate them"
        )
    kept = ids != PAD
    places = kept.long().cumsum(dim=1) * kept + PAD
    words = wide(tensors[f"{own}word_embeddings.weight"][ids])
    types = weight(tensors, f"{own}token_type_embeddings.weight")
    embedded = words + wide(table[places]) + types[0]
    return bert.run_layers(tensors, prefix, embedded, heads, activation, eps, key_bias)
