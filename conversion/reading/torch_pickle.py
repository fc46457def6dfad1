"""What `torch.save` wrote -> dicts of tensors and training's other values; no name in it is looked up or called.

Sources: torch/_utils.py (the functions that rebuild tensors) and torch/serialization.py (the two formats).
"""

import argparse
import io
import math
import struct
import sys
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import torch

from hf_zhclip.budget import MOST_KEYS

from ..errors import InputError
from . import numpy_pickle
from .archive import Archive
from .inert import CONTAINERS, Foreign, Maker, Name, Record, Unpickler, Values
from .pickles import scan

DTYPES = {
    f"{name}Storage": dtype
    for name, dtype in {
        **{"Float": torch.float32, "Double": torch.float64, "Half": torch.float16, "BFloat16": torch.bfloat16},
        **{"Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8},
        **{"Bool": torch.bool, "ComplexFloat": torch.complex64, "ComplexDouble": torch.complex128},
    }.items()
}
"""The dtypes of torch's storage classes, by class name."""

QUANTISED = ("QInt8Storage", "QUInt8Storage", "QInt32Storage", "QUInt4x2Storage", "QUInt2x4Storage")
UNTYPED = ("torch.storage.UntypedStorage", "torch.UntypedStorage", "torch.storage._UntypedStorage")

STORAGES = {
    **{f"torch.{name}": dtype for name, dtype in DTYPES.items()},
    **dict.fromkeys((*UNTYPED, *(f"torch.{name}" for name in QUANTISED)), torch.uint8),
}

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
"""The first two pickles of a file from before torch 1.6."""

COUNT = struct.Struct("<q")


class Stored:
    """A storage that a pickle names: its dtype and, when they are known, its numbers as a flat tensor."""

    __slots__ = ("count", "dtype", "flat")

    def __init__(self, dtype: torch.dtype, count: int, flat: torch.Tensor | None):
        self.dtype, self.count, self.flat = dtype, count, flat


def strided(values: Values, storage: Any, dtype: Any, offset: Any, size: Any, stride: Any) -> torch.Tensor:
    """A view of a storage; all views together are bounded, because a view may repeat its numbers (stride 0)."""
    if type(storage) is not Stored or storage.flat is None or not isinstance(dtype, torch.dtype):
        raise ValueError("a tensor without a storage")
    size, stride = _lengths(values, size), _lengths(values, stride)
    flat = storage.flat.view(dtype)
    values.spend(math.prod(size) * dtype.itemsize)
    return flat.as_strided(size, stride, offset)


def _lengths(values: Values, found: Any) -> tuple[int, ...]:
    found = values.of(found)
    if type(found) is not tuple or len(found) > numpy_pickle.MOST_DIMENSIONS:
        raise ValueError("a tensor without a shape")
    if any(type(each) is not int or each < 0 for each in found):
        raise ValueError(f"a tensor of shape {found}")
    return found


def dtype_named(values: Values, arguments: tuple[Any, ...], state: Any) -> torch.dtype:
    return getattr(torch, arguments[0].removeprefix("torch."))


def _tensor(values: Values, arguments: tuple[Any, ...], state: Any) -> torch.Tensor:
    """torch/_utils.py: _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks, metadata)."""
    storage, offset, size, stride, *rest = arguments
    _refuse_bits(rest[2:])
    return strided(values, storage, getattr(storage, "dtype", None), offset, size, stride)


def _tensor_of_bytes(values: Values, arguments: tuple[Any, ...], state: Any) -> torch.Tensor:
    """torch/_utils.py: _rebuild_tensor_v3(storage, offset, size, stride, requires_grad, hooks, dtype, metadata)."""
    storage, offset, size, stride, _, _, dtype, *rest = arguments
    _refuse_bits(rest)
    return strided(values, storage, values.of(dtype), offset, size, stride)


def _refuse_bits(metadata: list[Any]) -> None:
    if metadata and metadata[0]:
        raise Foreign("a tensor that is negated or conjugated only when it is read")


def _parameter(values: Values, arguments: tuple[Any, ...], state: Any) -> torch.Tensor:
    """torch/_utils.py: _rebuild_parameter(data, requires_grad, hooks), and with a state, which is no content."""
    found = values.of(arguments[0])
    if not isinstance(found, torch.Tensor):
        raise ValueError("a parameter without a tensor")
    return found


def _tensor_with_attributes(values: Values, arguments: tuple[Any, ...], state: Any) -> torch.Tensor:
    """torch/_tensor.py: _rebuild_from_type_v2(function, class, arguments, state)."""
    function, kind, inner, _ = arguments
    if type(kind) is not Name or kind.path not in ("torch.Tensor", "torch.nn.parameter.Parameter"):
        raise ValueError("a tensor of another class")
    if type(function) is not Name or function.path not in TENSORS or type(inner) is not tuple:
        raise ValueError("a tensor that something else rebuilds")
    return values.of(Record(function.path, inner))


def _without_values(values: Values, arguments: tuple[Any, ...], state: Any) -> torch.Tensor:
    """torch/_utils.py: _rebuild_meta_tensor_no_storage(dtype, size, stride, requires_grad)."""
    dtype, size, *_ = arguments
    return torch.empty(_lengths(values, size), dtype=values.of(dtype), device="meta")


def _sparse(values: Values, arguments: tuple[Any, ...], state: Any) -> torch.Tensor:
    """A mark of a sparse tensor, whose numbers are never used."""
    return torch.empty(0, layout=torch.sparse_coo)


def _quantised(values: Values, arguments: tuple[Any, ...], state: Any) -> torch.Tensor:
    """A mark of a quantised tensor, whose numbers are never used."""
    return torch._empty_affine_quantized([0], scale=1.0, zero_point=0, dtype=torch.quint8)


def _first(values: Values, arguments: tuple[Any, ...], state: Any) -> Any:
    return values.of(arguments[0]) if arguments else ()


def _bytes(values: Values, arguments: tuple[Any, ...], state: Any) -> Any:
    """bytearray(): empty, or made of bytes, or of a text in latin1 by Python 3's protocol 2."""
    if not arguments:
        return b""
    if len(arguments) == 2:
        return numpy_pickle.encoded(values, arguments, state)
    if not isinstance(found := values.of(arguments[0]), bytes):
        raise ValueError("a bytearray of something else")
    return found


def _namespace(values: Values, arguments: tuple[Any, ...], state: Any) -> argparse.Namespace:
    """A training script's arguments: an empty value of their class, because none of them is used."""
    return argparse.Namespace()


def _dots(values: Values, arguments: tuple[Any, ...], state: Any) -> str:
    return "…"


TENSORS: Mapping[str, Maker] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_bytes,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._utils._rebuild_meta_tensor_no_storage": _without_values,
    "torch._utils._rebuild_sparse_tensor": _sparse,
    "torch._utils._rebuild_qtensor": _quantised,
}

