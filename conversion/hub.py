"""SOURCE as users write it -> a path here: what exists, a name of the catalogue, or what is on a hub by its id."""

import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from . import catalogue, hub_modelscope
from .errors import InputError
from .hub_errors import explain
from .read import REFUSED_FOLDERS, WEIGHTS, Checkpoint, read, refuse_marked

HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?::(?P<file>[^:]+))?")
SNAPSHOT = re.compile(r"/snapshots/(?P<commit>[0-9a-f]{40})(/|$)")
"""Where the hub's cache keeps the files of one commit."""

BESIDE = (
    *("config.json", "text_model_config.json", "vision_model_config.json"),
    *("preprocessor_config.json", "processor_config.json"),
    *("vocab.txt", "vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
)
"""Small files that a folder's weights need beside them."""


def locate(source: str | Path) -> Path:
    """The local path of a source; what is on the hub is downloaded into the hub's own cache.

    Raises:
        InputError: when nothing of that name exists, here or on the hub.
        WorkError: when the hub could not be reached.
    """
    if str(source) and (path := _expanded(source)) is not None and os.path.exists(path):
        return path
    if str(source).startswith(hub_modelscope.PREFIX):
        return hub_modelscope.download(str(source))
    match = HUB_ID.fullmatch(hub_id(source))
    if match is None or str(source).startswith((".", "/", "~")):
        raise InputError(
            f"{source} does not exist. Wanted: a file, a folder, a name that `zhclip list` prints, user/repo[:file] "
            "on the hub, or modelscope:user/repo[:file]."
        )
    # A name stands for what was published under it; an id for what lies there now.
    entry = None if "/" in str(source) else published(source)
    return _download(match["repo"], match["file"], entry.published.revision if entry else None)


def hub_id(source: str | Path) -> str:
    """The source as the hub names it: of a catalogue's name the entry's, of anything else itself."""
    entry = published(source)
    return entry.source if entry else str(source)


def published(source: str | Path) -> catalogue.Entry | None:
    """The catalogue's entry for a source: by its name, or by where it is published; what exists here is neither."""
    name = str(source)
    if not name or ((path := _expanded(source)) is not None and os.path.exists(path)):
        return None
    match = HUB_ID.fullmatch(name)
    return catalogue.find_by_hub(match["repo"], match["file"]) if match else catalogue.find(name)


def _expanded(source: str | Path) -> Path | None:
    try:
        return Path(source).expanduser()
    except RuntimeError:  # ~somebody who has no home here
        return None


def read_source(source: str | Path) -> Checkpoint:
    """Reads a source as users write it; one from the hub keeps its name there, not that of a folder in the cache."""
    path = locate(source)
    if path == _expanded(source):
        return read(path)
    snapshot = SNAPSHOT.search(path.as_posix())
    return replace(read(path), hub_id=hub_id(source), revision=snapshot["commit"] if snapshot else "")


def _download(repo: str, file: str | None, revision: str | None) -> Path:
    import huggingface_hub
    from huggingface_hub import errors

    try:
        if file is not None:
            return Path(huggingface_hub.hf_hub_download(repo, file, revision=revision))
        return Path(_download_folder(huggingface_hub, repo, revision))
    except errors.GatedRepoError as error:
        raise explain(error, repo) from error
    except (errors.HFValidationError, errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise InputError(
            f"{repo} does not exist: there is no such file or folder here, and no such public repository on the hub "
            "(for a private one log in with `hf auth login`)."
        ) from error
    except errors.RemoteEntryNotFoundError as error:
        wanted = f"file {file}" if file else "file that was listed a moment ago"
        raise InputError(f"{repo} has no {wanted}. Look at what it has, and name one as {repo}:FILE.") from error
    # HTTPError is that of httpx or of httpx2, whichever this huggingface_hub uses; of the system's errors the cache's.
    except (errors.HTTPError, OSError, RuntimeError) as error:
        told = explain(error, repo)
        raise type(told)(f"{repo} could not be downloaded, and is not in the cache. {told}") from error


def _download_folder(huggingface_hub, repo: str, revision: str | None) -> str:
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        return huggingface_hub.snapshot_download(repo, revision=revision)
    names = {sibling.rfilename for sibling in huggingface_hub.model_info(repo, revision=revision).siblings or ()}
    weights = next((name for name in WEIGHTS if name in names), None)
    if weights is None:
        refuse_marked(repo, names)
        files = sorted(name for name in names if name.endswith((".pt", ".pth", ".ckpt", ".bin", ".safetensors")))
        hint = f"It holds {', '.join(files)}: name one as {repo}:FILE." if files else "It holds no weights."
        raise InputError(f"{repo} holds none of {', '.join(WEIGHTS)}. {hint}")
    patterns = [*BESIDE, *REFUSED_FOLDERS, *_weight_patterns(weights)]
    return huggingface_hub.snapshot_download(repo, revision=revision, allow_patterns=patterns)


def _weight_patterns(weights: str) -> Iterable[str]:
    if weights.endswith(".index.json"):
        stem, suffix = weights.removesuffix(".index.json").rsplit(".", 1)
        return weights, f"{stem}-*.{suffix}"
    return (weights,)
