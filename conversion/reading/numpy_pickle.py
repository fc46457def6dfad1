"""A pickle of numpy arrays in dicts, lists and tuples -> these arrays; no name in it is ever looked up or called.

The unpickler builds inert records for everything that a pickle names. After it has finished, the code here checks the
values against each other, and turns the records of arrays, scalars and byte strings into values.
"""

import math
import pickle
import re
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import InputError, WorkError
from . import pickles

NUMBERS = re.compile(r"b1|[iu][1248]|f[248]")
"""numpy's type codes of the numbers that torch also has."""

ORDERS = {"<": "<", ">": ">", "|": "=", "=": "="}
"""Byte orders as a pickled dtype states them: little, big, and none for single bytes."""

ATOMS = (str, bytes, int, float, bool, type(None))


class _Unpickler(pickle._Unpickler):
    """pickle's own unpickler, which finds only records and one Python class.

    This is pickle's Python version: the C version allocates its memo by a number that a damaged file may state.
    """

    def find_class(self, module: str, name: str) -> Any:
        path = f"{module}.{name}"
        if path == "collections.OrderedDict":
            return dict
        if path not in MAKERS:
            raise _Refused(path)
        return _Name(path)

    def load_bytearray8(self) -> None:
        """Reads the bytearray as bytes, which are not allocated before their content is read."""
        self.append(self.read(struct.unpack("<Q", self.read(8))[0]))  # type: ignore[attr-defined]

    dispatch = {**pickle._Unpickler.dispatch, pickle.BYTEARRAY8[0]: load_bytearray8}  # type: ignore[dict-item]


class _Refused(pickle.UnpicklingError):
    """A pickle that names something that is no array; the error's text is this name."""


