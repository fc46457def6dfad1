"""A file is read to the size that it had when it was opened: one that grows as fast as it is read has no end."""

import io
import os
from pathlib import Path
from typing import Any, BinaryIO

from .errors import InputError

BLOCK = 2**18
"""The bytes of a read."""


def steady(path: Path) -> BinaryIO:
    """Opens a file whose readers end, or fail, at the size that it has now.

    Raises:
        InputError: while it is read: the file became longer or shorter.
        OSError: the file cannot be opened.
    """
    return io.BufferedReader(_Steady(path), BLOCK)


def whole(path: Path) -> bytes:
    """The content of a file.

    Raises:
        InputError: the file became longer or shorter while it was read.
        OSError: the file cannot be read.
    """
    with steady(path) as file:
        return file.read(os.stat(path).st_size + 1)  # in one piece, and to the check at the end


class _Steady(io.RawIOBase):
    def __init__(self, path: Path):
        self.path = path
        self.file = path.open("rb", buffering=0)
        self.size = self.left = os.fstat(self.file.fileno()).st_size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self.file.readinto(memoryview(buffer)[: self.left]) or 0
        self.left -= count
        if not count:  # the end of the file, or of what it was
            self._check()
        return count

    def _check(self) -> None:
        now = os.fstat(self.file.fileno()).st_size
        if self.left or now != self.size:
            raise InputError(
                f"{self.path} changed while it was read: it had {self.size:,} bytes, and has {now:,} now. Run the "
                "command again when nothing writes the file any more."
            )

    def close(self) -> None:
        self.file.close()
        super().close()
