"""`modelscope:user/repo[:file]` -> a local path, by the modelscope package if it is installed."""

import importlib
import re
from pathlib import Path
from types import ModuleType

from huggingface_hub.constants import HF_HUB_OFFLINE

from ..errors import InputError, WorkError

ID = re.compile(r"modelscope:(?P<repo>[\w.-]+/[\w.-]+)(?::(?P<file>[^:]+))?")
ABSENT = "{} does not exist on ModelScope: {}. Look for the right name on ModelScope's pages."

FOLDER = ["*.json", "*.txt", "*.safetensors", "*pytorch_model*.bin"]
"""The files that a folder's weights need; sample files and pictures of the page are not downloaded."""


def download(source: str) -> Path:
    """The local path of a source on ModelScope, in the modelscope package's own cache.

    Raises:
        InputError: the package is not installed, or nothing with this name exists on ModelScope.
        WorkError: ModelScope cannot be reached.
    """
    match = ID.fullmatch(source)
    if match is None:
        raise InputError(f"{source} is no name on ModelScope. Wanted: modelscope:user/repo or …/repo:file.")
    check_inside(match["repo"], match["file"])
    modelscope, errors = _package()
    raised = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)]
    failures: tuple[type[Exception], ...] = (*raised, OSError, ValueError)
    options = {"local_files_only": HF_HUB_OFFLINE}
    try:
        if match["file"]:
            return Path(modelscope.model_file_download(match["repo"], match["file"], **options))
        return Path(modelscope.snapshot_download(match["repo"], allow_file_pattern=FOLDER, **options))
    except errors.NotExistError as error:
        raise InputError(ABSENT.format(source, error)) from error
    except failures as error:
        if getattr(getattr(error, "response", None), "status_code", None) == 404:
            raise InputError(ABSENT.format(source, error)) from error
        raise WorkError(f"{source} could not be downloaded: {error or type(error).__name__}") from error


def check_inside(repo: str, file: str | None) -> None:
    """Refuses a file that is no path inside its repository, on either hub.

    Raises:
        InputError: the path is absolute, contains `..`, or contains backslashes.
    """
    if file is not None and (file.startswith("/") or "\\" in file or ".." in file.split("/")):
        raise InputError(
            f"{file!r} is no path inside {repo}. Wanted: a file, named as on the repository's page. For a file on "
            "this machine, write its path alone."
        )


def _package() -> tuple[ModuleType, ModuleType]:
    try:
        return importlib.import_module("modelscope"), importlib.import_module("modelscope.hub.errors")
    except ImportError as error:
        raise InputError(
            f"The package modelscope fetches modelscope: sources, but it is not installed ({error}). Run "
            "`pip install modelscope`, or fetch the files yourself and name their folder."
        ) from error
