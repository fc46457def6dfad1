"""SHA-256 of large files, computed in a thread beside other work."""

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event
from types import TracebackType

from hf_zhclip.amounts import shown_amount
from hf_zhclip.telling import shown

from .files import digest, sha256


class Hashes:
    """Hashes files one after the other, in the order in which they are begun; leaving the block ends the work.

    A file must not change any more when it is begun.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._begun: dict[Path, Future[str]] = {}
        self._done: dict[Path, int] = {}
        self._left = Event()

    def __enter__(self) -> "Hashes":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        self._pool.shutdown(cancel_futures=True)

    def begin(self, paths: Iterable[Path]) -> None:
        """Hashes these files in the background."""
        for path in paths:
            if path not in self._begun:
                self._done[path] = 0
                self._begun[path] = self._pool.submit(self._hash, path)

    def of(self, path: Path) -> str:
        """The file's SHA-256 in hexadecimal; waits for it and shows how much is done.

        Raises:
            OSError: the file cannot be read.
        """
        if path not in self._begun:
            return sha256(path)
        begun, done = self._begun[path], 0
        with shown_amount(f"Hashing {shown(path.name)}", path.stat().st_size) as advance:
            while wait([begun], timeout=0.2).not_done:
                now = self._done[path]
                advance(now - done)
                done = now
        return begun.result()

    def _hash(self, path: Path) -> str:
        def advance(amount: int) -> None:
            self._done[path] += amount

        return digest(path, advance, self._left.is_set)
