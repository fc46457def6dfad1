"""Folders of torch.distributed.checkpoint (`.metadata` and `*.distcp`), read in a single process.

torch's own reader unpickles `.metadata` without limits, which would run any code in a foreign file. Here the inert
reader reads it, and each part of a tensor, which is a file of torch.save inside a `.distcp`. Sources: metadata.py and
filesystem.py of torch/distributed/checkpoint.
"""

import io
import math
import pathlib
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, TensorProperties, TensorStorageMetadata

from hf_zhclip.budget import COMPARED_PER_BYTE, LEAST_SHARE, MIB, MOST_SHARES, check_regular
from hf_zhclip.steady import whole

from ..errors import InputError, WorkError
from . import torch_pickle
from .archive import Archive
from .files import is_file_name
from .inert import Foreign, Maker, Record, Refused, Unpickler, Values
from .numpy_pickle import MOST_DIMENSIONS
from .pickles import DAMAGE, reason, some

METADATA = ".metadata"

METADATA_MODULE = "torch.distributed.checkpoint.metadata"

DESCRIPTIONS = {
    **{f"{METADATA_MODULE}.{name}": name for name in ("Metadata", "MetadataIndex", "TensorStorageMetadata")},
    **{f"{METADATA_MODULE}.{name}": name for name in ("ChunkStorageMetadata", "TensorProperties")},
    "torch.distributed.checkpoint.filesystem._StorageInfo": "_StorageInfo",
    # Where torch 2.2 and older kept this class.
    "torch.distributed._shard.sharded_tensor.metadata.TensorProperties": "TensorProperties",
}
"""The classes in `.metadata` that describe tensors and their places."""

OF_NO_USE = (
    *(f"{METADATA_MODULE}.{name}" for name in ("StorageMeta", "BytesStorageMetadata", "_MEM_FORMAT_ENCODING")),
    "torch.distributed._shard.sharded_tensor.metadata.MEM_FORMAT_ENCODING",
    "torch.serialization._get_layout",
)
"""Names of data that is not used here; so are paths, as the place where another system saved the folder."""

DTYPES = {name: maker for name, maker in torch_pickle.MAKERS.items() if name.endswith(" itself")}


USABLE = frozenset(torch_pickle.DTYPES.values()) | {
    getattr(torch, name) for name in ("float8_e4m3fn", "float8_e5m2") if hasattr(torch, name)
}
"""The types of tensors that are read."""


def _description(values: Values, arguments: tuple[Any, ...], state: Any) -> Any:
    """The fields of a class that describes something, as the pickle states them."""
    if arguments:
        raise ValueError("a description is made of something")
    if type(state) is tuple:  # TensorProperties: dtype, layout, requires_grad, memory format, pinned
        return {"dtype": values.of(state[0])}
    if type(state) is not dict:
        raise ValueError("a description without fields")
    return {str(name): values.of(value) for name, value in state.items()}


def _no_use(values: Values, arguments: tuple[Any, ...], state: Any) -> str:
    return "…"


def _size(values: Values, arguments: tuple[Any, ...], state: Any) -> tuple[int, ...]:
    found = values.of(arguments[0]) if arguments else ()
    if type(found) not in (tuple, list) or any(type(each) is not int for each in found):
        raise ValueError("a size that is no list of whole numbers")
    return tuple(found)


MAKERS: Mapping[str, Maker] = {
    **dict.fromkeys(DESCRIPTIONS, _description),
    **dict.fromkeys(OF_NO_USE, _no_use),
    **DTYPES,
    "torch.Size": _size,
}


def _is_known(name: str) -> bool:
    return name in MAKERS or f"{name} itself" in MAKERS or name == "collections.OrderedDict" or _is_path(name)


def _is_path(name: str) -> bool:
    return name.startswith("pathlib.") and name.rpartition(".")[2] in vars(pathlib)


class _Values(Values):
    """Values of `.metadata`: descriptions are also keys, by the name and the place of the tensor's part."""

    def _key(self, key: Any) -> Any:
        if type(key) is Record and key.path == f"{METADATA_MODULE}.MetadataIndex":
            found = self.of(key)
            name, offset = found["fqn"], found.get("offset")
            if type(name) is not str or (offset is not None and not _is_size(offset)):
                raise ValueError("an index without a name or a place")
            return name, offset
        return super()._key(key)

    def of(self, value: Any) -> Any:
        if type(value) is Record and _is_path(value.path):
            # A path of an older Python is made of its parts; its text is used only as a file's name.
            return "/".join(str(part) for part in value.arguments if type(part) is str)
        return super().of(value)


def _is_size(value: Any) -> bool:
    return type(value) is tuple and len(value) <= MOST_DIMENSIONS and all(type(each) is int for each in value)


