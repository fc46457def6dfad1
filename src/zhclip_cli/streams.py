"""stdout and stderr of a process, whatever console, pipe or file they go to."""

import io
import os
import sys
from contextlib import suppress


def prepare() -> None:
    """Makes both streams accept every line, even if the caller closed them or the console knows few characters."""
    # Without stderr, Python prints messages to stdout, and the next file that is opened may get the stream's number.
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a GBK console prints what it can


def tell(line: str) -> None:
    """Prints a last message. If nobody reads stderr any more, the exit code alone tells what happened."""
    with suppress(OSError):
        print(line, file=sys.stderr)


def drop_unwritten() -> None:
    """Discards what could not be written: Python would try again at exit, complain, and end with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())
