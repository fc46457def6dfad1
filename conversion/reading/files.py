"""Small things that everything foreign is read with: JSON, names inside a folder, hashes."""

import hashlib
import json
from pathlib import Path
from typing import Any

from ..errors import InputError

REPORT = "conversion_report.json"
"""The proof that travels with a repo."""


def read_any_json(path: Path) -> Any:
    """What a JSON file holds; an `InputError` when it is none."""
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"{path} {found}; a JSON file was wanted.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is no valid JSON: {error}.") from error
    except RecursionError as error:
        raise InputError(f"{path} is nested too deep; the JSON of a model was wanted.") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; an `InputError` when it is none."""
    value = read_any_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path} holds {type(value).__name__}; a JSON object was wanted.")
    return value


def is_file_name(name: Any) -> bool:
    """Whether a foreign file's word is a name inside a folder: no path, and not the folder or the one above it."""
    return isinstance(name, str) and name not in ("", ".", "..") and Path(name).name == name


def sha256(path: Path) -> str:
    """The hexadecimal SHA-256 of a file, read a block at a time."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
