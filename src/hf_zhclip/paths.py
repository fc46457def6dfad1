"""Paths whose links may go round in a circle."""

import os
from pathlib import Path


def resolved(path: str | os.PathLike[str]) -> Path:
    """The path without links; links that go round stay, where `Path.resolve` of Python 3.12 raises RuntimeError."""
    return Path(os.path.realpath(path))


def folders_in(folder: Path) -> list[str]:
    """The names of the folders in a folder, of links to folders, too.

    Without a look at each file, of which there may be a million.
    """
    with os.scandir(folder) as entries:
        # DirEntry.is_dir raises OSError for a link that leads to itself.
        return [each.name for each in entries if (os.path.isdir(each) if each.is_symlink() else each.is_dir())]
