"""Folders whose config.json bears the model type that this package once shared with ZH-CLIP (thu-ml/zh-clip).

Which of the two it is, and what to say of it, is decided in `hf_zhclip.configuration_zhclip`; here is who asks.
"""

from pathlib import Path
from typing import NoReturn

from hf_zhclip.configuration_zhclip import namesake, namesake_words

from .errors import InputError, UnknownFormat
from .read import Checkpoint, read_json


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
        UnknownFormat: "older" of a repo of this package, "unknown" of ZH-CLIP.
    """
    kind = _kind(checkpoint)
    if kind == "older":
        _refuse_older(checkpoint)
    if kind is not None:
        words = namesake_words(kind, checkpoint.hub_id or checkpoint.path)
        raise UnknownFormat(words, "unknown" if kind == "other" else "older")


def mending(checkpoint: Checkpoint) -> str | None:
    """What mends a repo of an older version, for who is only asked what it is; None of anything else."""
    kind = _kind(checkpoint)
    return namesake_words(kind, checkpoint.hub_id or checkpoint.path) if kind == "older" else None


def _kind(checkpoint: Checkpoint) -> str | None:
    return namesake(checkpoint.folder or checkpoint.path, checkpoint.config)


def _refuse_older(checkpoint: Checkpoint) -> NoReturn:
    # `convert OLD NEW` is going to be decided here.
    raise UnknownFormat(
        f"A repo of an older version of hf_zhclip is not converted yet, and {checkpoint.name} is one (model_type "
        "'zhclip', with a conversion_report.json): convert its original again.",
        "older",
    )
