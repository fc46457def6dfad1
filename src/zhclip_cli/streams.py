"""The output and the messages of a process, whatever console, pipe or file they go to."""

import io
import os
import sys
from contextlib import suppress


def prepare() -> None:
    """Makes both streams take every line: a stream that the caller closed, and a console with few characters."""
    # Without a stream Python prints messages to the output, and a file that is opened may get the stream's number.
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a GBK console prints what it can


def tell(line: str) -> None:
    """Prints a last message; where its reader has gone, the exit code alone tells."""
    with suppress(OSError):
        print(line, file=sys.stderr)


def drop_unwritten() -> None:
    """Sends to nowhere what could not be written; Python would try again at exit, complain, and end with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())
