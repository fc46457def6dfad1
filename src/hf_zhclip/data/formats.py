"""What a reader states of its format."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .split import Split


@dataclass(frozen=True)
class Format:
    """A format that `read` takes.

    Attributes:
        wants: what the format wants to see at a place, for messages.
        claims: whether a place looks like this format; it opens no picture. A place is a path, or a name on the hub.
        splits: the names of the splits at a place that the format claims, or that the user says is of the format.
        read: reads one of these splits. Its third argument is the folder that holds the pictures, if the user
            named a folder.
        read_pictures: reads the pictures of a split without its texts, where no text is needed to find them.
        joined: whether it also reads the pictures of all splits at once, as those of the split None.
        below: whether the folders inside of a place are read, too.
        pictures_elsewhere: whether the user may name that folder.
    """

    wants: str
    claims: Callable[[str], bool]
    splits: Callable[[str], Sequence[str]]
    read: Callable[[str, str, Path | None], Split]
    read_pictures: Callable[[str, str | None], Split] | None = None
    joined: bool = False
    below: bool = False
    pictures_elsewhere: bool = False
