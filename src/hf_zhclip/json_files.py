"""The only reader of JSON that others wrote: configs, indexes, tokenizer files, reports, answers.

Any fault of such a file raises an `InputError`: what was found, what was expected, what to do. A caller that needs
fields of certain kinds states them in a table and calls `check_fields`.
"""

import json
import math
import re
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

from .budget import MOST_DEPTH, MOST_DIGITS, MOST_JSON_BYTES, MOST_LINE_BYTES
from .errors import InputError
from .steady import steady

HALF = re.compile(rb"\\u[dD][89a-fA-F]")
"""An escaped half of a surrogate pair, which is valid only beside the other half."""

FETCH = "Fetch it again, or correct it."


def read_any_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        InputError: the file is no JSON, is too large or nested too deep, or holds what JSON or a model cannot use: a
            key twice in an object, a number without a value (NaN, Infinity), half a surrogate pair.
    """
    return parse_json(_bytes(path), str(path))


def read_json(path: Path) -> dict[str, Any]:
    """Like `read_any_json`, for a file that must hold an object."""
    return _object(read_any_json(path), path)


def read_python_json(path: Path) -> dict[str, Any]:
    """Like `read_json`, for measured numbers that Python wrote: here NaN and Infinity are valid.

    Examples are a Trainer's log, whose loss may be NaN, and the answers of our own processes.
    """
    return _object(_parsed(_bytes(path), str(path), {}), path)


def read_json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the objects of a file with one JSON object a line, each with its place for messages; skips empty lines.

    Numbers are not checked for infinity: a line may hold thousands of them, and its reader checks them at once.

    Raises:
        InputError: the file does not exist or changes, or a line is too long or no JSON object.
    """
    check_is_file(path)
    with steady(path) as file:
        for number, line in enumerate(iter(lambda: file.readline(MOST_LINE_BYTES + 1), b""), start=1):
            where = f"{path}, line {number}"
            if len(line) > MOST_LINE_BYTES:
                raise InputError(
                    f"{where} has more than {MOST_LINE_BYTES:,} bytes; one JSON object was wanted. {FETCH}"
                )
            if line.strip():
                yield where, _object(_parsed(line, where, {"parse_constant": _no_number}), where)


def parse_json(content: bytes | str, where: str) -> Any:
    """Parses a JSON text; `where` is its name in messages.

    Raises:
        InputError: as for `read_any_json`.
    """
    # NaN passes every comparison of a check, and would stay in a config until a model computes with it.
    return _parsed(content, where, {"parse_constant": _no_number, "parse_float": _finite})


def _parsed(content: bytes | str, where: str, hooks: Mapping[str, Any]) -> Any:
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        value = json.loads(text, object_pairs_hook=_each_key_once, parse_int=_whole_number, **hooks)
        # A text with few brackets is not deep; a walk through a vector's numbers would cost a fifth of its parsing.
        if text.count("[") + text.count("{") > MOST_DEPTH:
            _check_depth(value)
        if HALF.search(text.encode()):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where} is no valid JSON: {_encoding(content)} was found, UTF-8 was wanted. {FETCH}"
        ) from error
    except UnicodeEncodeError as error:
        raise InputError(
            f"{where} is no valid JSON: half a character (a lone surrogate) was found; text was wanted. {FETCH}"
        ) from error
    except json.JSONDecodeError as error:
        raise InputError(f"{where} is no valid JSON: {error}. {FETCH}") from error
    except ValueError as error:  # of the hooks, for what some readers take
        raise InputError(f"{where} cannot be used: {error}. {FETCH}") from error
    except RecursionError as error:
        raise InputError(
            f"{where} is nested too deep: more than {MOST_DEPTH} levels of objects and lists were found; the JSON of "
            f"a model was wanted. {FETCH}"
        ) from error
    return value


