"""SOURCE as users write it -> a path on this machine: what exists wins, otherwise `user/repo` or `user/repo:file`."""

import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from .errors import InputError, WorkError
from .read import WEIGHTS, Checkpoint, read

HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?::(?P<file>[^:]+))?")
BESIDE = ("config.json", "vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
"""Small files that a Hugging Face folder's weights need beside them."""


def locate(source: str | Path) -> Path:
    """The local path of a source; a hub id is downloaded into the hub's own cache.

    Raises:
        InputError: when nothing of that name exists, here or on the hub.
        WorkError: when the hub could not be reached.
    """
    if str(source) and (path := _expanded(source)) is not None and os.path.exists(path):
        return path
    match = HUB_ID.fullmatch(str(source))
    if match is None or str(source).startswith((".", "/", "~")):
        raise InputError(f"{source} does not exist. Wanted: a file, a folder, or user/repo[:file] on the hub.")
    return _download(match["repo"], match["file"])


def _expanded(source: str | Path) -> Path | None:
    try:
        return Path(source).expanduser()
    except RuntimeError:  # ~somebody who has no home here
        return None


def read_source(source: str | Path) -> Checkpoint:
    """Reads a source as users write it; one from the hub keeps its name there, not that of a folder in the cache."""
    path = locate(source)
    return replace(read(path), hub_id="" if path == Path(source).expanduser() else str(source))


def _download(repo: str, file: str | None) -> Path:
    import huggingface_hub
    from huggingface_hub import errors

    try:
        if file is not None:
            return Path(huggingface_hub.hf_hub_download(repo, file))
        return Path(_download_folder(huggingface_hub, repo))
    except (errors.HFValidationError, errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise InputError(
            f"{repo} does not exist: there is no such file or folder here, and no such public repository on the hub "
            "(for a private one log in with `hf auth login`)."
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise WorkError(
            f"{repo} is not in the cache, and the hub could not be reached: {_first_line(error)}"
        ) from error
    except errors.EntryNotFoundError as error:
        raise InputError(f"{repo} has no file {file}. Look at what it has, and name one as {repo}:FILE.") from error
    # HTTPError is that of httpx or of httpx2, whichever this huggingface_hub uses.
    except (errors.HTTPError, errors.OfflineModeIsEnabled, OSError) as error:
        raise WorkError(f"{repo} could not be downloaded: {_first_line(error)}") from error


def _download_folder(huggingface_hub, repo: str) -> str:
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        return huggingface_hub.snapshot_download(repo)
    names = {sibling.rfilename for sibling in huggingface_hub.model_info(repo).siblings or ()}
    weights = next((name for name in WEIGHTS if name in names), None)
    if weights is None:
        files = sorted(name for name in names if name.endswith((".pt", ".pth", ".ckpt", ".bin", ".safetensors")))
        hint = f"It holds {', '.join(files)}: name one as {repo}:FILE." if files else "It holds no weights."
        raise InputError(f"{repo} holds none of {', '.join(WEIGHTS)}. {hint}")
    return huggingface_hub.snapshot_download(repo, allow_patterns=[*BESIDE, *_weight_patterns(weights)])


def _weight_patterns(weights: str) -> Iterable[str]:
    if weights.endswith(".index.json"):
        stem, suffix = weights.removesuffix(".index.json").rsplit(".", 1)
        return weights, f"{stem}-*.{suffix}"
    return (weights,)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
