"""Folders whose config.json has the model type that this package once shared with ZH-CLIP (thu-ml/zh-clip).

ZH-CLIP is a source (`sources/zh_clip.py`), not a repo of this package. `hf_zhclip.configuration_zhclip` decides which
of the two a folder is, and what to say; this module holds the callers.
"""

from pathlib import Path

from hf_zhclip.configuration_zhclip import namesake, namesake_words
from hf_zhclip.json_files import read_json

from ..errors import InputError, OlderRepo, UnknownFormat
from .read import Checkpoint


def refuse_namesake(folder: Path) -> None:
    """Refuses a ZH-CLIP folder, and a repo from an older version of this package, as a converted repo.

    Args:
        folder: the folder of config.json, if there is a config.json.

    Raises:
        InputError: the folder is one of the two; the message names the command that makes a repo from it.
    """
    if kind := _kind_of(folder):
        raise InputError(namesake_words(kind, folder))


def refuse_older_folder(folder: Path, name: str | Path) -> None:
    """Refuses a folder from an older version of this package as a source; ZH-CLIP is a normal source.

    Args:
        folder: the folder of config.json, if there is a config.json.
        name: the user's name for it.

    Raises:
        InputError: the folder is from an older version; the message says what to do.
    """
    if (kind := _kind_of(folder)) and kind != "other":
        raise InputError(namesake_words(kind, name))


def refuse_older_checkpoint(checkpoint: Checkpoint) -> None:
    """Like `refuse_older_folder`, for a checkpoint that `inspect` or `convert` has read.

    Raises:
        OlderRepo: the checkpoint is a repo of this package, which `convert` accepts.
        UnknownFormat: the checkpoint is a folder that was saved from such a repo.
    """
    kind = _kind(checkpoint)
    if kind in (None, "other"):
        return
    words = namesake_words(kind, checkpoint.hub_id or checkpoint.path)
    if kind == "older":
        raise OlderRepo(words, checkpoint)
    raise UnknownFormat(words, "older")


def mending(checkpoint: Checkpoint) -> str | None:
    """What to do about a repo of an older version, for a caller that only asks what it is; None for anything else."""
    kind = _kind(checkpoint)
    return namesake_words(kind, checkpoint.hub_id or checkpoint.path) if kind == "older" else None


def _kind_of(folder: Path) -> str | None:
    file = folder / "config.json"
    return namesake(folder, read_json(file)) if file.is_file() else None


def _kind(checkpoint: Checkpoint) -> str | None:
    return namesake(checkpoint.folder or checkpoint.path, checkpoint.config)