def check_is_file(path: Path) -> None:
    """Refuses a path that is no regular file: a pipe would block the reader.

    Raises:
        InputError: it is a folder, a device or a pipe, or does not exist.
    """
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "is no file" if path.exists() else "does not exist"
        raise InputError(f"{path} {found}; a JSON file was wanted.")


def _bytes(path: Path) -> bytes:
    check_is_file(path)
    with steady(path) as file:
        content = file.read(MOST_JSON_BYTES + 1)
    if len(content) > MOST_JSON_BYTES:
        raise InputError(f"{path} has more than {MOST_JSON_BYTES:,} bytes; the JSON of a model was wanted. {FETCH}")
    return content


def _object(value: Any, path: Path | str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{path} holds {type(value).__name__}; a JSON object was wanted. {FETCH}")
    return value


def _encoding(content: bytes | str) -> str:
    return "UTF-16" if isinstance(content, bytes) and content[:2] in (b"\xff\xfe", b"\xfe\xff") else "another encoding"


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuses a key that occurs twice: readers differ in which value they take, so they would see two models."""
    value = dict(pairs)
    if len(value) < len(pairs):
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"an object has the key {brief(twice)} twice")
    return value


def _whole_number(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a whole number of {len(digits)} digits was found, at most {MOST_DIGITS} were wanted")
    return int(digits)


def _finite(digits: str) -> float:
    if math.isinf(value := float(digits)):
        raise ValueError(f"the number {brief(digits)} is too large for a 64-bit float")
    return value


def _no_number(word: str) -> float:
    raise ValueError(f"{word} was found, which JSON does not have; a finite number or null was wanted")


def _check_depth(value: Any) -> None:
    """Raises RecursionError for deep nesting, as the parser does; the parser has only Python's own limit."""
    level, depth = [value], 0
    while level := [each for each in level if isinstance(each, (dict, list))]:
        if (depth := depth + 1) > MOST_DEPTH:
            raise RecursionError
        level = [each for holder in level for each in (holder.values() if isinstance(holder, dict) else holder)]


# The expected kinds of values that were read


@dataclass(frozen=True)
class Field:
    """The requirements of one field: its allowed kinds, and whether it must exist.

    A whole number is valid for a float; true and false are no numbers.
    """

    kinds: tuple[type, ...]
    needed: bool = True


KINDS: Mapping[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    NoneType: "null",
}


def check_fields(value: Any, wanted: Mapping[str, Field], where: str) -> None:
    """Refuses a value that is no object, lacks a needed field, or has a field of another kind; other fields may exist.

    Args:
        where: the value's name in messages.

    Raises:
        InputError: a field is wrong; the message names the first wrong field.
    """
    if not isinstance(value, dict):
        raise InputError(f"found {brief(value)} as {where}; wanted an object. {FETCH}")
    for name, field in wanted.items():
        kinds = " or ".join(KINDS[kind] for kind in field.kinds)
        if name not in value:
            if field.needed:
                raise InputError(f"found no {name} in {where}; wanted {kinds}. {FETCH}")
        elif not is_kind(value[name], field.kinds):
            raise InputError(f"found {name} {brief(value[name])} in {where}; wanted {kinds}. {FETCH}")


def check_each(values: Iterable[Any], wanted: Mapping[str, Field], where: str) -> None:
    """Checks the fields of each of several objects; messages count the objects from 0."""
    for number, value in enumerate(values):
        check_fields(value, wanted, f"{where}[{number}]")


def is_kind(value: Any, kinds: tuple[type, ...]) -> bool:
    """Whether a value has one of these kinds, by the rules of `Field`."""
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, kinds) or (isinstance(value, int) and float in kinds)


def brief(value: Any) -> str:
    """A value for a message: its beginning, on one line."""
    try:
        return _BRIEF.repr(value)
    except ValueError:  # a whole number of more digits than Python writes
        return f"a {type(value).__name__} with a very large number"


_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 60
_BRIEF.maxlevel = 3
