"""Folders of torch.distributed.checkpoint (`.metadata` and `*.distcp`), by torch's own reader in a single process.

torch's reader unpickles `.metadata` without limits, which would run any code in a foreign file. This module admits
only the classes that describe tensors and their places. torch's reader loads the tensors with `weights_only=True`.
"""

import dataclasses
import math
import pathlib
import pickle
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch.distributed.checkpoint import DefaultLoadPlanner, FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata

from ..errors import InputError, WorkError
from .files import is_file_name
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
    # Where torch 2.2 and older kept two of these classes.
    "torch.distributed._shard.sharded_tensor.metadata": {"TensorProperties", "MEM_FORMAT_ENCODING"},
    "collections": {"OrderedDict"},
}
"""The globals of `.metadata` that are data; dtypes and paths are admitted too."""


def _place(*parts: Any) -> str:
    """Replaces a path; the place where another system saved the folder is of no use here."""
    return "/".join(map(str, parts))


class _Unpickler(pickle._Unpickler):  # pickle's Python version, because opcodes of the C version cannot be replaced
    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        if name in ADMITTED.get(module, ()):
            return getattr(import_module(module), name)
        if module == "torch" and isinstance(dtype := getattr(torch, name, None), torch.dtype):
            return dtype
        if module.split(".")[0] == "pathlib" and name in vars(pathlib):
            return _place
        raise pickle.UnpicklingError(f"it names {module}.{name}")

    def load_build(self) -> None:
        instance = self.stack[-2]  # type: ignore[attr-defined]
        if isinstance(instance, type) or not dataclasses.is_dataclass(instance):
            raise pickle.UnpicklingError("it sets attributes of an object that does not describe a tensor")
        super().load_build()  # type: ignore[misc]

    dispatch[pickle.BUILD[0]] = load_build


class _Reader(FileSystemReader):
    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        path = Path(self.path) / METADATA
        try:
            with path.open("rb") as file:
                metadata = _Unpickler(file).load()
            _check(metadata, Path(self.path))
        except (*DAMAGE, MemoryError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{path} is no metadata of torch.distributed.checkpoint, or is damaged: {_reason(error)}. None of its "
                "code was run."
            ) from error
        if getattr(metadata, "storage_meta", None) is None:
            metadata.storage_meta = StorageMeta()
        return metadata


class Folder:
    """A folder of torch.distributed.checkpoint: reads its structure at once, and its tensors in `load`.

    `top` is the saved dict; a tensor on the meta device replaces each tensor, and dots replace every other value.
    """

    def __init__(self, path: Path):
        self.path = path
        self._reader = _Reader(path)
        self._metadata = self._reader.read_metadata()
        self._names: dict[int, str] = {}
        self.top: dict[Any, Any] = {}
        places = self._metadata.planner_data or {}
        try:
            for name, stored in self._metadata.state_dict_metadata.items():
                _put(self.top, places.get(name, (name,)), self._leaf(name, stored))
        except DAMAGE as error:
            raise InputError(f"{path / METADATA} is damaged: {_reason(error)}. Fetch it again.") from error

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
        """Reads the values of some tensors of `top` into memory, under the given keys.

        Raises:
            InputError: a file is damaged.
            WorkError: the tensors do not fit into memory.
        """
        self._check_bytes(chosen.values())
        try:
            state_dict = {self._names[id(leaf)]: _unread(leaf) for leaf in chosen.values()}
        except (MemoryError, RuntimeError) as error:
            raise WorkError(f"{self.path} does not fit into memory: {_reason(error)}.") from error
        planner = DefaultLoadPlanner()
        try:
            # Does what torch.distributed.checkpoint.load does, but without its collective calls. If a process group is
            # running, as in a training script, these calls would wait for ranks that do not convert.
            planner.set_up_planner(state_dict, self._metadata, is_coordinator=True)
            self._reader.set_up_storage_reader(self._metadata, is_coordinator=True)
            plan = self._reader.prepare_local_plan(planner.create_local_plan())
            (plan,) = self._reader.prepare_global_plan(planner.create_global_plan([plan]))
            self._reader.read_data(planner.finish_plan(plan), planner).wait()
        except DAMAGE as error:
            raise InputError(f"{self.path} is damaged or truncated: {_reason(error)}. Fetch it again.") from error
        except MemoryError as error:
            raise WorkError(f"{self.path} does not fit into memory, or is damaged.") from error
        return {key: state_dict[self._names[id(leaf)]] for key, leaf in chosen.items()}

    def _check_bytes(self, leaves: Iterable[torch.Tensor]) -> None:
        """Refuses tensors that are larger than the files, before memory is allocated for them."""
        wanted = sum(leaf.numel() * leaf.itemsize for leaf in leaves)
        there = sum(path.stat().st_size for path in self.files)
        if wanted > there:
            raise InputError(
                f"{self.path} is damaged or truncated: its tensors take {wanted} bytes, but its files hold {there} "
                "bytes. Fetch it again."
            )


