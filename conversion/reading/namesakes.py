"""Folders whose config.json bears the model type that this package once shared with ZH-CLIP (thu-ml/zh-clip).

ZH-CLIP is a source (`sources/zh_clip.py`), and no repo of this package. Which of the two a folder is, and what to say
of it, is decided in `hf_zhclip.configuration_zhclip`; here is who asks.
"""

from pathlib import Path

from hf_zhclip.configuration_zhclip import namesake, namesake_words

from ..errors import InputError, OlderRepo, UnknownFormat
from .json_files import read_json
from .read import Checkpoint


def refuse_namesake(folder: Path) -> None:
    """Refuses as a converted repo a folder of ZH-CLIP, and a repo that an older version of this package wrote.

    Args:
        folder: where config.json lies, if there is one.

    Raises:
        InputError: it is one of them; the message names the command that makes a repo of it.
    """
    if kind := _kind_of(folder):
        raise InputError(namesake_words(kind, folder))


def refuse_older_folder(folder: Path, name: str | Path) -> None:
    """Refuses as a source what came from an older version of this package; ZH-CLIP is a source as others are.

    Args:
        folder: where config.json lies, if there is one.
        name: what the user calls it.

    Raises:
        InputError: it is such a folder; the message says what mends it.
    """
    if (kind := _kind_of(folder)) and kind != "other":
        raise InputError(namesake_words(kind, name))


def refuse_older_checkpoint(checkpoint: Checkpoint) -> None:
    """The same of a checkpoint that was read, for `inspect` and `convert`.

    Raises:
        OlderRepo: of a repo of this package, which `convert` takes.
        UnknownFormat: of a folder that was saved from one.
    """
    kind = _kind(checkpoint)
    if kind in (None, "other"):
        return
    words = namesake_words(kind, checkpoint.hub_id or checkpoint.path)
    if kind == "older":
        raise OlderRepo(words, checkpoint)
    raise UnknownFormat(words, "older")


def mending(checkpoint: Checkpoint) -> str | None:
    """What mends a repo of an older version, for who is only asked what it is; None of anything else."""
    kind = _kind(checkpoint)
    return namesake_words(kind, checkpoint.hub_id or checkpoint.path) if kind == "older" else None


def _kind_of(folder: Path) -> str | None:
    file = folder / "config.json"
    return namesake(folder, read_json(file)) if file.is_file() else None


def _kind(checkpoint: Checkpoint) -> str | None:
    return namesake(checkpoint.folder or checkpoint.path, checkpoint.config)
