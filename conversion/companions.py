"""Weights of the same model that lie in other files of its folder."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Companion:
    """What one kind of such files holds, under keys that begin with what tells them apart, and the files read."""

    tensors: Mapping[str, torch.Tensor]
    files: tuple[Path, ...]


COMPANIONS: tuple[Callable[[Path], Companion | None], ...] = ()
"""One reader a kind; None where a folder has no such file."""


def companions(folder: Path) -> tuple[Companion, ...]:
    """All that a folder has, in the order of `COMPANIONS`.

    Raises:
        InputError: when such a file is there and can't be read.
    """
    return tuple(found for reader in COMPANIONS if (found := reader(folder)) is not None)
