"""Formulas that several architectures use. Tensors are read under source keys; `computing_in` sets the dtype."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F

Tensors = Mapping[str, torch.Tensor]
Config = Mapping[str, Any]
Activation = Callable[[torch.Tensor], torch.Tensor]


_DTYPE: ContextVar[torch.dtype] = ContextVar("dtype", default=torch.float32)


@contextmanager
def computing_in(dtype: torch.dtype) -> Iterator[None]:
    """Makes every formula compute in `dtype`; the default is float32, as in the peers' packages."""
    token = _DTYPE.set(dtype)
    try:
        yield
    finally:
        _DTYPE.reset(token)


def wide(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in the dtype of `computing_in`."""
    return tensor.to(_DTYPE.get())


def weight(tensors: Tensors, key: str) -> torch.Tensor:
    """The tensor under `key`, see `wide`. The wide copy lives as long as its user needs it: one of each is enough."""
    return wide(tensors[key])


def linear(tensors: Tensors, name: str, x: torch.Tensor) -> torch.Tensor:
    """`x @ W.T + b` with `name`.weight `(out, in)` and `name`.bias `(out,)`; both must exist."""
    return F.linear(x, weight(tensors, f"{name}.weight"), weight(tensors, f"{name}.bias"))


def layer_norm(tensors: Tensors, name: str, x: torch.Tensor, eps: float) -> torch.Tensor:
    """Layer normalisation over the last dimension (Ba et al., 2016), biased variance."""
    centred = x - x.mean(dim=-1, keepdim=True)
    deviation = (centred.square().mean(dim=-1, keepdim=True) + eps).sqrt()
    return centred / deviation * weight(tensors, f"{name}.weight") + weight(tensors, f"{name}.bias")


def gelu(x: torch.Tensor) -> torch.Tensor:
    """The exact form with erf (Hendrycks and Gimpel, 2016), as in BERT."""
    return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))


def quick_gelu(x: torch.Tensor) -> torch.Tensor:
    """The sigmoid approximation that OpenAI's CLIP was trained with."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: Mapping[str, Activation] = {
    "gelu": gelu,
    "quick_gelu": quick_gelu,
    "relu": F.relu,
    "swish": F.silu,
}


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    heads: int,
    key_bias: torch.Tensor | None = None,
    pair_bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """Scaled dot-product attention in `heads` groups (Vaswani et al., 2017).

    Args:
        query: `(n, q, width)`.
        key: `(n, k, width)`; `value` has the same shape.
        key_bias: `(n, k)`, added to every score of that key.
        pair_bias: `(q, k)`, added to the score of that query and that key.

    Returns:
        `(n, q, width)`, the groups joined again.

    Raises:
        ValueError: if the width is not a multiple of the head count.
    """
    width = query.shape[-1]
    if width % heads:
        raise ValueError(f"a width of {width} can not be cut into {heads} attention heads")

    def split(x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (heads, width // heads)).transpose(1, 2)

    scores = split(query) @ split(key).transpose(-1, -2) / math.sqrt(width // heads)
    if key_bias is not None:
        scores = scores + key_bias[:, None, None, :]
    if pair_bias is not None:
        scores = scores + pair_bias
    return (scores.softmax(dim=-1) @ split(value)).transpose(1, 2).flatten(-2)


def normalize(x: torch.Tensor) -> torch.Tensor:
    """Each row divided by its L2 norm."""
    return x / x.norm(dim=-1, keepdim=True)


def numbered(tensors: Tensors, prefix: str) -> range:
    """The layer numbers that follow `prefix` in the keys.

    Raises:
        LookupError: if no number follows, or a number between is missing.
    """
    pattern = re.compile(re.escape(prefix) + r"(\d+)\.")
    found = {int(match[1]) for match in map(pattern.match, tensors) if match}
    if not found or found != set(range(len(found))):
        raise LookupError(f"keys '{prefix}N.*' should be numbered from 0 without a gap; found {sorted(found)}")
    return range(len(found))


def square_side(positions: int) -> int:
    """The side of the patch grid of a position table with one additional class position.

    Raises:
        ValueError: if the grid is not square.
    """
    side = math.isqrt(positions - 1)
    if side * side + 1 != positions:
        raise ValueError(f"{positions} positions are not one class position and a square grid")
    return side
