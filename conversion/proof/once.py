"""Runs a tower once for each different input: several calls of a model prepare the same rows, which cost the same."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def each_row_once(tower: nn.Module) -> Iterator[None]:
    """Lets a tower compute only the rows of a batch that it has not computed yet, until the end of the block.

    A row is known by all arguments of the call: with another mask, without token types or with another padding it is
    computed again. The other rows of the batch are no part of it, because a tower computes each row alone.
    """
    forward, own, known = tower.forward, vars(tower).get("forward"), dict[Any, Any]()

    def remembering(**given: Any) -> Any:
        rows = _rows(given)
        missing = {row: number for number, row in enumerate(rows) if row not in known}
        if missing or not rows:
            numbers = list(missing.values())
            output = forward(**{name: value[numbers] if _is_batch(value) else value for name, value in given.items()})
            if any(not _is_batch(value) or len(value) != len(numbers) for value in output.values()):
                return forward(**given)  # the states of each layer were asked for, or there are no rows
            known.update({row: _output_of(output, place) for place, row in enumerate(missing)})
        found = [known[row] for row in rows]
        return type(found[0])(**{name: torch.cat([each[name] for each in found]) for name in found[0]})

    tower.forward = remembering
    try:
        yield
    finally:
        if own is None:
            del tower.forward
        else:
            tower.forward = own


def _rows(given: Mapping[str, Any]) -> list[Any]:
    """For each row of a batch what distinguishes it; nothing without a batch."""
    batches = {name: value for name, value in given.items() if _is_batch(value)}
    others = tuple((name, str(value)) for name, value in sorted(given.items()) if name not in batches)
    hashed = [[(name, str(row.dtype), row.shape, _digest(row)) for row in batches[name]] for name in sorted(batches)]
    return [(others, row) for row in zip(*hashed, strict=True)]


def _is_batch(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dim() > 0


def _digest(row: torch.Tensor) -> bytes:
    return hashlib.sha256(row.contiguous().reshape(-1).view(torch.uint8).numpy()).digest()


def _output_of(output: Any, place: int) -> Any:
    """The same output for a single row."""
    return type(output)(**{name: value[place : place + 1] for name, value in output.items()})