class _Name:
    """A name in a pickle: it can be called, which makes a record of the arguments, and cannot be changed."""

    __slots__ = ("path",)

    def __init__(self, path: str):
        self.path = path

    def __call__(self, *arguments: Any) -> "_Record":
        return _Record(self.path, arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError(f"{self.path} is given a state")


class _Record:
    """What a pickle would have made by a call: the called name, the arguments, the state that is set afterwards."""

    __slots__ = ("arguments", "made", "path", "state")

    def __init__(self, path: str, arguments: tuple[Any, ...]):
        self.path, self.arguments, self.state, self.made = path, arguments, None, None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def value(self) -> Any:
        """The record's value, made once; its parts are released, because they are as large as the weights."""
        if self.made is None:
            arguments, state, self.arguments, self.state = self.arguments, self.state, (), None
            self.made = MAKERS[self.path](arguments, state)
        return self.made


def load(path: Path) -> Any:
    """Loads a pickle: arrays in this machine's byte order and in C order, and their containers.

    Reads arrays and scalars of booleans, integers and floats, in dicts, lists and tuples, beside strings, byte
    strings, numbers and None. Each array uses the bytes that the unpickler read, without another copy, unless it is
    big-endian or in Fortran order, or the pickle's protocol is below 3, which stores bytes as text.

    Raises:
        InputError: the pickle names or holds anything else, or is damaged.
        WorkError: the arrays do not fit into memory.
    """
    try:
        return _plain(_unpickled(path), {})
    except _Refused as error:
        names = (pickles.globals_of(path) - MAKERS.keys() - {"collections.OrderedDict"}) | {str(error)}
        raise InputError(pickles.refusal(path, sorted(names))) from error
    except _Foreign as error:
        raise InputError(f"{path} is a pickle that holds {error}; arrays of numbers were wanted.") from error
    except pickles.DAMAGE as error:
        reason = f"{str(error) or type(error).__name__}".splitlines()[0]
        raise InputError(f"{path} is damaged or truncated: {reason}. Fetch it again.") from error
    except MemoryError as error:
        raise WorkError(f"{path} does not fit into memory, or is damaged.") from error


def _unpickled(path: Path) -> Any:
    with path.open("rb") as file:
        # Python 2 wrote bytes as str; latin1 keeps every byte.
        return _Unpickler(_File(file, path.stat().st_size), encoding="latin1").load()


class _File:
    """A file that allocates no more memory than the file's size."""

    def __init__(self, file: BinaryIO, size: int):
        self.file, self.size = file, size
        self.readline, self.readinto = file.readline, file.readinto  # type: ignore[attr-defined]

    def read(self, count: int) -> bytes:
        if count > self.size - self.file.tell():
            raise EOFError(f"it ends after {self.size} bytes, but more bytes should follow")
        return self.file.read(count)


class _Foreign(Exception):
    """A readable pickle that holds something other than arrays of numbers; the error's text says what."""


def _plain(value: Any, open_: dict[int, Any]) -> Any:
    """The value with its records resolved; `open_` maps the identity of seen values to results, None if unfinished.

    Shared parts stay shared, so that a small file cannot become a large tree.
    """
    if isinstance(value, _Record):
        made = value.value()
        if isinstance(made, np.dtype):
            raise _Foreign("a bare dtype")
        return made
    if isinstance(value, ATOMS):
        return value
    if not isinstance(value, dict | list | tuple):
        raise _Foreign(f"a {value.path if isinstance(value, _Name) else type(value).__name__}")
    if id(value) not in open_:
        open_[id(value)] = None
        open_[id(value)] = _container(value, open_)
    if (found := open_[id(value)]) is None:
        raise _Foreign(f"a {type(value).__name__} that contains itself")
    return found


def _container(value: Any, open_: dict[int, Any]) -> Any:
    if not isinstance(value, dict):
        return type(value)(_plain(each, open_) for each in value)
    if foreign := [key for key in value if not isinstance(key, ATOMS)]:
        raise _Foreign(f"a dict with a {type(foreign[0]).__name__} for a key")
    return {key: _plain(each, open_) for key, each in value.items()}


# What the names mean: the values made from the call's arguments and the state that is set afterwards.


def _dtype(arguments: tuple[Any, ...], state: Any) -> np.dtype:
    """numpy, core/src/multiarray/descriptor.c: dtype(code, align, copy), then (version, order, subarray, names …)."""
    code, *_ = arguments
    if not isinstance(code, str) or not NUMBERS.fullmatch(code):
        raise _Foreign(f"an array of {'Python objects' if str(code).startswith('O') else f'type {code!r}'}")
    if state is None:
        return np.dtype(code)
    _, order, *rest = state
    if any(each is not None for each in rest[:3]):
        raise _Foreign("a structured array")
    return np.dtype(ORDERS[order] + code)


def _array(arguments: tuple[Any, ...], state: Any) -> np.ndarray:
    """numpy, core/src/multiarray/methods.c: _reconstruct(class, …), then (version, shape, dtype, Fortran, bytes)."""
    kind, *_ = arguments
    if not isinstance(kind, _Name) or kind.path != "numpy.ndarray":
        raise _Foreign("an array of a class that is not numpy's")
    _, shape, dtype, fortran, data = state
    return _filled(shape, dtype, bool(fortran), data)


def _array_of_buffer(arguments: tuple[Any, ...], state: Any) -> np.ndarray:
    """numpy, core/numeric.py: _frombuffer(buffer, dtype, shape, order), of protocol 5."""
    data, dtype, shape, order = arguments
    return _filled(shape, dtype, order == "F", data)


def _scalar(arguments: tuple[Any, ...], state: Any) -> Any:
    """numpy, core/src/multiarray/multiarraymodule.c: scalar(dtype, bytes)."""
    dtype, data = arguments
    return _filled((), dtype, False, data)[()]


def _filled(shape: Any, dtype: Any, fortran: bool, data: Any) -> np.ndarray:
    dtype, data = (each.value() if isinstance(each, _Record) else each for each in (dtype, data))
    if not isinstance(dtype, np.dtype) or not isinstance(shape, tuple):
        raise ValueError("an array without a type or a shape")
    if any(type(length) is not int or length < 0 for length in shape):
        raise ValueError(f"an array of shape {shape}")
    data = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(data, bytes) or len(data) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"an array of shape {shape} with another number of bytes")
    # numpy itself makes a writable array over the bytes. frombuffer's array is read-only and cannot back a tensor.
    array = np.ndarray(0, dtype)
    array.__setstate__((1, shape, dtype, fortran, data))  # type: ignore[arg-type]
    return np.asarray(array, dtype.newbyteorder("="), order="C")


def _encoded(arguments: tuple[Any, ...], state: Any) -> bytes:
    """_codecs.encode(text, "latin1"): bytes, in protocols that have no bytes."""
    text, encoding = arguments
    if encoding != "latin1" or not isinstance(text, str):
        raise ValueError(f"text in the encoding {encoding!r}")
    return text.encode("latin1")


def _no_bytes(arguments: tuple[Any, ...], state: Any) -> bytes:
    """bytes(): the empty byte string, in protocols that have no bytes."""
    if arguments:
        raise ValueError("bytes made of something")
    return b""


def _no_value(arguments: tuple[Any, ...], state: Any) -> Any:
    raise _Foreign("a call of numpy.ndarray")


MAKERS: Mapping[str, Callable[[tuple[Any, ...], Any], Any]] = {
    "numpy.dtype": _dtype,
    "numpy.ndarray": _no_value,
    "_codecs.encode": _encoded,
    "__builtin__.bytes": _no_bytes,
    # numpy 2 moved its core; files name either place.
    **{f"numpy.{core}.multiarray._reconstruct": _array for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _array_of_buffer for core in ("core", "_core")},
}
"""Every name that a pickle may use, and the value that it makes."""
