"""Folders whose config.json bears the model type that this package once shared with ZH-CLIP (thu-ml/zh-clip).

Which of the two it is, and what to say of it, is decided in `hf_zhclip.configuration_zhclip`; here is who asks.
"""

from pathlib import Path

from hf_zhclip.configuration_zhclip import namesake, namesake_words

from ..errors import InputError, OlderRepo, UnknownFormat
from .json_files import read_json
from .read import Checkpoint


def refuse_namesake(folder: Path, name: str | Path | None = None) -> None:
    """Refuses a folder of ZH-CLIP, and a repo that an older version of this package wrote.

    Args:
        folder: where config.json lies, if there is one.
        name: what the user calls it, where that is not the folder.

    Raises:
        InputError: it is one of them; of a repo the message names the command that mends it.
    """
    if not (folder / "config.json").is_file():
        return
    if kind := namesake(folder, read_json(folder / "config.json")):
        raise InputError(namesake_words(kind, name or folder))


def refuse_namesake_checkpoint(checkpoint: Checkpoint) -> None:
    """The same of a checkpoint that was read, for `inspect` and `convert`.

    Raises:
        OlderRepo: of a repo of this package, which `convert` takes.
        UnknownFormat: of a folder that was saved from one, and of ZH-CLIP.
    """
    kind = _kind(checkpoint)
    if kind is None:
        return
    words = namesake_words(kind, checkpoint.hub_id or checkpoint.path)
    if kind == "older":
        raise OlderRepo(words, checkpoint)
    raise UnknownFormat(words, "unknown" if kind == "other" else "older")


def mending(checkpoint: Checkpoint) -> str | None:
    """What mends a repo of an older version, for who is only asked what it is; None of anything else."""
    kind = _kind(checkpoint)
    return namesake_words(kind, checkpoint.hub_id or checkpoint.path) if kind == "older" else None


def _kind(checkpoint: Checkpoint) -> str | None:
    return namesake(checkpoint.folder or checkpoint.path, checkpoint.config)
