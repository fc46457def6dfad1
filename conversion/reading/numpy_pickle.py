"""A pickle of numpy arrays in dicts, lists and tuples -> these arrays; no name in it is ever looked up or called.

The unpickler of `inert` builds records. The code here checks the values in them against each other, and turns the
records of arrays, scalars and byte strings into values.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, WorkError
from . import pickles
from .inert import Foreign, Maker, Name, Record, Refused, Unpickler, Values

NUMBERS = re.compile(r"b1|[iu][1248]|f[248]")
"""numpy's type codes of the numbers that torch also has."""

ORDERS = {"<": "<", ">": ">", "|": "=", "=": "="}
"""Byte orders as a pickled dtype states them: little, big, and none for single bytes."""


MOST_DIMENSIONS = 64
"""numpy's own limit."""


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
        size = path.stat().st_size
        return Values(MAKERS, size).of(_unpickled(path, size))
    except Refused as error:
        names = (pickles.globals_of_pickle(path) - KNOWN) | {str(error)}
        raise InputError(pickles.refusal(path, sorted(names))) from error
    except Foreign as error:
        raise InputError(f"{path} is a pickle that holds {error}; arrays of numbers were wanted.") from error
    except pickles.DAMAGE as error:
        raise InputError(f"{path} is damaged or truncated: {pickles.reason(error)}. Fetch it again.") from error
    except MemoryError as error:
        raise WorkError(f"{path} does not fit into memory, or is damaged.") from error


def _unpickled(path: Path, size: int) -> Any:
    with path.open("rb") as file:
        # Python 2 wrote bytes as str; latin1 keeps every byte.
        return Unpickler(file, size, KNOWN.__contains__, encoding="latin1").load()


# What the names mean: the values made from the call's arguments and the state that is set afterwards.


def dtype_of(record: Any) -> np.dtype:
    """numpy, core/src/multiarray/descriptor.c: dtype(code, align, copy), then (version, order, subarray, names …)."""
    if type(record) is not Record or record.path != "numpy.dtype":
        raise ValueError("an array without a type")
    (code, *_), state = record.arguments, record.state
    if not isinstance(code, str) or not NUMBERS.fullmatch(code):
        raise Foreign(f"an array of {'Python objects' if str(code).startswith('O') else f'type {code!r}'}")
    if state is None:
        return np.dtype(code)
    _, order, *rest = state
    if any(each is not None for each in rest[:3]):
        raise Foreign("a structured array")
    return np.dtype(ORDERS[order] + code)


def _array(values: Values, arguments: tuple[Any, ...], state: Any) -> np.ndarray:
    """numpy, core/src/multiarray/methods.c: _reconstruct(class, …), then (version, shape, dtype, Fortran, bytes)."""
    kind, *_ = arguments
    if not isinstance(kind, Name) or kind.path != "numpy.ndarray":
        raise Foreign("an array of a class that is not numpy's")
    _, shape, dtype, fortran, data = state
    return _filled(values, shape, dtype, bool(fortran), data)


def _array_of_buffer(values: Values, arguments: tuple[Any, ...], state: Any) -> np.ndarray:
    """numpy, core/numeric.py: _frombuffer(buffer, dtype, shape, order), of protocol 5."""
    data, dtype, shape, order = arguments
    return _filled(values, shape, dtype, order == "F", data)


def scalar_of(values: Values, arguments: tuple[Any, ...], state: Any) -> Any:
    """numpy, core/src/multiarray/multiarraymodule.c: scalar(dtype, bytes)."""
    dtype, data = arguments
    return _filled(values, (), dtype, False, data)[()]


def _filled(values: Values, shape: Any, dtype: Any, fortran: bool, data: Any) -> np.ndarray:
    dtype, data = dtype_of(dtype), values.of(data) if type(data) is Record else data
    if type(shape) is not tuple or len(shape) > MOST_DIMENSIONS:
        raise ValueError("an array without a shape")
    if any(type(length) is not int or length < 0 for length in shape):
        raise ValueError(f"an array of shape {shape}")
    data = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(data, bytes) or len(data) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"an array of shape {shape} with another number of bytes")
    values.spend(len(data))
    # numpy itself makes a writable array over the bytes. frombuffer's array is read-only and cannot back a tensor.
    array = np.ndarray(0, dtype)
    array.__setstate__((1, shape, dtype, fortran, data))  # type: ignore[arg-type]
    return np.asarray(array, dtype.newbyteorder("="), order="C")


def encoded(values: Values, arguments: tuple[Any, ...], state: Any) -> bytes:
    """_codecs.encode(text, "latin1"): bytes, in protocols that have no bytes."""
    text, encoding = arguments
    if encoding != "latin1" or not isinstance(text, str):
        raise ValueError(f"text in the encoding {encoding!r}")
    values.spend(len(text))
    return text.encode("latin1")


def _no_bytes(values: Values, arguments: tuple[Any, ...], state: Any) -> bytes:
    """bytes(): the empty byte string, in protocols that have no bytes."""
    if arguments:
        raise ValueError("bytes made of something")
    return b""


def _bare_dtype(values: Values, arguments: tuple[Any, ...], state: Any) -> Any:
    raise Foreign("a bare dtype")


def _no_value(values: Values, arguments: tuple[Any, ...], state: Any) -> Any:
    raise Foreign("a call of numpy.ndarray")


MAKERS: Mapping[str, Maker] = {
    "numpy.dtype": _bare_dtype,
    "numpy.ndarray": _no_value,
    "_codecs.encode": encoded,
    "builtins.bytes": _no_bytes,
    # numpy 2 moved its core; files name either place.
    **{f"numpy.{core}.multiarray._reconstruct": _array for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": scalar_of for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _array_of_buffer for core in ("core", "_core")},
}
"""Every name that a pickle may use, and the value that it makes."""

KNOWN = frozenset({*MAKERS, "collections.OrderedDict"})
