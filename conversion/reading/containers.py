"""A torch.save, TorchScript or safetensors file -> its content: tensors mapped into memory; no pickle is run."""

import argparse
import pickle
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ..errors import InputError, WorkError
from . import pickles, torchscript
from .hints import to_unpack

LEGACY_MAGIC = bytes.fromhex("80028a0a6cfc9c46f920")
"""The first bytes of torch.save files before torch 1.6."""


@dataclass(frozen=True)
class Container:
    """A file's kind in words, and its content: tensors by name, or a dict with tensors at any depth."""

    kind: str
    top: dict[Any, Any]


def open_file(path: Path) -> Container:
    """Reads a file's structure; if the kind allows it, tensors stay on disk until a computation reads them.

    Raises:
        InputError: the file is no checkpoint, is damaged, or would have to run code to be read.
    """
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"PK\x03\x04"):
        names = _check_zip(path)
        if torchscript.is_torchscript(names):
            return Container("TorchScript archive, its code not run", torchscript.load(path))
        return Container("torch.save zip", _load_zip(path, names))
    if head.startswith(LEGACY_MAGIC):
        # Tensors in this format follow each other without an index, so that torch cannot map them.
        return Container("torch.save file from before torch 1.6, read into memory", _load_torch(path, mmap=False))
    if head[8:9] == b"{":
        return Container("safetensors", _load_safetensors(path))
    if head[:1] == b"\x80":
        return Container("pickle of numpy arrays, read into memory", _load_numpy(path))
    raise InputError(_not_a_checkpoint(path, head))


def _load_numpy(path: Path) -> dict[Any, Any]:
    from . import numpy_pickle

    top = _as_tensors(numpy_pickle.load(path))
    if not isinstance(top, dict):
        raise InputError(f"{path} is a pickle of a {type(top).__name__}; a dict of numpy arrays was wanted.")
    return top


def _as_tensors(value: Any) -> Any:
    """Replaces arrays in dicts by tensors on the same memory; keeps everything else."""
    import numpy as np

    if isinstance(value, dict):
        return {key: _as_tensors(each) for key, each in value.items()}
    return torch.from_numpy(np.asarray(value)) if isinstance(value, np.ndarray | np.generic) else value


def _load_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
    except SafetensorError as error:
        raise InputError(f"{path} is damaged or truncated: {error}. Fetch it again.") from error


def _check_zip(path: Path) -> list[str]:
    """The names in a zip; the checksums of the structure records are checked."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            for name in names:
                if name.endswith("data.pkl"):
                    archive.read(name)
            return names
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, RuntimeError) as error:
        raise InputError(
            f"{path} begins like a torch.save file but is damaged or truncated: {error}. Fetch it again."
        ) from error


def _load_zip(path: Path, names: list[str]) -> dict[Any, Any]:
    if not any(name.endswith("/data.pkl") for name in names):
        if unpack := to_unpack(path, names):
            raise InputError(unpack)
        raise InputError(f"{path} is a zip file without a data.pkl; a file that torch.save wrote was wanted.")
    if _is_compressed(path):
        raise InputError(
            f"{path} was compressed after torch.save wrote it, so it can't be mapped into memory: fetch the original."
        )
    return _load_torch(path, mmap=True)


def _is_compressed(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())


def _load_torch(path: Path, mmap: bool) -> dict[Any, Any]:
    # A training script's arguments and numpy's step counts are data. Every other global is refused by its name.
    with torch.serialization.safe_globals([argparse.Namespace, *_numpy_scalars()]):
        try:
            top = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        except pickles.DAMAGE as error:
            if isinstance(error, pickle.UnpicklingError) and (names := pickles.globals_of(path)):
                raise InputError(pickles.refusal(path, names)) from error
            reason = f"{str(error) or type(error).__name__}".splitlines()[0]
            raise InputError(f"{path} is damaged or truncated: {reason}. Fetch it again.") from error
        except MemoryError as error:
            raise WorkError(f"{path} does not fit into memory, or is damaged.") from error
    if not isinstance(top, dict):
        raise InputError(
            f"{path} holds a {type(top).__name__}; wanted a state dict, or a dict that holds a state dict."
        )
    return top


def _numpy_scalars() -> list[Any]:
    import numpy as np

    # numpy moved its scalar constructor between versions; files name either place.
    scalar = np.float64(0).__reduce__()[0]
    kinds = [np.dtype, *{type(np.dtype(code)) for code in "?bhilqBHILQefd"}]
    return [*kinds, (scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar")]


def _not_a_checkpoint(path: Path, head: bytes) -> str:
    if head.startswith(b"version https://git-lfs"):
        return f"{path} is a Git LFS pointer, not the weights: run `git lfs pull` in its repository."
    if head.lstrip()[:1] == b"<":
        return f"{path} is a web page, not a checkpoint: the download went wrong. Fetch the checkpoint again."
    size = path.stat().st_size
    return f"{path} ({size} bytes) is no checkpoint; a file of torch.save or safetensors was wanted."
