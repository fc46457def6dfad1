"""A torch.save, TorchScript or safetensors file -> its content: tensors mapped into memory; no pickle is run."""

import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from hf_zhclip.budget import MOST_KEYS, check_regular
from hf_zhclip.json_files import brief, parse_json

from ..errors import InputError, WorkError
from . import inert, pickles, torch_pickle, torchscript
from .archive import Archive, mapped
from .hints import to_unpack
from .numpy_pickle import MOST_DIMENSIONS

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
    check_regular(path, "a file of torch.save or safetensors")
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"PK\x03\x04"):
        return _load_zip(path)
    if head.startswith(LEGACY_MAGIC):
        # Tensors in this format follow each other without an index.
        return Container("torch.save file from before torch 1.6, read into memory", _load_old(path))
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


def _as_tensors(value: Any, seen: dict[int, Any] | None = None) -> Any:
    """Replaces arrays in dicts by tensors on the same memory; shared dicts stay shared."""
    import numpy as np

    seen = {} if seen is None else seen
    if isinstance(value, dict):
        if id(value) not in seen:
            seen[id(value)] = {key: _as_tensors(each, seen) for key, each in value.items()}
        return seen[id(value)]
    return torch.from_numpy(np.asarray(value)) if isinstance(value, np.ndarray | np.generic) else value


def _load_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            _check_header(path)
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
    except InputError:
        raise
    except (SafetensorError, *pickles.DAMAGE) as error:  # torch's words on a shape or a dtype that it does not make
        raise InputError(f"{path} is damaged or truncated: {pickles.reason(error)}. Fetch it again.") from error


def _check_header(path: Path) -> None:
    """Refuses a header with a key twice, of which readers take different values, or with too many keys."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = parse_json(file.read(length), f"the header of {path}")
    if not isinstance(header, dict) or len(header) > MOST_KEYS:
        found = f"{len(header):,} tensors" if isinstance(header, dict) else "no object"
        raise InputError(f"the header of {path} holds {found}; at most {MOST_KEYS:,} tensors were wanted.")
    for key, stated in header.items():
        shape = stated.get("shape") if isinstance(stated, dict) else None
        if isinstance(shape, list) and len(shape) > MOST_DIMENSIONS:
            raise InputError(
                f"{path} holds {brief(key)} of {len(shape):,} dimensions; at most {MOST_DIMENSIONS} were wanted."
            )


def _load_zip(path: Path) -> Container:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            archive = Archive(path, file, size, mapped(path, size))
            if torchscript.is_torchscript(archive.names):
                return Container("TorchScript archive, its code not run", torchscript.load(archive))
            return Container("torch.save zip", _load_torch(path, archive))
    except InputError:
        raise
    except (zipfile.BadZipFile, zlib.error, *pickles.DAMAGE) as error:
        raise InputError(
            f"{path} begins like a torch.save file but is damaged or truncated: {pickles.reason(error)}. Fetch it "
            "again."
        ) from error


def _load_torch(path: Path, archive: Archive) -> dict[Any, Any]:
    if "data.pkl" not in archive.records:
        if unpack := to_unpack(path, archive.names):
            raise InputError(unpack)
        raise InputError(f"{path} is a zip file without a data.pkl; a file that torch.save wrote was wanted.")
    with _told(path, lambda: torch_pickle.names_in_archive(archive)):
        return _dict(path, torch_pickle.of_archive(archive))


def _load_old(path: Path) -> dict[Any, Any]:
    with _told(path, lambda: pickles.globals_of_pickle(path) - torch_pickle.KNOWN), path.open("rb") as file:
        return _dict(path, torch_pickle.of_old_file(file, path.stat().st_size))


@contextmanager
def _told(path: Path, names: Callable[[], set[str]]) -> Iterator[None]:
    """Tells what is wrong with a file of torch.save; `names` lists what it names that is no data."""
    try:
        yield
    except inert.Refused as error:
        raise InputError(pickles.refusal(path, sorted(names() | {str(error)}))) from error
    except inert.Foreign as error:
        raise torch_pickle.refuse_foreign(path, error) from error
    except InputError:
        raise
    except pickles.DAMAGE as error:
        raise InputError(f"{path} is damaged or truncated: {pickles.reason(error)}. Fetch it again.") from error
    except MemoryError as error:
        raise WorkError(f"{path} does not fit into memory, or is damaged.") from error


def _dict(path: Path, top: Any) -> dict[Any, Any]:
    if not isinstance(top, dict):
        raise InputError(
            f"{path} holds a {type(top).__name__}; wanted a state dict, or a dict that holds a state dict."
        )
    return top


def _not_a_checkpoint(path: Path, head: bytes) -> str:
    if head.startswith(b"version https://git-lfs"):
        return f"{path} is a Git LFS pointer, not the weights: run `git lfs pull` in its repository."
    if head.lstrip()[:1] == b"<":
        return f"{path} is a web page, not a checkpoint: the download went wrong. Fetch the checkpoint again."
    size = path.stat().st_size
    return f"{path} ({size} bytes) is no checkpoint; a file of torch.save or safetensors was wanted."
