"""Signals that end a run become exceptions, so that its locks, staging folders and processes go with it."""

import _thread
import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

ENDING = ("SIGINT", "SIGTERM", "SIGHUP")
"""What a user, a system that shuts down, and a terminal that closes send."""

PATIENCE = 20.0
"""Seconds that the run has to end by itself, before it is ended wherever it is."""


class Ended(KeyboardInterrupt):
    """A signal asked the run to end."""


@contextmanager
def raised(to_the_end: bool = False) -> Iterator[None]:
    """Raises `Ended` in the main thread at the first signal, and ignores further signals, so that nothing stays.

    A signal that was ignored before, as by `nohup`, is ignored still. A thread ends the process where an exception
    cannot: where a library holds the main thread for too long, and where a file became shorter under a memory map, so
    that the system sends SIGBUS for each try to read it.

    Args:
        to_the_end: nothing else follows in this process: from the first signal or the block's end on, a signal changes
            neither its last words nor its exit code. The thread still ends a process that does not end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python lets no other thread handle signals
        return
    over = threading.Event()
    reader, writer = _pipe()
    before = {number: signal.getsignal(number) for number in map(_number, (*ENDING, "SIGBUS")) if number}
    handled = [number for number, handler in before.items() if handler in (signal.SIG_DFL, signal.default_int_handler)]
    _thread.start_new_thread(_watch, (reader, over))
    woken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        for number in handled:
            signal.signal(number, _handler(handled))
        yield
    except KeyboardInterrupt:
        _abandon()
        raise
    finally:
        for number in handled:
            signal.signal(number, _noted if to_the_end else before[number])
        if to_the_end:
            atexit.register(_ignore, handled)  # after which Python gives its own handlers up
        else:
            over.set()
            signal.set_wakeup_fd(woken)
            os.close(writer)  # the thread reads the end, and ends


def _ignore(handled: list[int]) -> None:
    for number in handled:
        signal.signal(number, signal.SIG_IGN)


def _noted(number: int, frame: FrameType | None) -> None:
    """Does nothing: Python has written the number to the thread."""


def _number(name: str) -> int | None:
    return getattr(signal, name, None)  # Windows knows few of them


def _pipe() -> tuple[int, int]:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    return reader, writer


def _handler(handled: list[int]) -> Callable[[int, FrameType | None], None]:
    def handle(number: int, frame: FrameType | None) -> None:
        if number == _number("SIGBUS"):
            return  # the thread ends the process
        _ignore(handled)
        raise Ended(f"ended by {signal.Signals(number).name}" if number != signal.SIGINT else "interrupted")

    return handle


def _watch(reader: int, over: threading.Event) -> None:
    """Reads the numbers of the signals, which Python writes when they arrive, and ends a process that does not end."""
    ending = {_number(name) for name in ENDING}
    try:
        while number := os.read(reader, 1):
            if number[0] == _number("SIGBUS"):
                _end("a file became shorter while it was read, or its disk failed. Fetch the file again")
            elif number[0] in ending and not over.wait(PATIENCE):
                _end(f"ended by {signal.Signals(number[0]).name}")
    finally:
        os.close(reader)


def _end(reason: str) -> None:
    _abandon()
    with suppress(OSError):
        os.write(2, f"zhclip: {reason}. No half-written file was left.\n".encode())
    os._exit(1)


def _abandon() -> None:
    """Removes what an exception at an unlucky moment would leave."""
    if staging := sys.modules.get("hf_zhclip.staging"):
        staging.abandon()
