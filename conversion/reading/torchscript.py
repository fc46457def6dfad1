"""A TorchScript archive -> the tensors of its state_dict(), mapped into memory; its code is never run.

In the archive, `data.pkl` is a pickle of `__torch__.…` objects, each with a dict of attributes as its state. The
tensors' values lie under `data/`. The classes lie under `code/`; their text says which attributes are parameters and
buffers.
"""

import pickle
import re
import struct
import sys
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from . import pickles

DTYPES = {
    f"{name}Storage": dtype
    for name, dtype in {
        **{"Float": torch.float32, "Double": torch.float64, "Half": torch.float16, "BFloat16": torch.bfloat16},
        **{"Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8},
        **{"Bool": torch.bool, "ComplexFloat": torch.complex64, "ComplexDouble": torch.complex128},
    }.items()
}
"""The dtypes of torch's storage classes, by class name."""

CLASS = re.compile(r"^class (\w+)(?:\((\w*)\))?:\n((?:  .*\n|\n)*)", re.MULTILINE)
TENSORS = re.compile(r"^  __(?:parameters|buffers)__ = \[(.*)\]$", re.MULTILINE)
"""Finds the attributes that belong to the state_dict() in the text of a module's class."""

LOCAL_HEADER = struct.Struct("<26xHH")
"""The lengths of the name and of the extra field in a zip entry's header."""

WAY_OUT = (
    "If you trust the file, load it with torch.jit.load(FILE) and save its weights: "
    "torch.save(model.state_dict(), OTHER_FILE)."
)


def is_torchscript(names: list[str]) -> bool:
    """Whether a zip with these names holds code beside its data."""
    return any("/code/" in name for name in names)


def load(path: Path) -> dict[str, torch.Tensor]:
    """The keys and tensors of `torch.jit.load(path).state_dict()`, without running code.

    Raises:
        InputError: the archive is damaged or compressed, or its data would have to run code.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return dict(_Archive(path, archive).state_dict())
    except InputError:  # a ValueError, which is among the signs of damage
        raise
    except (zipfile.BadZipFile, zlib.error, *pickles.DAMAGE) as error:
        reason = f"{str(error) or type(error).__name__}".splitlines()[0]
        raise InputError(f"{path} is a damaged TorchScript archive: {reason}. Fetch it again.") from error


class _Object:
    """Stands for an object of the archive's own classes: it stores its state, and does nothing."""

    name = ""
    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Archive:
    """An open archive: its records by their names below the top folder, and its code's classes."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path = path
        self.archive = archive
        self.records = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
        if (order := self._text("byteorder", default=b"little").decode("ascii")) != sys.byteorder:
            raise InputError(
                f"{path} holds {order}-endian numbers; wanted {sys.byteorder}-endian, as on this machine."
            )
        self.bytes = torch.UntypedStorage.from_file(str(path), shared=False, nbytes=path.stat().st_size)

    def state_dict(self) -> Iterator[tuple[str, torch.Tensor]]:
        entry = self.records["data.pkl"]
        with self.archive.open(entry) as file:
            top = _Unpickler(file, self).load()
        if not isinstance(top, _Object):
            raise InputError(f"{self.path} holds a {type(top).__name__} instead of a TorchScript module. {WAY_OUT}")
        return self._tensors(top, "", ())

    def _tensors(self, module: _Object, prefix: str, above: tuple[_Object, ...]) -> Iterator[tuple[str, torch.Tensor]]:
        """The tensors of a module and its submodules: attributes that its class declares and that are not None."""
        if any(module is each for each in above):
            raise InputError(f"{self.path} is damaged: its module {prefix.rstrip('.')} contains itself.")
        if not isinstance(module.state, dict):
            raise InputError(
                f"{self.path}: the class {module.name} is restored by its own code, which is never run here. {WAY_OUT}"
            )
        declared = self._declared(module.name)
        if declared is None:
            return  # state_dict() also skips an object whose class is no module
        for name, value in module.state.items():
            if isinstance(value, torch.Tensor) and name in declared:
                yield prefix + name, value
        for name, value in module.state.items():
            if isinstance(value, _Object):
                yield from self._tensors(value, f"{prefix}{name}.", (*above, module))

    def _declared(self, qualified: str) -> set[str] | None:
        """The parameters and buffers of a class, read from the text of its code; None if the class is no module."""
        place, _, name = qualified.rpartition(".")
        for found, base, body in CLASS.findall(self._text(f"code/{place.replace('.', '/')}.py").decode("utf-8")):
            if found == name:
                tensors = TENSORS.findall(body)
                return set(re.findall(r'"([^"]*)"', ",".join(tensors))) if base == "Module" else None
        raise InputError(f"{self.path} is damaged: its code does not hold the class {qualified}.")

    def _text(self, name: str, default: bytes | None = None) -> bytes:
        if default is not None and name not in self.records:
            return default
        return self.archive.read(self.records[name])

    def storage(self, key: str, dtype: torch.dtype, count: int) -> torch.Tensor:
        """One record of numbers as a flat tensor `(count,)` on the file's own bytes."""
        entry, size = self.records[f"data/{key}"], count * dtype.itemsize
        if entry.compress_type != zipfile.ZIP_STORED:
            raise InputError(
                f"{self.path} was compressed later, so it can't be mapped into memory: fetch the original."
            )
        start = self._start(entry)
        if size != entry.file_size or start + size > len(self.bytes):
            raise InputError(
                f"{self.path} is damaged: its record {entry.filename} holds {entry.file_size} bytes from byte {start} "
                f"of {len(self.bytes)}; {size} bytes were wanted. Fetch it again."
            )
        found = self.bytes[start : start + size]
        # torch writes records at multiples of 64 bytes; another zip program may move them.
        return torch.empty(0, dtype=dtype).set_(found if start % dtype.itemsize == 0 else found.clone())

    def _start(self, entry: zipfile.ZipInfo) -> int:
        header = bytes(self.bytes[entry.header_offset : entry.header_offset + LOCAL_HEADER.size])
        return entry.header_offset + LOCAL_HEADER.size + sum(LOCAL_HEADER.unpack(header))


class _Unpickler(pickle.Unpickler):
    """Reads `data.pkl`: the archive's own classes become `_Object`s, and only torch's data types are known."""

    def __init__(self, file: Any, archive: _Archive) -> None:
        super().__init__(file)
        self._archive = archive
        self._known: Mapping[str, Callable[..., Any]] = {
            "collections.OrderedDict": OrderedDict,
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch._utils._rebuild_parameter": self._parameter,
            # Attributes that are no tensors: lists of plain values, and a value with its type name.
            **{f"torch.jit._pickle.build_{kind}list": self._plain for kind in ("int", "double", "bool", "tensor")},
            "torch.jit._pickle.restore_type_tag": self._plain,
        }

    def find_class(self, module: str, name: str) -> Any:
        qualified = f"{module}.{name}"
        if qualified.startswith("__torch__.torch.classes."):
            raise InputError(
                f"{self._archive.path} holds packed weights ({qualified}), as quantised models do. Quantisation "
                "cannot be undone: convert the checkpoint from before the quantisation."
            )
        if qualified.startswith("__torch__."):
            return type(name, (_Object,), {"name": qualified})
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        if qualified in self._known:
            return self._known[qualified]
        raise InputError(
            f"{self._archive.path} is a TorchScript archive, and its data names {qualified}. This name may be code, "
            f"so it is never called here. {WAY_OUT}"
        )

    def persistent_load(self, place: Any) -> torch.Tensor:
        kind, dtype, key, _device, count = place
        if kind != "storage" or not isinstance(key, str) or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"a storage was wanted, and {kind!r} found")
        return self._archive.storage(key, dtype, count)

    @staticmethod
    def _tensor(storage: torch.Tensor, offset: int, size: Any, stride: Any, *_gradient_and_hooks: Any) -> torch.Tensor:
        return storage.as_strided(size, stride, offset)

    @staticmethod
    def _parameter(tensor: torch.Tensor, *_gradient_and_hooks: Any) -> torch.Tensor:
        return tensor

    @staticmethod
    def _plain(value: Any, *_type: Any) -> Any:
        return value