@dataclass(frozen=True)
class _Place:
    """Where a part of a tensor lies: a file of the folder, and the first byte and the length of the part's file."""

    file: str
    offset: int
    length: int


@dataclass(frozen=True)
class _Metadata:
    """What `.metadata` says: tensors by name, "…" for everything else, and the place of each part."""

    stored: Mapping[str, TensorStorageMetadata | str]
    places: Mapping[str, tuple[Any, ...]]
    parts: Mapping[tuple[str, tuple[int, ...] | None], _Place]


def _read_metadata(folder: Path) -> _Metadata:
    path = folder / METADATA
    check_regular(path, "the metadata of torch.distributed.checkpoint")
    try:
        content = whole(path)
        top = Unpickler(io.BytesIO(content), len(content), _is_known).load()
        if type(top) is not Record or DESCRIPTIONS.get(top.path) != "Metadata":
            raise InputError(f"{path} holds {type(top).__name__}; torch's Metadata was wanted.")
        found = _described(_Values(MAKERS, len(content)).of(top), len(content))
    except Refused as error:
        raise InputError(
            f"{path} is no metadata of torch.distributed.checkpoint, or is damaged: it names {error}. None of its "
            "code was run."
        ) from error
    except InputError:
        raise
    except (*DAMAGE, Foreign, MemoryError) as error:
        raise InputError(
            f"{path} is no metadata of torch.distributed.checkpoint, or is damaged: {reason(error)}. None of its code "
            "was run."
        ) from error
    _check(found, folder, len(content))
    return found


def _described(fields: Mapping[str, Any], size: int) -> _Metadata:
    described = fields["state_dict_metadata"]
    if sum(len(each["chunks"]) for each in described.values() if type(each) is dict) > size // LEAST_SHARE + 1:
        raise Foreign("more parts of tensors than it describes")  # one description under many names
    stored = {str(name): _stored(each) for name, each in described.items()}
    parts = {}
    for key, each in fields["storage_data"].items():
        if type(key) is not tuple:
            raise ValueError("a place that belongs to no tensor")
        if each.get("transform_descriptors"):
            raise Foreign("it has compressed files, which are not read here")
        file, offset, length = each["relative_path"], each["offset"], each["length"]
        if type(file) is not str or type(offset) is not int or type(length) is not int or min(offset, length) < 0:
            raise ValueError("a part without a place")
        parts[key] = _Place(file, offset, length)
    places = fields.get("planner_data") or {}
    if type(places) is not dict or any(type(place) is not tuple for place in places.values()):
        raise ValueError("places of values that are no paths")
    return _Metadata(stored, places, parts)


def _stored(fields: Any) -> TensorStorageMetadata | str:
    if type(fields) is not dict:
        return "…"
    dtype, size = fields["properties"]["dtype"], fields["size"]
    if len(fields["chunks"]) > MOST_SHARES:
        raise ValueError("a tensor of too many parts")
    chunks = [
        ChunkStorageMetadata(torch.Size(each["offsets"]), torch.Size(each["sizes"])) for each in fields["chunks"]
    ]
    if dtype not in USABLE or not _is_size(size):
        raise ValueError("a tensor without a type or a size")
    if any(len(each.offsets) != len(size) or len(each.sizes) != len(size) for each in chunks):
        raise ValueError("a part of a tensor with another number of dimensions")
    return TensorStorageMetadata(TensorProperties(dtype=dtype), torch.Size(size), chunks)


