"""A folder or file that appears complete or not at all: a locked staging folder beside it, and one final rename."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import InputError, WorkError, ZhclipError
from .paths import resolved
from .replacing import REPO, Kind, Obstacle
from .replacing import obstacle as not_replaced

_RUNNING: dict[Path, list[Path]] = {}
"""The places that this process is writing, and the parents that it made for them, the innermost first."""


def abandon() -> None:
    """Puts right what every run of this process left, as its own end or the next run would.

    For a process that ends wherever it is, by a signal.
    """
    for out, parents in list(_RUNNING.items()):
        with contextlib.suppress(OSError):
            _recover(out)
            _sibling(out, "lock").unlink(missing_ok=True)
            _remove_empty(parents)


@contextlib.contextmanager
def staging(out: Path, needed_bytes: int, force: bool, kind: Kind = REPO) -> Iterator[Path]:
    """Gives an empty folder beside `out`; it becomes `out` if the block succeeds, and is removed if the block fails.

    First cleans up after a killed run. With `force`, an existing `out` is moved aside before the rename and deleted
    after it, so that one of the two is complete at every moment.

    Args:
        kind: what the block writes; `force` replaces such a folder alone.

    Raises:
        InputError: `out` exists and `force` is off, or another run is writing `out`.
        WorkError: the disk has less than `needed_bytes` free.
    """
    out = Path(os.path.abspath(out))
    check_parents(out)
    with _system_errors(out), _parents(out) as made, _locked(out, made):
        _recover(out)
        _check(out, force, kind)
        _check_space(out, needed_bytes)
        folder = _sibling(out, "staging")
        folder.mkdir()
        try:
            with _named(folder, out):
                yield folder
            _check(out, force, kind)
            _swap(folder, out)
        finally:
            with contextlib.suppress(OSError):  # the work is done, or its error is told; the next run tries again
                _recover(out)


@contextlib.contextmanager
def staging_file(out: Path, needed_bytes: int, force: bool) -> Iterator[Path]:
    """Gives a path beside `out` to write a file to; the file becomes `out` if the block succeeds.

    If the block fails, the file is removed; after a killed run, the next run removes it. With `force` it replaces an
    existing file in one step.

    Raises:
        InputError: `out` exists and `force` is off or `out` is no file, or another run is writing `out`.
        WorkError: the disk has less than `needed_bytes` free.
    """
    out = Path(os.path.abspath(out))
    check_parents(out)
    with _system_errors(out), _parents(out) as made, _locked(out, made):
        file = _sibling(out, "staging")
        _remove(file)
        check_absent_file(out, force)
        _check_space(out, needed_bytes)
        try:
            yield file
            check_absent_file(out, force)
            file.replace(out)
        finally:
            with contextlib.suppress(OSError):
                file.unlink()


@contextlib.contextmanager
def _named(folder: Path, out: Path) -> Iterator[None]:
    """Makes errors name the user's path instead of the hidden folder, which is removed."""
    try:
        yield
    except ZhclipError as error:
        error.args = tuple(str(each).replace(str(folder), str(out)) for each in error.args)
        raise


def check_absent(out: Path, force: bool, kind: Kind = REPO) -> None:
    """Refuses an `out` that exists (even an empty folder) or cannot be created, before any work is done."""
    out = Path(os.path.abspath(out))
    _remove_stale_lock(out)
    _check(out, force, kind)
    try:
        _sibling(out, "staging").lstat()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InputError(
                f"{out} has a name that is too long for the file system. Choose a shorter name."
            ) from error


def check_absent_file(out: Path, force: bool) -> None:
    """Refuses a file that exists, or a path where no file can be created, before any work is done."""
    _remove_stale_lock(out)
    check_parents(out)
    obstacle = Obstacle("is not a file") if out.is_symlink() or not out.is_file() else None
    _refuse_existing(out, force, obstacle)


def _remove_stale_lock(out: Path) -> None:
    """Removes the lock of a run that was killed at its very end, because a next run is refused where `out` exists."""
    with contextlib.suppress(OSError, ValueError):  # a name that is too long, or none, is refused later
        path = _sibling(out, "lock")
        if path.is_file():
            with contextlib.suppress(Timeout), FileLock(path, timeout=0):
                path.unlink()


