"""The files that the hub's client fetches: room on the disk, no more bytes than the hub stated, and a least rate."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import pace
from .errors import WorkError

CHUNK = 2**16
"""Bytes that the client keeps before it writes them; its own 10 MB would come from a slow hub in three hours."""


@contextmanager
def bounded_files() -> Iterator[None]:
    """Within it, the client's functions that fetch a file keep to the size that was stated, and to the least rate."""
    from huggingface_hub import constants, file_download, hf_file_system  # here, because most runs ask no hub

    counted = [0]
    bounds: Mapping[str, Callable[..., Any]] = {
        "http_get": _bounded,
        "_check_disk_space": lambda function: lambda *given, **named: None,  # it only warns
        "DOWNLOAD_CHUNK_SIZE": lambda size: CHUNK,
    }
    owners: list[Any] = [file_download, hf_file_system, constants]
    if (reporter := _xet_reporter()) is not None:
        owners.append(reporter)
        bounds = {
            **bounds,
            "xet_get": lambda function: _watched(function, counted),
            "update_progress": lambda function: _counting(function, counted),
        }
    # Names of the client's own, which a release may lack.
    before = [(owner, name, getattr(owner, name)) for owner in owners for name in bounds if hasattr(owner, name)]
    for owner, name, value in before:
        setattr(owner, name, bounds[name](value))
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def _xet_reporter() -> Any:
    """The class that learns how much the package hf_xet has fetched; None in a release without it."""
    try:
        from huggingface_hub.utils._xet_progress_reporting import XetDownloadProgressReporter
    except ImportError:
        return None
    return XetDownloadProgressReporter


def check_room(repo: str, sizes: Sequence[int], folder: str | os.PathLike[str], variable: str = "HF_HOME") -> None:
    """Refuses files that the disk cannot hold, before the first of them is fetched.

    Args:
        repo: what the files are of, for the message.
        sizes: the bytes of each file, as the hub states them.
        folder: where they would lie; it may not exist yet.
        variable: the variable of the environment that names this place.

    Raises:
        WorkError: see above.
    """
    place = Path(folder)
    while not place.exists() and place != place.parent:
        place = place.parent
    if (wanted := sum(sizes)) > (free := shutil.disk_usage(place).free):
        raise WorkError(
            f"{repo} has {wanted:,} bytes to download, but the disk of {folder} has room for {free:,}. Make room "
            f"there, or choose a folder on another disk with {variable}; then run the command again."
        )


def sizes_to_fetch(repo: str, revision: str | None, described: Any, patterns: Sequence[str]) -> list[int]:
    """The sizes of a repo's files that match the patterns and do not lie in the cache.

    Args:
        described: the hub's description of the repo, with the metadata of its files.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.utils import filter_repo_objects

    rows = {each.rfilename: each.size for each in described.siblings or ()}
    wanted = filter_repo_objects(list(rows), allow_patterns=list(patterns))
    commit = described.sha or revision
    return [
        int(rows[name] or 0)
        for name in wanted
        if not isinstance(try_to_load_from_cache(repo, name, revision=commit), str)
    ]


class _Stated:
    """A file that takes no more bytes than were stated, and wants them at the least rate over all tries."""

    def __init__(self, file: Any, size: int):
        self.file, self.start, self.size = file, file.tell(), size
        self.since, self.count = time.monotonic(), 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, content: bytes) -> int:
        if self.file.tell() - self.start + len(content) > self.size:
            raise WorkError(
                f"The hub sent more than the {self.size:,} bytes that it stated of a file, so that the download was "
                "ended. Check the hub (HF_ENDPOINT), then run the command again."
            )
        self.count += len(content)
        if (seconds := time.monotonic() - self.since) >= pace.WINDOW:
            if self.count < pace.LEAST_RATE * seconds:
                raise TimeoutError(pace.too_slow())
            self.since, self.count = time.monotonic(), 0
        return int(self.file.write(content))


def _bounded(http_get: Callable[..., None]) -> Callable[..., None]:
    def get(url: str, temp_file: Any, *given: Any, **named: Any) -> None:
        size = named.get("expected_size")
        if size is not None and not isinstance(temp_file, _Stated):  # which it is when the client tries again
            if isinstance(getattr(temp_file, "name", None), str):
                check_room(named.get("displayed_filename") or url, [size], Path(temp_file.name).parent)
            temp_file = _Stated(temp_file, size)
        http_get(url, temp_file, *given, **named)

    return get


def _watched(xet_get: Callable[..., None], counted: Sequence[int]) -> Callable[..., None]:
    """Holds a download of the package hf_xet, which asks by itself, to the least rate."""

    def get(*, incomplete_path: Path, expected_size: int | None = None, **named: Any) -> None:
        from huggingface_hub.utils._xet import abort_xet_session

        name = named.get("displayed_filename") or incomplete_path.name
        check_room(name, [expected_size or 0], incomplete_path.parent)
        done, slow = threading.Event(), threading.Event()

        def watch() -> None:
            before = counted[0]
            while not done.wait(pace.WINDOW):
                if counted[0] - before < pace.LEAST_RATE * pace.WINDOW:
                    slow.set()
                    return abort_xet_session()
                before = counted[0]

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            xet_get(incomplete_path=incomplete_path, expected_size=expected_size, **named)
        except BaseException:
            if slow.is_set():  # the package itself only says that it was cancelled
                raise TimeoutError(pace.too_slow()) from None
            raise
        finally:
            done.set()
            watcher.join()

    return get


def _counting(update: Callable[..., None], counted: list[int]) -> Callable[..., None]:
    """Counts the bytes that came and the bytes that were written, of all files together."""

    def updated(self: Any, report: Any, *given: Any, **named: Any) -> None:
        before = self._prev_bytes_completed + self._prev_transfer_bytes_completed
        update(self, report, *given, **named)
        counted[0] += self._prev_bytes_completed + self._prev_transfer_bytes_completed - before

    return updated
