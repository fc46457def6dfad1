"""README.md as a file: the stamp that shows whether a card was edited, and a write that is complete or not at all."""

import hashlib
import os
import re
import tempfile
from pathlib import Path

from ..errors import InputError, WorkError

STAMP = re.compile(r"\n<!-- zhclip card (?P<sha256>[0-9a-f]{64}) -->\s*\Z")


def is_generated(text: str) -> bool:
    """Whether this module wrote a README.md and nobody edited it since."""
    text = text.replace("\r\n", "\n")
    stamp = STAMP.search(text)
    return stamp is not None and stamp["sha256"] == _digest(text[: stamp.start()])


def read_card(path: Path) -> str:
    """The text of a README.md, with its line ends unchanged.

    Raises:
        InputError: the file is not in UTF-8.
    """
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not in UTF-8, but the hub reads only UTF-8. Save the file as UTF-8.") from error


def stamped(text: str) -> str:
    """A card with the hash by which `is_generated` recognises it."""
    return f"{text}\n<!-- zhclip card {_digest(text)} -->\n"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def write_whole(path: Path, text: str) -> None:
    """Writes a file completely or not at all, and removes what a killed run left of it."""
    temporary, prefix = None, f".{path.name}.zhclip-"
    try:
        for left in path.parent.glob(f"{prefix}*"):
            left.unlink(missing_ok=True)
        with tempfile.NamedTemporaryFile("wb", dir=path.parent, prefix=prefix, delete=False) as file:
            temporary = Path(file.name)
            file.write(text.encode())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        raise WorkError(f"{path} could not be written: {error.strerror or error}. The old file is kept.") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