def check_parents(out: Path) -> None:
    """Refuses a place under something that is no folder.

    Raises:
        InputError: see above.
    """
    parents = Path(os.path.abspath(out)).parents
    there = next((each for each in parents if os.path.lexists(each)), None)
    if there is not None and not there.is_dir():
        raise InputError(f"{there} is no folder, so that {out} cannot be made in it. Choose another place.")


def check_apart(out: Path, *places: str | Path | None) -> None:
    """Refuses to replace a folder that contains one of the places (None is skipped).

    Compares by identity, because a file system may treat upper and lower case as the same name.
    """
    if not out.exists():
        return
    for place in (resolved(place) for place in places if place is not None):
        if place.exists() and place.samefile(out):
            raise InputError(f"{out} is read, too, and --force would delete it. Choose another place.")
        if any(parent.exists() and parent.samefile(out) for parent in place.parents):
            raise InputError(f"{out} holds {place}, and --force would delete both. Choose another place.")


def _sibling(out: Path, purpose: str) -> Path:
    return out.with_name(f".{out.name}.zhclip-{purpose}")


@contextlib.contextmanager
def _system_errors(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WorkError(f"{out} could not be written: {error.strerror or error}. No file was left there.") from error


@contextlib.contextmanager
def _parents(out: Path) -> Iterator[list[Path]]:
    missing = [folder for folder in out.parents if not folder.exists()]
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield missing
    finally:
        _remove_empty(missing)


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):  # not empty: it holds OUT
            folder.rmdir()


@contextlib.contextmanager
def _locked(out: Path, parents: list[Path]) -> Iterator[None]:
    path = _sibling(out, "lock")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        if not path.exists():  # filelock waits where no file can be made, as in /proc
            raise WorkError(f"{out} could not be written: no file can be made in {out.parent}.") from error
        raise InputError(f"Another run is writing {out}. Wait until it ends, or choose another place.") from error
    try:
        _RUNNING[out] = parents
        yield
    finally:
        with contextlib.suppress(PermissionError):  # Windows does not remove an open file
            path.unlink(missing_ok=True)
        lock.release()
        if not any(os.path.lexists(_sibling(out, purpose)) for purpose in ("staging", "old")):
            _RUNNING.pop(out)  # else an interrupt came while it was put right, and `abandon` does the rest


def _check(out: Path, force: bool, kind: Kind = REPO) -> None:
    check_parents(out)
    if not out.name:
        raise InputError(f"{out} is the root of a disk. Choose another place.")
    obstacle = None
    if os.path.lexists(out) and (out.is_symlink() or not out.is_dir()):
        obstacle = Obstacle("is not a folder")
    elif out.is_dir():
        obstacle = not_replaced(out, kind)
    _refuse_existing(out, force, obstacle)


def _refuse_existing(out: Path, force: bool, obstacle: Obstacle | None) -> None:
    """Refuses an `out` that exists, unless `force` is on and there is no obstacle to it."""
    if not os.path.lexists(out) or (force and obstacle is None):
        return
    if force and obstacle is not None:
        raise InputError(
            f"{out} {obstacle.found}, so --force does not replace it. Choose another place{obstacle.way}."
        )
    way = " or pass --force" if obstacle is None else ""
    raise InputError(f"{out} exists already, and is not overwritten. Choose another place{way}.")


def _recover(out: Path) -> None:
    """Cleans up after a killed run: what it staged, and with --force an old `out` under another name."""
    _remove(_sibling(out, "staging"))
    aside = _sibling(out, "old")
    if aside.exists():
        if out.exists():
            shutil.rmtree(aside)
        else:
            aside.rename(out)


def _remove(staged: Path) -> None:
    if staged.is_dir() and not staged.is_symlink():
        shutil.rmtree(staged)
    elif os.path.lexists(staged):
        staged.unlink()


def _check_space(out: Path, needed: int) -> None:
    free = shutil.disk_usage(out.parent).free
    if free < needed:
        raise WorkError(
            f"{out.parent} has {free:,} bytes free, but {needed:,} bytes are needed. Free some space or choose "
            "another disk."
        )


def _swap(folder: Path, out: Path) -> None:
    if not os.path.lexists(out):
        folder.rename(out)
        return
    aside = _sibling(out, "old")
    try:
        out.rename(aside)
        folder.rename(out)
    except BaseException:  # an interrupt between the two, too
        if not os.path.lexists(out):
            aside.rename(out)
        raise
