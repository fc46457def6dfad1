"""Small things that everything foreign is read with: names inside a folder, hashes."""

import hashlib
from pathlib import Path
from typing import Any

REPORT = "conversion_report.json"
"""The proof that travels with a repo."""

CARD = "README.md"
"""What the hub shows of a repo."""


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
