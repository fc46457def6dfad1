"""The BERT text tower (Devlin et al., 2018), under the key names that cn_clip and transformers share.

Also reads the layout of cn_clip's flash-attention switch: `attention.self.Wqkv` and `attention.self.out_proj` instead
of `query`, `key`, `value` and `attention.output.dense`.
"""

import torch

from .layers import Activation, Tensors, attention, layer_norm, linear, numbered, weight, wide

PAD = 0


def padding_bias(ids: torch.Tensor) -> torch.Tensor:
    """`(n, length)`: -10000 at padding ids, also inside a text, whose softmax weight is then exactly 0."""
    return (ids == PAD) * -10000.0


def behind(ids: torch.Tensor, pad: int = PAD) -> torch.Tensor:
    """`(n, length)`: whether an id is padding behind a text, which a tokenizer's mask hides.

    A text may itself hold the padding token. Its last token is another: [SEP], or </s>.
    """
    return (ids == pad).long().flip(1).cumprod(1).flip(1).bool()


def behind_bias(ids: torch.Tensor) -> torch.Tensor:
    """Like `padding_bias`, for the padding behind a text alone."""
    return behind(ids) * -10000.0


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
        prefix: the part of the keys before `embeddings.` and `encoder.`, with its dot.
        ids: `(n, length)` int64.
        key_bias: `(n, length)`, see `padding_bias` and `behind_bias`; None: every position is attended to.

    Returns:
        `(n, length, hidden)`.

    Raises:
        ValueError: if the texts are longer than the position table.
    """
    embedded = _embed(tensors, f"{prefix}embeddings.", ids)
    return run_layers(tensors, prefix, embedded, heads, activation, eps, key_bias)


def run_layers(
    tensors: Tensors,
    prefix: str,
    embedded: torch.Tensor,
    heads: int,
    activation: Activation,
    eps: float,
    key_bias: torch.Tensor | None,
) -> torch.Tensor:
    """The last layer's states from the sum of the embeddings, `(n, length, hidden)`, before their layer norm."""
    x = layer_norm(tensors, f"{prefix}embeddings.LayerNorm", embedded, eps)
    for number in numbered(tensors, f"{prefix}encoder.layer."):
        layer = f"{prefix}encoder.layer.{number}."
        x = layer_norm(
            tensors, f"{layer}attention.output.LayerNorm", x + _attend(tensors, layer, x, heads, key_bias), eps
        )
        inner = activation(linear(tensors, f"{layer}intermediate.dense", x))
        x = layer_norm(tensors, f"{layer}output.LayerNorm", x + linear(tensors, f"{layer}output.dense", inner), eps)
    return x


def sizes(tensors: Tensors, prefix: str) -> dict[str, int]:
    """The sizes that distinguish one BERT from another."""
    words, width = tensors[f"{prefix}embeddings.word_embeddings.weight"].shape
    return {
        "vocab_size": words,
        "hidden_size": width,
        "num_hidden_layers": len(numbered(tensors, f"{prefix}encoder.layer.")),
        "intermediate_size": len(tensors[f"{prefix}encoder.layer.0.intermediate.dense.weight"]),
        "max_position_embeddings": positions(tensors, prefix),
    }


def positions(tensors: Tensors, prefix: str) -> int:
    """The longest text in ids that the position table allows."""
    return len(tensors[f"{prefix}embeddings.position_embeddings.weight"])


def tanh_pooler(tensors: Tensors, prefix: str, states: torch.Tensor) -> torch.Tensor:
    """`tanh(W h + b)` of the first position's state, `(n, hidden)`."""
    return torch.tanh(linear(tensors, f"{prefix}pooler.dense", states[:, 0]))


def _embed(tensors: Tensors, prefix: str, ids: torch.Tensor) -> torch.Tensor:
    """Word + position + first token type; rows are selected before they are widened: the word table is large."""
    length = ids.shape[1]
    positions = tensors[f"{prefix}position_embeddings.weight"]
    if length > len(positions):
        raise ValueError(
            f"texts of {length} ids, but the checkpoint has {len(positions)} text positions: truncate them"
        )
    words = wide(tensors[f"{prefix}word_embeddings.weight"][ids])
    types = weight(tensors, f"{prefix}token_type_embeddings.weight")
    return words + wide(positions[:length]) + types[0]


def _attend(tensors: Tensors, layer: str, x: torch.Tensor, heads: int, key_bias: torch.Tensor | None) -> torch.Tensor:
    """Self-attention of one layer with its output projection, before the residual."""
    own = f"{layer}attention.self."
    if f"{own}Wqkv.weight" in tensors:
        query, key, value = linear(tensors, f"{own}Wqkv", x).chunk(3, dim=-1)
        return linear(tensors, f"{own}out_proj", attention(query, key, value, heads, key_bias))
    query, key, value = (linear(tensors, own + name, x) for name in ("query", "key", "value"))
    return linear(tensors, f"{layer}attention.output.dense", attention(query, key, value, heads, key_bias))
