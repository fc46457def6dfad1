"""The matrix products on which a tower's vectors depend, alone: no engine that computes the vectors can be faster.

Each layer has its own weights, so that they come from memory as in the tower. The rows of the last layer that no
vector depends on are left out. Of the two ways in which torch multiplies here, with its plain call and with weights
that oneDNN has packed, `floor` takes the faster one for each number of rows.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import Any

import torch
from measuring import timed

from hf_zhclip.inference.fused import OF_FIRST_ROW, TOWERS, PackedProduct, Product

Products = Callable[[], None]


def floor(tower: Any, pooling: str, batch: int, length: int) -> Products:
    """A call that does a batch's products: the layers', and those of attention.

    Args:
        tower: a tower of transformers that `TOWERS` names.
        pooling: how the vector is made of the last layer.
        batch: the number of pictures or texts.
        length: the number of tokens of each.
    """
    ways = [products(tower, pooling, batch, length, kind) for kind in (Product, PackedProduct)]
    for way in ways:
        way()
    return min(ways, key=lambda way: min(timed(way).processor for _ in range(2)))


def products(tower: Any, pooling: str, batch: int, length: int, kind: type[Any]) -> Products:
    parts = TOWERS[tower.config.model_type]
    layers = attrgetter(parts.layers)(tower)
    names = [("query", "key", "value"), ("out",), ("up",), ("down",)]
    packed = [[_product(layer, parts, each, kind) for each in names] for layer in layers]
    heads = getattr(tower.config, parts.heads)
    width = packed[0][1].bias.shape[0]
    states = torch.randn(batch, length, width)
    query, key = (torch.randn(batch * heads, length, width // heads) for _ in range(2))
    alone = pooling in OF_FIRST_ROW
    last = _product(layers[-1], parts, ("key", "value"), kind)

    def run() -> None:
        for first, out, up, down in packed[: -1 if alone else None]:
            first(states)
            torch.bmm(torch.bmm(query, key.transpose(1, 2)), query)
            out(states)
            down(up(states))
        if alone:
            last(states)

    return run


def _product(layer: Any, parts: Any, names: tuple[str, ...], kind: type[Any]) -> Any:
    each = [attrgetter(getattr(parts, name))(layer) for name in names]
    return kind(*(torch.cat([getattr(one, name).detach() for one in each]) for name in ("weight", "bias")))
