"""Folders of torch.distributed.checkpoint (`.metadata` and `*.distcp`), by torch's own reader in a single process.

That reader unpickles `.metadata` as it is, which would run whatever a foreign file asks for; here only the classes
that describe tensors and their places are admitted. The tensors themselves it loads with `weights_only=True`.
"""

import pathlib
import pickle
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch.distributed.checkpoint import DefaultLoadPlanner, FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata

from .errors import InputError
from .pickles import DAMAGE, some

METADATA = ".metadata"

ADMITTED = {
    "torch": {"Size"},
    "torch.serialization": {"_get_layout"},
    "torch.distributed.checkpoint.metadata": {
        *("Metadata", "MetadataIndex", "StorageMeta", "TensorStorageMetadata", "BytesStorageMetadata"),
        *("ChunkStorageMetadata", "TensorProperties", "_MEM_FORMAT_ENCODING"),
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    # Where torch 2.2 and older kept two of them.
    "torch.distributed._shard.sharded_tensor.metadata": {"TensorProperties", "MEM_FORMAT_ENCODING"},
    "collections": {"OrderedDict"},
}
"""The globals of `.metadata` that are data; dtypes and paths are admitted beside."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name in ADMITTED.get(module, ()):
            return getattr(import_module(module), name)
        if module == "torch" and isinstance(dtype := getattr(torch, name, None), torch.dtype):
            return dtype
        if module.split(".")[0] == "pathlib" and name in vars(pathlib):
            return PurePosixPath  # where it was saved; of another system's paths none can be made here
        raise pickle.UnpicklingError(f"it names {module}.{name}")


class _Reader(FileSystemReader):
    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        path = Path(self.path) / METADATA
        try:
            with path.open("rb") as file:
                metadata = _Unpickler(file).load()
            _check(metadata, Path(self.path))
        except DAMAGE as error:
            if isinstance(error, InputError):
                raise
            reason = f"{str(error) or type(error).__name__}".splitlines()[0]
            raise InputError(
                f"{path} is not torch.distributed.checkpoint's, or is damaged: {reason}. Nothing in it was run."
            ) from error
        if getattr(metadata, "storage_meta", None) is None:
            metadata.storage_meta = StorageMeta()
        return metadata


class Folder:
    """Such a folder: its structure at once, its tensors when `load` is asked for them.

    `top` is the saved dict with a tensor of the meta device in place of each tensor, and dots in place of all else.
    """

    def __init__(self, path: Path):
        self.path = path
        self._reader = _Reader(path)
        self._metadata = self._reader.read_metadata()
        self._names: dict[int, str] = {}
        self.top: dict[Any, Any] = {}
        places = self._metadata.planner_data or {}
        for name, stored in self._metadata.state_dict_metadata.items():
            _put(self.top, places.get(name, (name,)), self._leaf(name, stored))

    @property
    def files(self) -> tuple[Path, ...]:
        names = {info.relative_path for info in self._metadata.storage_data.values()}
        return (self.path / METADATA, *(self.path / name for name in sorted(names)))

    def _leaf(self, name: str, stored: Any) -> Any:
        if not isinstance(stored, TensorStorageMetadata):
            return "…"
        leaf = torch.empty(stored.size, dtype=stored.properties.dtype, device="meta")
        self._names[id(leaf)] = name
        return leaf

    def load(self, chosen: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The values of some of the tensors of `top`, under the keys given, read into memory.

        Raises:
            InputError: when a file is damaged.
        """
        state_dict = {self._names[id(leaf)]: torch.empty(leaf.shape, dtype=leaf.dtype) for leaf in chosen.values()}
        planner = DefaultLoadPlanner()
        try:
            # What torch.distributed.checkpoint.load does, without its collective calls: where a process group is
            # running, as in a training script, those would wait for ranks that do not convert.
            planner.set_up_planner(state_dict, self._metadata, is_coordinator=True)
            self._reader.set_up_storage_reader(self._metadata, is_coordinator=True)
            plan = self._reader.prepare_local_plan(planner.create_local_plan())
            (plan,) = self._reader.prepare_global_plan(planner.create_global_plan([plan]))
            self._reader.read_data(planner.finish_plan(plan), planner).wait()
        except DAMAGE as error:
            reason = f"{str(error) or type(error).__name__}".splitlines()[0]
            raise InputError(f"{self.path} is damaged or truncated: {reason}. Fetch it again.") from error
        return {key: state_dict[self._names[id(leaf)]] for key, leaf in chosen.items()}


def _put(top: dict[Any, Any], place: Iterable[Any], value: Any) -> None:
    *outer, last = place
    for step in outer:
        top = top.setdefault(step, {})
    top[last] = value


def _check(metadata: Any, folder: Path) -> None:
    """Holds the description of the files against the folder: torch's reader trusts it."""
    if not isinstance(metadata, Metadata):
        raise InputError(f"{folder / METADATA} holds {type(metadata).__name__}; torch's Metadata was wanted.")
    names = {info.relative_path for info in metadata.storage_data.values()}
    if outside := sorted(str(name) for name in names if not isinstance(name, str) or Path(name).name != name):
        raise InputError(f"{folder / METADATA} names {some(outside)}; files of its own folder were wanted.")
    if absent := sorted(name for name in names if not (folder / name).is_file()):
        raise InputError(f"{folder / METADATA} names files that are not there: {some(absent)}. Fetch them, try again.")
    wrong = [
        name
        for name, stored in metadata.state_dict_metadata.items()
        if isinstance(stored, TensorStorageMetadata)
        and sum(torch.Size(chunk.sizes).numel() for chunk in stored.chunks) != torch.Size(stored.size).numel()
    ]
    if wrong:
        raise InputError(f"{folder / METADATA} does not place all parts of {some(wrong)}: a rank's share is absent.")
