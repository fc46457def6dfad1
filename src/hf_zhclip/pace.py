"""The least rate of an exchange with a server: a byte now and then ends no wait, and would hold a command for days."""

import io
import time
from typing import Any, BinaryIO

LEAST_RATE = 1_024
"""Bytes a second; the slowest modems sent more."""

WINDOW = 60.0
"""Seconds of waiting over which the rate is taken: a server may be silent for as long before an answer."""

PIECE = 2**14
"""Bytes that are sent at once, so that a server that takes them slowly is noticed."""


class Pace:
    """The bytes that one direction of an exchange moved, and the seconds of waiting for them."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begins a window."""
        self.seconds, self.bytes = 0.0, 0

    def moved(self, seconds: float, count: int) -> None:
        """Notes what one wait brought.

        Raises:
            TimeoutError: the window is over, and was too slow.
        """
        self.seconds += seconds
        self.bytes += count
        if self.seconds < WINDOW:
            return
        if self.bytes < LEAST_RATE * WINDOW:
            raise TimeoutError(too_slow())
        self.begin()


def too_slow() -> str:
    """What is wrong with a server below the least rate."""
    return f"it moved fewer than {LEAST_RATE:,} bytes a second for {WINDOW:.0f} seconds"


def pace_stream(stream: Any) -> None:
    """Holds a connection of httpcore to the least rate, in both directions; each request begins anew."""
    read, write, coming, going = stream.read, stream.write, Pace(), Pace()

    def paced_read(max_bytes: int, timeout: float | None = None) -> bytes:
        start = time.monotonic()
        content: bytes = read(max_bytes, timeout)
        going.begin()
        coming.moved(time.monotonic() - start, len(content))
        return content

    def paced_write(buffer: bytes, timeout: float | None = None) -> None:
        coming.begin()
        pieces = memoryview(buffer)
        for at in range(0, len(pieces), PIECE):
            start = time.monotonic()
            write(pieces[at : at + PIECE], timeout)
            going.moved(time.monotonic() - start, len(pieces[at : at + PIECE]))

    stream.read, stream.write = paced_read, paced_write


class PacedSocket:
    """A socket whose file, which `http.client` reads an answer from, is held to the least rate and to a size.

    Attributes:
        most: the most bytes of an answer; None if its size is stated, which `http.client` keeps to.
        faults: what was wrong, in words, because packages replace the errors that they meet.
    """

    def __init__(self, socket: Any, faults: list[str]):
        self.socket, self.faults = socket, faults
        self.most: int | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.socket, name)

    def makefile(self, mode: str) -> BinaryIO:
        """The file of one answer."""
        return io.BufferedReader(_PacedFile(self, self.socket.makefile(mode, buffering=0)))


class _PacedFile(io.RawIOBase):
    def __init__(self, socket: PacedSocket, file: Any):
        self.socket, self.file, self.pace, self.count = socket, file, Pace(), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        start = time.monotonic()
        count: int | None = self.file.readinto(buffer)
        self.count += count or 0
        try:
            self.pace.moved(time.monotonic() - start, count or 0)
            if self.socket.most is not None and self.count > self.socket.most:
                raise TimeoutError(f"it sent more than {self.socket.most:,} bytes of an answer of no stated size")
        except TimeoutError as error:
            self.socket.faults.append(str(error))
            raise
        return count

    def close(self) -> None:
        self.file.close()
        super().close()
