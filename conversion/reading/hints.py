"""Hints for a folder or zip that is no checkpoint: what the user can name instead."""

import os
import re
import shlex
from collections.abc import Callable, Collection
from pathlib import Path, PurePosixPath

from hf_zhclip.paths import resolved

from .pickles import some

WEIGHT_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".pkl")
"""Suffixes of files that may hold weights under any name."""

OF_TRAINING = re.compile(
    r"(optimizer|scheduler|scaler|training_args|sampler|random_states|rng_state)(_\d+)*\.(pt|pth|bin|pkl)"
)
"""Files that transformers' Trainer and accelerate write beside the weights, and that hold no weights."""

STEP = re.compile(r"checkpoint-(\d+)")

CACHED = re.compile(r"models--(?P<owner>[^/]+?)--(?P<name>[^/]+)")
"""The root folder of one repository in the hub's cache."""


def in_place_of(folder: Path, is_model: Callable[[Path], bool]) -> str:
    """What to name instead of a folder without weights; empty if nothing in it may be a model.

    Args:
        is_model: whether a folder's file names show a whole model.
    """
    if found := CACHED.fullmatch(resolved(folder).name):
        return _of_cache(folder, f"{found['owner']}/{found['name']}", is_model)
    names = sorted(path.name for path in folder.iterdir())
    files = [name for name in names if name.endswith(WEIGHT_SUFFIXES) and not OF_TRAINING.fullmatch(name)]
    links = [told for name in files if (told := dangling(folder / name))]
    choices = [name for name in files if (folder / name).exists()] + _models(folder, is_model)
    if choices:
        said = "one of them" if len(choices) > 1 else choices[0]
        return f"The folder holds {some(choices)}: name {said} instead of the folder."
    if links:
        return " ".join(links)
    parts = any(name.endswith(".distcp") for name in names)
    return "The folder holds parts (.distcp) without their .metadata." if parts else ""


def dangling(path: Path) -> str | None:
    """The message about a link to a missing file; None for anything else."""
    if os.path.exists(path) or not os.path.islink(path):  # neither raises for a name that no file can have
        return None
    return f"{path} is a link to {path.readlink()}, which does not exist. Put the file there, or fetch it again."


def to_unpack(path: Path, names: Collection[str]) -> str | None:
    """The message about a zip, by the names in it; None if no name may hold weights."""
    files = [name for name in names if name.endswith(WEIGHT_SUFFIXES)]
    if not files:
        return None
    folder = path.with_name(f"{path.stem}_unpacked")
    parents = {PurePosixPath(name).parent for name in files}
    inner = parents.pop() if len(parents) == 1 else PurePosixPath()
    beside = [name for name in names if PurePosixPath(name).parent == inner and not name.endswith("/")]
    target = folder / inner if len(beside) > 1 else folder / files[0]
    command = shlex.join(["python", "-m", "zipfile", "-e", str(path), str(folder)])
    return f"{path} is a zip file that holds {some(files)}: unpack it with `{command}`, and name {target}."


def _models(folder: Path, is_model: Callable[[Path], bool]) -> list[str]:
    """The models in the subfolders; a training's steps, the last first, only if no final model exists."""
    inner = _folders(folder)
    for places in (inner, [path for place in inner for path in _folders(place)]):
        models = [place for place in places if is_model(place)]
        final = [place for place in models if not STEP.fullmatch(place.name)]
        steps = sorted((place for place in models if place not in final), key=_step, reverse=True)
        if models:
            return [str(place.relative_to(folder)) for place in final or steps]
    # A fault in one step is reported when the user names this step.
    return [place.name for place in sorted(inner, key=_step, reverse=True) if STEP.fullmatch(place.name)]


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except PermissionError:
        return []


def _step(place: Path) -> int:
    found = STEP.fullmatch(place.name)
    return int(found[1]) if found else 0


def _of_cache(root: Path, repo: str, is_model: Callable[[Path], bool]) -> str:
    snapshots = sorted(root.glob("snapshots/*"), key=lambda place: place.stat().st_mtime, reverse=True)
    main = root / "refs" / "main"
    current = main.read_text(encoding="utf-8", errors="replace").strip() if main.is_file() else None
    whole = sorted(filter(is_model, snapshots), key=lambda place: place.name != current)
    if whole:
        return f"The folder is {repo} in the hub's cache: name {whole[0]}, or {repo}."
    return f"The folder is {repo} in the hub's cache, without weights. Name {repo}: the weights are then fetched."