def _reason(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _unread(leaf: torch.Tensor) -> torch.Tensor:
    """Memory for a tensor, filled with NaN, so that an unread part cannot look like a weight."""
    tensor = torch.empty(leaf.shape, dtype=leaf.dtype)
    return tensor.fill_(math.nan) if leaf.is_floating_point() else tensor


def _put(top: dict[Any, Any], place: Iterable[Any], value: Any) -> None:
    *outer, last = place
    for step in outer:
        top = top.setdefault(step, {})
        if not isinstance(top, dict):
            raise ValueError(f"a value lies inside a tensor, at {place}")
    if last in top:
        raise ValueError(f"two values have the place {place}")
    top[last] = value


def _check(metadata: Any, folder: Path) -> None:
    """Checks the description of the files against the folder, because torch's reader does not check it."""
    if not isinstance(metadata, Metadata):
        raise InputError(f"{folder / METADATA} holds {type(metadata).__name__}; torch's Metadata was wanted.")
    names = {info.relative_path for info in metadata.storage_data.values()}
    if outside := sorted(str(name) for name in names if not is_file_name(name)):
        raise InputError(f"{folder / METADATA} names {some(outside)}; files of its own folder were wanted.")
    if absent := sorted(name for name in names if not (folder / name).is_file()):
        raise InputError(f"{folder / METADATA} names missing files: {some(absent)}. Fetch these files and try again.")
    wrong = [
        name
        for name, stored in metadata.state_dict_metadata.items()
        if isinstance(stored, TensorStorageMetadata) and not is_filled(stored)
    ]
    if wrong:
        raise InputError(
            f"{folder / METADATA} does not place all parts of {some(wrong)}: the share of a rank is missing, or two "
            "shares overlap."
        )


_Box = tuple[tuple[int, int], ...]
"""A part of a tensor: its start and end in each dimension."""


def is_filled(stored: TensorStorageMetadata) -> bool:
    """Whether each number of a tensor lies in exactly one of its parts."""
    # A rank without a share records an empty part.
    chunks = [chunk for chunk in stored.chunks if math.prod(chunk.sizes)]
    boxes = [
        tuple((start, start + size) for start, size in zip(chunk.offsets, chunk.sizes, strict=True))
        for chunk in chunks
    ]
    inside = all(
        0 <= start <= end <= size for box in boxes for (start, end), size in zip(box, stored.size, strict=True)
    )
    as_many = sum(math.prod(chunk.sizes) for chunk in chunks) == math.prod(stored.size)
    return inside and as_many and not _overlap(boxes)


def _overlap(boxes: list[_Box]) -> bool:
    if len(boxes) < 2:
        return False
    # Along the dimension with the most divisions, few parts lie side by side.
    axis = max(range(len(boxes[0])), key=lambda axis: len({box[axis] for box in boxes}))
    beside: list[_Box] = []
    for box in sorted(boxes, key=lambda box: box[axis]):
        beside = [other for other in beside if other[axis][1] > box[axis][0]]
        if any(all(a < d and c < b for (a, b), (c, d) in zip(box, other, strict=True)) for other in beside):
            return True
        beside.append(box)
    return False