MAKERS: Mapping[str, Maker] = {
    **TENSORS,
    "torch._tensor._rebuild_from_type_v2": _tensor_with_attributes,
    "torch.Size": _first,
    "torch.device": _dots,
    "torch.serialization._get_layout": _dots,
    "argparse.Namespace": _namespace,
    "_codecs.encode": numpy_pickle.encoded,
    "builtins.bytearray": _bytes,
    "builtins.complex": _dots,
    "builtins.set": lambda values, members, _: [values.of(each) for each in members],
    # A number of numpy, such as a step count; arrays are not allowed here.
    **{f"numpy.{core}.multiarray.scalar": numpy_pickle.scalar_of for core in ("core", "_core")},
    **{
        f"torch.{name} itself": dtype_named
        for name in dir(torch)
        if isinstance(getattr(torch, name), torch.dtype) and "." not in name
    },
}
"""Every name that a value may come from, and the function that makes it; `NAME itself` is a name without a call."""

SCHEMES = ("per_tensor_affine", "per_channel_affine", "per_tensor_symmetric", "per_channel_symmetric")

KNOWN = frozenset(
    {
        *(name.removesuffix(" itself") for name in MAKERS),
        *CONTAINERS,
        *STORAGES,
        *(f"torch.{name}" for name in (*SCHEMES, "per_channel_affine_float_qparams", "Tensor")),
        *("numpy.dtype", "torch.nn.parameter.Parameter"),
    }
)
"""Every name that a file may use."""

