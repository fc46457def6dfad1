"""A TorchScript archive -> the tensors of its state_dict(), mapped into memory; its code is never run.

In the archive, `data.pkl` is a pickle of `__torch__.…` objects, each with a dict of attributes as its state. The
tensors' values lie under `data/`. The classes lie under `code/`; their text says which attributes are parameters and
buffers.
"""

import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from hf_zhclip.budget import MOST_DEPTH, MOST_KEYS

from ..errors import InputError
from . import pickles, torch_pickle
from .archive import Archive
from .inert import Foreign, Maker, Record, Unpickler, Values
from .torch_pickle import DTYPES, Stored

CLASS = re.compile(r"class (\w+)(?:\((\w*)\))?:")
TENSORS = re.compile(r"  __(?:parameters|buffers)__ = \[(.*)\]")
"""The line of a module's class with the attributes that belong to the state_dict()."""

WAY_OUT = (
    "If you trust the file, load it with torch.jit.load(FILE) and save its weights: "
    "torch.save(model.state_dict(), OTHER_FILE)."
)


def is_torchscript(names: list[str]) -> bool:
    """Whether a zip with these names holds code beside its data."""
    return any("/code/" in name for name in names)


def load(archive: Archive) -> dict[str, torch.Tensor]:
    """The keys and tensors of `torch.jit.load(path).state_dict()`, without running code.

    Raises:
        InputError: the archive is damaged or compressed, or its data would have to run code.
    """
    try:
        return _Module(archive).state_dict()
    except InputError:  # a ValueError, which is among the signs of damage
        raise
    except Foreign as error:
        raise torch_pickle.refuse_foreign(archive.path, error) from error
    except (zipfile.BadZipFile, zlib.error, *pickles.DAMAGE) as error:
        raise InputError(
            f"{archive.path} is a damaged TorchScript archive: {pickles.reason(error)}. Fetch it again."
        ) from error


def _first(values: Values, arguments: tuple[Any, ...], state: Any) -> Any:
    return values.of(arguments[0])


MAKERS: Mapping[str, Maker] = {
    "torch._utils._rebuild_tensor_v2": torch_pickle.MAKERS["torch._utils._rebuild_tensor_v2"],
    "torch._utils._rebuild_parameter": torch_pickle.MAKERS["torch._utils._rebuild_parameter"],
    # Attributes that are no tensors: lists of plain values, and a value with its type name.
    **{f"torch.jit._pickle.build_{kind}list": _first for kind in ("int", "double", "bool", "tensor")},
    "torch.jit._pickle.restore_type_tag": _first,
}
"""The names that a value may come from, beside the archive's own classes, whose objects stay records."""

TENSOR_NAMES = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter")

OWN = "__torch__."
"""The beginning of the names of the archive's own classes."""

STORAGES = {f"torch.{name}": dtype for name, dtype in DTYPES.items()}


def _is_object(value: Any) -> bool:
    return type(value) is Record and value.path.startswith(OWN)


class _Module:
    """The top module of an archive, and its code's classes."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.path = archive.path
        archive.check_byte_order()
        self._values = Values(MAKERS, archive.size)
        self._classes: dict[str, dict[str, set[str] | None]] = {}
        self._visits = 0

    def state_dict(self) -> dict[str, torch.Tensor]:
        content = self.archive.stored("data.pkl")
        top = _Unpickler(content, self.archive).load()
        if not _is_object(top):
            raise InputError(f"{self.path} holds a {type(top).__name__} instead of a TorchScript module. {WAY_OUT}")
        found: dict[str, torch.Tensor] = {}
        for key, tensor in self._tensors(top, "", ()):
            if key in found:
                raise ValueError(f"the key {key:.60} occurs twice")
            found[key] = tensor
        return found

    def _tensors(self, module: Record, prefix: str, above: tuple[Record, ...]) -> Iterator[tuple[str, torch.Tensor]]:
        """The tensors of a module and its submodules: attributes that its class declares and that are not None."""
        if any(module is each for each in above):
            raise InputError(f"{self.path} is damaged: its module {prefix.rstrip('.')} contains itself.")
        self._visits += 1  # a module in two places counts twice, so that shared modules do not multiply
        if self._visits > MOST_KEYS or len(above) > MOST_DEPTH:
            raise InputError(
                f"{self.path} holds more than {MOST_KEYS:,} modules, or modules nested more than {MOST_DEPTH} deep; a "
                "model was wanted."
            )
        if module.arguments:
            raise ValueError(f"an object of {module.path} is made of something")
        if type(module.state) is not dict:
            raise InputError(
                f"{self.path}: the class {module.path} is restored by its own code, which is never run here. {WAY_OUT}"
            )
        declared = self._declared(module.path)
        if declared is None:
            return  # state_dict() also skips an object whose class is no module
        for name, value in module.state.items():
            if type(value) is Record and value.path in TENSOR_NAMES and name in declared:
                yield f"{prefix}{name}", self._values.of(value)
        for name, value in module.state.items():
            if _is_object(value):
                yield from self._tensors(value, f"{prefix}{name}.", (*above, module))

    def _declared(self, qualified: str) -> set[str] | None:
        """The parameters and buffers of a class, read from the text of its code; None if the class is no module."""
        place, _, name = qualified.rpartition(".")
        file = f"code/{place.replace('.', '/')}.py"
        if file not in self._classes:
            self._classes[file] = _classes(self.archive.text(file))
        if name not in self._classes[file]:
            raise InputError(f"{self.path} is damaged: its code does not hold the class {qualified}.")
        return self._classes[file][name]


def _classes(code: str) -> dict[str, set[str] | None]:
    """The classes of a file, line by line: an expression over whole classes would take memory for each line."""
    found: dict[str, set[str] | None] = {}
    names: set[str] | None = None
    for line in io.StringIO(code):
        line = line.rstrip("\n")
        if line.startswith("class ") and (head := CLASS.fullmatch(line)):
            names = set() if head[2] == "Module" else None
            if found.setdefault(head[1], names) is not names:
                names = None  # the first class of a name counts
        elif line and not line.startswith("  "):
            names = None
        elif names is not None and (tensors := TENSORS.fullmatch(line)):
            names.update(each[1] for each in re.finditer(r'"([^"]*)"', tensors[1]))
    return found


class _Unpickler(Unpickler):
    """Reads `data.pkl`: the archive's own classes become records, and only torch's data types are known."""

    def __init__(self, content: bytes, archive: Archive) -> None:
        super().__init__(io.BytesIO(content), len(content), self._is_known)
        self._archive = archive

    def _is_known(self, qualified: str) -> bool:
        if qualified.startswith("__torch__.torch.classes."):
            raise InputError(
                f"{self._archive.path} holds packed weights ({qualified}), as quantised models do. Quantisation "
                "cannot be undone: convert the checkpoint from before the quantisation."
            )
        known = qualified.startswith(OWN) or qualified in STORAGES or qualified in MAKERS
        if not known and qualified != "collections.OrderedDict":
            raise InputError(
                f"{self._archive.path} is a TorchScript archive, and its data names {qualified}. This name may be "
                f"code, so it is never called here. {WAY_OUT}"
            )
        return True

    def persistent_load(self, place: Any) -> Stored:
        kind, storage, key, _device, count = place
        if kind != "storage" or type(key) is not str or getattr(storage, "path", None) not in STORAGES:
            raise ValueError(f"a storage was wanted, and {kind!r:.60} found")
        dtype = STORAGES[storage.path]
        return Stored(dtype, count, self._archive.flat(key, dtype, count))
