"""Small tools for foreign files: names inside a folder, hashes."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hf_zhclip.amounts import shown_amount
from hf_zhclip.steady import steady
from hf_zhclip.telling import shown

REPORT = "conversion_report.json"
"""The repo's proof."""

STATED = "stated_config.json"
"""What the user stated of an original with --config, as `export --to source` writes it beside the weights."""

MOST_FILE_NAME = 255
"""The bytes of a file's name, by the file systems of every system."""

CARD = "README.md"
"""The file that the hub shows as a repo's page."""


def is_file_name(name: Any) -> bool:
    """Whether a foreign value is a plain name inside a folder: no path, and neither `.` nor `..`."""
    if not isinstance(name, str) or name in ("", ".", "..") or Path(name).name != name:
        return False
    return "\0" not in name and len(name.encode(errors="replace")) <= MOST_FILE_NAME


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal, read block by block."""
    with shown_amount(f"Hashing {shown(path.name)}", path.stat().st_size) as advance:
        return digest(path, advance)


def digest(path: Path, advance: Callable[[int], object], is_over: Callable[[], bool] = lambda: False) -> str:
    """The file's SHA-256; `advance` is told the bytes of each block, and the work ends early when `is_over`."""
    found = hashlib.sha256()
    with steady(path) as file:
        while not is_over() and (block := file.read(2**20)):
            found.update(block)
            advance(len(block))
    return found.hexdigest()
