"""What a writer states of its format."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..split import Split


@dataclass(frozen=True)
class Writer:
    """A format that `prepare` writes.

    Attributes:
        write: writes splits into an empty folder; it calls its third argument with the number of pictures (of pairs,
            if the format holds a picture for each pair) that are done.
        modules: packages that it needs.
        whole_numbers: whether ids are whole numbers there.
        of_pairs: whether it holds a row for each pair, so that a split without pairs cannot be written.
        growth: bytes that it writes for a byte of a picture.
    """

    write: Callable[[Sequence[Split], Path, Callable[[int], object]], None]
    modules: tuple[str, ...] = ()
    whole_numbers: bool = True
    of_pairs: bool = False
    growth: float = 4 / 3
