"""Kills a run at the moments at which it changes a file or asks a hub."""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHANGES = {
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.truncate",
    "os.link",
    "os.symlink",
    "subprocess.Popen",
}
"""Python's audit events of what changes a folder; one comes just before what it names."""


def points(run: Callable[[], Any], place: Path) -> list[str]:
    """The names of the moments of a whole run in a child: the changes under a folder, and the child's own `point`s."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        os.set_inheritable(writer, False)
        _child(run, place, lambda name: os.write(writer, f"{name}\n".encode()))
    os.close(writer)
    with os.fdopen(reader) as told:
        names = told.read().splitlines()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == 0, f"the run itself fails with {code}: {_said(place).read_text()}"
    return names


NEVER = 10**9


def exit_code(run: Callable[[], Any], place: Path, moment: int = NEVER, sent: signal.Signals = signal.SIGKILL) -> int:
    """Sends a signal to a child at a moment, from 0; the child's exit code, negative if the signal killed it."""
    child = os.fork()
    if not child:
        left = [moment]

        def count(name: str) -> None:
            left[0] -= 1
            if left[0] == -1:
                os.kill(os.getpid(), sent)

        _child(run, place, count)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


_points: list[Callable[[str], Any]] = []


def point(name: str) -> None:
    """A moment that is no change of a file."""
    for each in _points:
        each(name)


def _child(run: Callable[[], Any], place: Path, seen: Callable[[str], Any]) -> None:
    main = os.getpid()

    def hook(event: str, given: tuple) -> None:
        if os.getpid() == main and (path := _changed(event, given)) and path.startswith(f"{place}{os.sep}"):
            seen(f"{event} {os.path.relpath(path, place)}")

    sys.stdout = sys.stderr = open(_said(place), "w", buffering=1)  # for who reads a failure
    sys.addaudithook(hook)
    _points.append(seen)
    code = 98
    try:
        code = int(run() or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _said(place: Path) -> Path:
    """Where a child writes what it says."""
    return place.with_name(f"{place.name}.said")


def _changed(event: str, given: tuple) -> str | None:
    """The path that an event changes, if it changes a path."""
    if event == "open":
        path, mode, flags = given
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        return os.path.abspath(os.fsdecode(path)) if writes and not isinstance(path, int) else None
    if event in CHANGES and not isinstance(given[0], int):
        return os.path.abspath(os.fsdecode(given[0]))
    return None
