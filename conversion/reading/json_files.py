"""The one reader of JSON that others wrote: configs, indexes, tokenizer files, reports, answers.

Whatever is wrong with such a file, the user gets an `InputError`: what was found, what was wanted, what to do. Code
that wants fields of certain kinds states them in a table and calls `check_fields`.
"""

import json
import math
import re
import reprlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

from ..errors import InputError

MOST_BYTES = 256 * 2**20
"""The tokenizer.json of XLM-R, the largest of a known model, has 17 MB."""

MOST_DEPTH = 100
"""Objects and lists in each other; a tokenizer.json has about ten."""

MOST_DIGITS = 100
"""Of a whole number. transformers writes 10^30 for "no limit"; no float holds 310 digits, and Python reads 4,300."""

HALF = re.compile(rb"\\u[dD][89a-fA-F]")
"""An escaped half of a character, which is right only beside its other half."""

FETCH = "Fetch it again, or correct it."


def read_any_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        InputError: when it is none, is too large or nested too deep, or holds what JSON or a model has no use for: a
            key twice in an object, a number without a value (NaN, Infinity), half a character.
    """
    return parse_json(_bytes(path), str(path))


def read_json(path: Path) -> dict[str, Any]:
    """The same of a file that has to hold an object."""
    return _object(read_any_json(path), path)


def read_python_json(path: Path) -> dict[str, Any]:
    """The same of what Python's own writer made of numbers that were measured: there NaN and Infinity are numbers.

    Of these are the log of a Trainer (a loss that was lost) and the answers of our own processes.
    """
    return _object(_parsed(_bytes(path), str(path), {}), path)


def parse_json(content: bytes | str, where: str) -> Any:
    """What a JSON text holds; `where` is what a message calls it.

    Raises:
        InputError: as `read_any_json`.
    """
    # A NaN passes every comparison of a check, and would stand in a config until a model computes with it.
    return _parsed(content, where, {"parse_constant": _no_number, "parse_float": _finite})


def _parsed(content: bytes | str, where: str, hooks: Mapping[str, Any]) -> Any:
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        value = json.loads(text, object_pairs_hook=_each_key_once, parse_int=_whole_number, **hooks)
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
    except ValueError as error:
        raise InputError(f"{where} is no valid JSON: {error}. {FETCH}") from error
    except RecursionError as error:
        raise InputError(
            f"{where} is nested too deep: more than {MOST_DEPTH} objects and lists in each other were found; the JSON "
            f"of a model was wanted. {FETCH}"
        ) from error
    return value


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "is no file" if path.exists() else "does not exist"
        raise InputError(f"{path} {found}; a JSON file was wanted.")
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise InputError(f"{path} has more than {MOST_BYTES:,} bytes; the JSON of a model was wanted. {FETCH}")
    return content


def _object(value: Any, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{path} holds {type(value).__name__}; a JSON object was wanted. {FETCH}")
    return value


def _encoding(content: bytes | str) -> str:
    return "UTF-16" if isinstance(content, bytes) and content[:2] in (b"\xff\xfe", b"\xfe\xff") else "another encoding"


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Readers differ in which of two they take, so that two of them would see two models."""
    value = dict(pairs)
    if len(value) < len(pairs):
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"an object has the key {brief(twice)} twice")
    return value


def _whole_number(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a whole number of {len(digits)} digits was found, {MOST_DIGITS} at most were wanted")
    return int(digits)


def _finite(digits: str) -> float:
    if math.isinf(value := float(digits)):
        raise ValueError(f"the number {brief(digits)} is larger than any that a computer computes with")
    return value


def _no_number(word: str) -> float:
    raise ValueError(f"{word} was found, which is no JSON; a number or null was wanted")


def _check_depth(value: Any) -> None:
    """Raises RecursionError as the parser does, which knows no limit of its own but Python's."""
    level, depth = [value], 0
    while level := [each for each in level if isinstance(each, (dict, list))]:
        if (depth := depth + 1) > MOST_DEPTH:
            raise RecursionError
        level = [each for holder in level for each in (holder.values() if isinstance(holder, dict) else holder)]


# What is wanted of a value that was read


@dataclass(frozen=True)
class Field:
    """What is wanted of one field: one of these kinds, and whether it has to be there.

    A whole number passes where a float is wanted; true and false are no numbers.
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
    """Refuses a value that is no object, lacks a needed field, or has a field of another kind; more may be there.

    Args:
        where: what a message calls the value.

    Raises:
        InputError: naming the first field that is wrong.
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
    """The same of every one of several objects, which a message counts from 0."""
    for number, value in enumerate(values):
        check_fields(value, wanted, f"{where}[{number}]")


def is_kind(value: Any, kinds: tuple[type, ...]) -> bool:
    """Whether a value is of one of these kinds, as `Field` means it."""
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, kinds) or (isinstance(value, int) and float in kinds)


def brief(value: Any) -> str:
    """A value in a message: its beginning, on one line."""
    return _BRIEF.repr(value)


_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 60
_BRIEF.maxlevel = 3