CYCLE = "…"
"""Stands for a container inside itself, which training scripts keep beside the weights, and which no weight needs."""


class _Unpickler(Unpickler):
    def __init__(self, file: BinaryIO, size: int, load: Callable[..., Stored], more: Container[str] = ()):
        super().__init__(file, size, lambda name: name in KNOWN or name in more)
        self._load = load

    def persistent_load(self, place: Any) -> Stored:
        if type(place) is not tuple or len(place) < 5 or place[0] != "storage":
            raise ValueError("a storage was wanted, and something else found")
        _, kind, key, _device, count, *view = place
        if type(kind) is not Name or kind.path not in STORAGES or type(key) is not str:
            raise ValueError("a storage of an unknown kind")
        return self._load(STORAGES[kind.path], key, count, *view)


def of_archive(archive: Archive, more: Mapping[str, Maker] = MappingProxyType({})) -> Any:
    """The value that `torch.save` wrote into a zip; tensors lie on the archive's own bytes.

    Args:
        more: names that this file may use beside those of weights, and the functions that make their values.
    """
    archive.check_byte_order()
    content = archive.stored("data.pkl")

    def load(dtype: torch.dtype, key: str, count: int) -> Stored:
        return Stored(dtype, count, archive.flat(key, dtype, count))

    top = _Unpickler(io.BytesIO(content), len(content), load, more).load()
    return Values({**MAKERS, **more}, archive.size, CYCLE).of(top)


def names_in_archive(archive: Archive) -> set[str]:
    """The names that are no data, for a refusal."""
    return scan(io.BytesIO(archive.stored("data.pkl"))) - KNOWN


def of_old_file(file: BinaryIO, size: int) -> Any:
    """The value that `torch.save` wrote before torch 1.6: pickles, then the numbers of each storage."""
    storages: dict[str, Stored] = {}

    def load(dtype: torch.dtype, key: str, count: int, view: Any = None) -> Stored:
        if view is not None:
            raise Foreign("views of storages, as torch 0.4 wrote them")
        found = storages.setdefault(key, Stored(dtype, count, None))
        if len(storages) > MOST_KEYS:
            raise Foreign(f"more than {MOST_KEYS:,} storages")
        if (found.dtype, found.count) != (dtype, count):
            raise ValueError(f"the storage {key!r:.60} has two sizes")
        return found

    magic, protocol, system = (Unpickler(file, size, lambda name: False).load() for _ in range(3))
    if (magic, protocol) != (MAGIC, PROTOCOL) or type(system) is not dict:
        raise ValueError("it begins with other numbers")
    if system.get("little_endian", True) != (sys.byteorder == "little"):
        raise Foreign("numbers in another byte order than this machine's")
    top = _Unpickler(file, size, load).load()
    keys = Unpickler(file, size, lambda name: False).load()
    if type(keys) is not list or any(type(key) is not str for key in keys) or sorted(keys) != sorted(storages):
        raise ValueError("its list of storages is not that of its tensors")
    for key in keys:
        storages[key].flat = _numbers(file, size, storages[key])
    return Values(MAKERS, size, CYCLE).of(top)


def _numbers(file: BinaryIO, size: int, storage: Stored) -> torch.Tensor:
    (count,) = COUNT.unpack(file.read(COUNT.size))
    # `UntypedStorage` states bytes in both places.
    wanted = count * storage.dtype.itemsize
    if count != storage.count or not 0 <= wanted <= size - file.tell():
        raise ValueError(f"a storage states {count} numbers, which are not there")
    content = bytearray(file.read(wanted))
    return torch.frombuffer(content, dtype=torch.uint8) if content else torch.empty(0, dtype=torch.uint8)


def refuse_foreign(path: Path, found: Foreign) -> InputError:
    """The error about a file that holds something that is no weight."""
    return InputError(f"{path} holds {found}. A state dict of ordinary tensors was wanted.")
