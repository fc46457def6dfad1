"""Weights of the same model in other files of its folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hf_zhclip.budget import check_regular

from ..errors import InputError
from . import modules_json, numpy_pickle

HEAD = "head."
"""The prefix that this package gives the keys of Multilingual-CLIP's separate head."""

HEAD_FILES = "*Linear Weights.pkl"
"""The head files that Multilingual-CLIP's legacy_get-weights.sh downloads."""

LEGACY_HEAD = (
    "If the tower is from one of Multilingual-CLIP's first models (M-BERT-Base-ViT-B ...), put the pickle of the "
    "model's head into the tower's folder. The pickle is '... Linear Weights.pkl', which legacy_get-weights.sh of "
    "FreddeFrallan/Multilingual-CLIP fetches."
)
"""Advice for a text tower whose head may lie in such a file."""


@dataclass(frozen=True)
class Companion:
    """One kind of companion: its tensors under keys with a prefix of their own, and the files that were read.

    `config` is what these files state in addition to the folder's config.json.
    """

    tensors: Mapping[str, torch.Tensor]
    files: tuple[Path, ...]
    config: Mapping[str, Any] = field(default_factory=dict)


def _dense(folder: Path) -> Companion | None:
    """The projection that sentence-transformers keeps in a folder of its own, and what its modules state."""
    found = modules_json.projection(folder)
    return Companion(found.tensors, found.files, found.config) if found else None


def _head(folder: Path) -> Companion | None:
    """The linear head of Multilingual-CLIP's first models: a pickled list of a matrix (in, out) and a bias."""
    files = sorted(folder.glob(HEAD_FILES))
    if not files:
        return None
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise InputError(
            f"{folder} holds {names}: heads of several models. Keep only the head that belongs to the weights."
        )
    check_regular(files[0], "the pickle of a head")
    found = numpy_pickle.load(files[0])
    arrays = (
        [torch.as_tensor(each) for each in found] if isinstance(found, list | tuple) and _are_arrays(found) else []
    )
    shapes = [tuple(each.shape) for each in arrays]
    if [len(shape) for shape in shapes] != [2, 1] or shapes[0][1:] != shapes[1]:
        held = f"arrays of shapes {shapes}" if arrays else f"a {type(found).__name__} of something else"
        raise InputError(f"{files[0]} holds {held}; a matrix (in, out) and a bias (out,) were wanted.")
    return Companion({f"{HEAD}{number}": array for number, array in enumerate(arrays)}, (files[0],))


def _are_arrays(found: Sequence[Any]) -> bool:
    return all(isinstance(each, np.ndarray) for each in found)


COMPANIONS: tuple[Callable[[Path], Companion | None], ...] = (_dense, _head)
"""One reader for each kind; it returns None if the folder has no such file."""


def companions(folder: Path) -> tuple[Companion, ...]:
    """All companions in a folder, in the order of `COMPANIONS`.

    Raises:
        InputError: a companion file exists and cannot be read.
    """
    return tuple(found for reader in COMPANIONS if (found := reader(folder)) is not None)