class Folder:
    """A folder of torch.distributed.checkpoint: reads its structure at once, and its tensors in `load`.

    `top` is the saved dict; a tensor on the meta device replaces each tensor, and dots replace every other value.
    """

    def __init__(self, path: Path):
        self.path = path
        self._metadata = _read_metadata(path)
        self._names: dict[int, str] = {}
        self.top: dict[Any, Any] = {}
        try:
            for name, stored in self._metadata.stored.items():
                _put(self.top, self._metadata.places.get(name, (name,)), self._leaf(name, stored))
        except DAMAGE as error:
            raise InputError(f"{path / METADATA} is damaged: {reason(error)}. Fetch it again.") from error

    @property
    def files(self) -> tuple[Path, ...]:
        names = {place.file for place in self._metadata.parts.values()}
        return (self.path / METADATA, *(self.path / name for name in sorted(names)))

    def _leaf(self, name: str, stored: TensorStorageMetadata | str) -> Any:
        if isinstance(stored, str):
            return stored
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
            raise WorkError(f"{self.path} does not fit into memory: {reason(error)}.") from error
        try:
            for name, tensor in state_dict.items():
                self._fill(name, tensor)
        except InputError:
            raise
        except (*DAMAGE, zipfile.BadZipFile, Refused, Foreign) as error:
            raise InputError(f"{self.path} is damaged or truncated: {reason(error)}. Fetch it again.") from error
        except MemoryError as error:
            raise WorkError(f"{self.path} does not fit into memory, or is damaged.") from error
        return {key: state_dict[self._names[id(leaf)]] for key, leaf in chosen.items()}

    def _fill(self, name: str, tensor: torch.Tensor) -> None:
        """Copies a tensor's parts into it; each part is a file of torch.save within a file of the folder."""
        stored = self._metadata.stored[name]
        assert not isinstance(stored, str)  # it has a leaf
        for chunk in stored.chunks:
            place = self._metadata.parts.get((name, tuple(chunk.offsets)))
            if place is None and len(stored.chunks) == 1:
                place = self._metadata.parts.get((name, None))
            if place is None:
                raise ValueError(f"a part of {name:.60} has no place")
            part = _read_part(self.path / place.file, place)
            if part.shape != chunk.sizes or part.dtype != tensor.dtype:
                raise ValueError(f"a part of {name:.60} has another shape or type")
            target = tensor
            for axis, (start, length) in enumerate(zip(chunk.offsets, chunk.sizes, strict=True)):
                target = target.narrow(axis, start, length)
            target.copy_(part)

    def _check_bytes(self, leaves: Iterable[torch.Tensor]) -> None:
        """Refuses tensors that are larger than the files, before memory is allocated for them."""
        wanted = sum(leaf.numel() * leaf.itemsize for leaf in leaves)
        there = sum(path.stat().st_size for path in self.files)
        if wanted > there:
            raise InputError(
                f"{self.path} is damaged or truncated: its tensors take {wanted} bytes, but its files hold {there} "
                "bytes. Fetch it again."
            )


def _read_part(path: Path, place: _Place) -> torch.Tensor:
    with path.open("rb") as file:
        if place.offset + place.length > path.stat().st_size:
            raise EOFError(f"{path.name} ends before byte {place.offset + place.length}")
        file.seek(place.offset)
        content = bytearray(file.read(place.length))
    storage = torch.frombuffer(content, dtype=torch.uint8).untyped_storage()
    found = torch_pickle.of_archive(Archive(path, io.BytesIO(content), len(content), storage))
    if not isinstance(found, torch.Tensor):
        raise ValueError(f"{path.name} holds a {type(found).__name__} in the place of a tensor")
    return found


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


def _check(metadata: _Metadata, folder: Path, size: int) -> None:
    """Checks the description of the files, which has `size` bytes, against the folder."""
    names = {place.file for place in metadata.parts.values()}
    if outside := sorted(name for name in names if not is_file_name(name)):
        raise InputError(f"{folder / METADATA} names {some(outside)}; files of its own folder were wanted.")
    if absent := sorted(name for name in names if not (folder / name).is_file()):
        raise InputError(f"{folder / METADATA} names missing files: {some(absent)}. Fetch these files and try again.")
    steps = Steps(size)
    wrong = [
        name
        for name, stored in metadata.stored.items()
        if not isinstance(stored, str) and not is_filled(stored, steps)
    ]
    if wrong:
        raise InputError(
            f"{folder / METADATA} does not place all parts of {some(wrong)}: the share of a rank is missing, or two "
            "shares overlap."
        )


_Box = tuple[tuple[int, int], ...]
"""A part of a tensor: its start and end in each dimension."""


class Steps:
    """The comparisons of parts that a description may cost: some for each of its bytes."""

    def __init__(self, size: int):
        self.left = COMPARED_PER_BYTE * size + MIB

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise InputError(
                "The metadata of a torch.distributed.checkpoint folder holds too many parts side by side."
            )


def is_filled(stored: TensorStorageMetadata, steps: Steps) -> bool:
    """Whether each number of a tensor lies in exactly one of its parts; to compare the parts spends `steps`."""
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
    return inside and as_many and not _overlap(boxes, steps)


def _overlap(boxes: list[_Box], steps: Steps) -> bool:
    if len(boxes) < 2:
        return False
    # Along the dimension with the most divisions, few parts lie side by side.
    axis = max(range(len(boxes[0])), key=lambda axis: len({box[axis] for box in boxes}))
    beside: list[_Box] = []
    for box in sorted(boxes, key=lambda box: box[axis]):
        steps.spend(len(beside))
        beside = [other for other in beside if other[axis][1] > box[axis][0]]
        if any(all(a < d and c < b for (a, b), (c, d) in zip(box, other, strict=True)) for other in beside):
            return True
        beside.append(box)
    return False
