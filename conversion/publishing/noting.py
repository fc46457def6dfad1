"""What `zhclip evaluate --card` does with figures: notes them in a repo's folder and writes its card again."""

import shlex
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from hf_zhclip.paths import resolved

from ..errors import InputError
from .card_measured import check_figures, note
from .cards import card, check_writable

SHOWN = ("split", "classes", "templates", "threshold", "as_cn_clip", "context_length", "device")
"""The options that a card shows; the others change no figure."""


def check_noting(repo: str | None, data: str | None) -> None:
    """Refuses a repo whose card could not be written, before anything is measured.

    Raises:
        InputError: `repo` is no converted repo in a folder, its README.md was edited, or its earlier figures are
            damaged.
    """
    if repo is None or data is None or not Path(repo).is_dir():
        raise InputError(
            f"--card notes figures in a repo's folder, but {repo or 'nothing'} was given as REPO. Give the folder of "
            "a converted repo and DATA, or leave out --card."
        )
    check_writable(Path(repo), force=False)
    check_figures(Path(repo))


def note_on_card(options: Mapping[str, Any], result: Mapping[str, Any]) -> Path:
    """Notes what was measured, and writes the card again.

    Args:
        options: the arguments of `hf_zhclip.evaluation.evaluate`.
        result: as `zhclip evaluate --json` prints it.

    Returns:
        The path of the card.

    Raises:
        InputError: see `check_noting`.
        WorkError: a file could not be written.
    """
    folder = Path(options["repo"])
    note(folder, result, dataset_of(options["data"]), options["split"], command_of(options))
    return card(folder)


def dataset_of(data: str) -> str:
    """The name of data for a card: a folder's name, the name at the end of an absolute path, or what was given."""
    place = Path(data)
    return resolved(place).name if place.is_dir() else _shown(data)


def is_path(place: str) -> bool:
    """Whether a place is a path of this machine alone."""
    return PurePosixPath(place).is_absolute() or PureWindowsPath(place).is_absolute()


def command_of(options: Mapping[str, Any]) -> str:
    """The command as a card shows it: of absolute paths only the names, which mean something on another machine."""
    words = ["zhclip", "evaluate", *(_shown(options[name]) for name in ("repo", "data"))]
    for name in SHOWN:
        option, value = f"--{name.replace('_', '-')}", options[name]
        if value is True:
            words.append(option)
        elif value not in (None, False):
            words += [option, _shown(str(value))]
    return shlex.join(words)


def _shown(word: str) -> str:
    if not is_path(word):
        return word
    return (PureWindowsPath if PureWindowsPath(word).is_absolute() else PurePosixPath)(word).name
