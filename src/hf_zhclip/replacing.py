"""Which folder `--force` may replace: one that a command wrote, and that holds nothing else."""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from .errors import InputError
from .json_files import read_any_json

OF_SYSTEMS = (
    *(".DS_Store", "Thumbs.db", "desktop.ini"),
    *(".*.zhclip-*", ".gitattributes", ".cache/huggingface/**", "**/__pycache__/**", "**/.ipynb_checkpoints/**"),
)
"""What systems, killed runs, the hub's client, Python and notebooks put into any folder, and make again."""

TOKENIZER = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.txt", "vocab.json", "merges.txt", "*.model"),
)
"""The files of transformers' tokenizers."""

WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json")
"""The names that transformers gives to weights."""


class Obstacle(NamedTuple):
    """Why something that exists is not replaced: the words after its name, and a way out beside another place."""

    found: str
    way: str = ""


@dataclass(frozen=True)
class Kind:
    """What a command writes.

    Attributes:
        title: the words for such a folder in messages.
        marks: the files of which a folder of this kind holds one; where a file's JSON decides, the field that it has
            and the values of which the field has one (none: any).
        names: patterns of the files in such a folder; `**` stands for any number of folders, and {} for each key of
            `listed`.
        listed: a JSON file of the folder, and its field whose keys name what belongs to the folder.
    """

    title: str
    marks: Mapping[str, tuple[str, tuple[str, ...]] | None]
    names: tuple[str, ...]
    listed: tuple[str, str] | None = None


REPO = Kind(
    title="repo",
    marks={
        "conversion_report.json": ("format_version", ()),
        "config.json": ("model_type", ("hf_zhclip",)),
    },
    names=(
        *("{}", "conversion_report.json", "measured_figures.json", "README.md", *WEIGHTS, *TOKENIZER),
        *("config.json", "generation_config.json", "processor_config.json", "preprocessor_config.json"),
        *("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json", "?_*/config.json"),
        *("*_zhclip.py", "*_zhclip_resnet.py"),
    ),
    listed=("conversion_report.json", "files"),
)
"""What `convert` writes, and what saving writes of its model."""


def obstacle(out: Path, kind: Kind) -> Obstacle | None:
    """Why a folder is not replaced; None if it may be replaced. An empty folder may."""
    if (place := _place(out)) or not any(out.iterdir()):
        return place
    if not any(is_mark(out / name, wanted) for name, wanted in kind.marks.items()):
        return Obstacle(f"holds no {kind.title} (no {' or '.join(map(_told, kind.marks.items()))})")
    names = tuple(_names(out, kind))
    foreign = next((each for each in _files(out) if not any(_fits(each, name) for name in names)), None)
    if foreign is not None:
        away = foreign.partition("/")[0]
        return Obstacle(f"holds {foreign}, which no {kind.title} holds", f", or move {away} out of it first")
    return None


def _place(out: Path) -> Obstacle | None:
    """What a folder is besides a result: a replacement would take more than its files."""
    with suppress(OSError):  # the current directory was removed
        if any(each.samefile(out) for each in (Path.cwd(), *Path.cwd().parents)):
            return Obstacle("holds the current directory")
    if not os.access(out, os.W_OK):  # it could be moved aside, but its files not removed there
        return Obstacle("is protected against writing")
    if os.path.lexists(out / ".git"):
        return Obstacle("is the root of a git repository")
    return Obstacle("is the root of a disk") if os.path.ismount(out) else None


def is_mark(file: Path, wanted: tuple[str, tuple[str, ...]] | None) -> bool:
    """Whether a file is a mark of a kind of folder: see `Kind.marks`."""
    if wanted is None or not file.is_file():
        return file.is_file()
    field, values = wanted
    content = _json(file)
    return isinstance(content, dict) and field in content and (not values or content[field] in values)


def _told(mark: tuple[str, tuple[str, tuple[str, ...]] | None]) -> str:
    name, wanted = mark
    if wanted is None:
        return name
    field, values = wanted
    return f"{name} with {field}{' ' if values else ''}{' or '.join(values)}"


def _names(out: Path, kind: Kind) -> Iterator[str]:
    listed = _listed(out, kind)
    for name in kind.names:
        yield from (name.format(each) for each in listed) if "{}" in name else (name,)
    yield from OF_SYSTEMS


def _listed(out: Path, kind: Kind) -> list[str]:
    if kind.listed is None:
        return []
    file, field = kind.listed
    content = _json(out / file)
    listed = content.get(field) if isinstance(content, dict) else None
    return [_literally(each) for each in listed] if isinstance(listed, dict) else []


def _literally(name: str) -> str:
    """A pattern that fits the name alone."""
    return "".join(f"[{each}]" if each in "*?[" else each for each in name)


def _json(file: Path) -> Any:
    try:
        return read_any_json(file)
    except (InputError, OSError):
        return None


def _files(out: Path) -> Iterator[str]:
    """The paths of all that is no folder, and of folders where a disk or a git repository begins."""
    for place, folders, files in os.walk(out):
        inner = Path(place)
        for name in (*files, *(each for each in folders if _is_own(inner / each))):
            yield (inner / name).relative_to(out).as_posix()


def _is_own(folder: Path) -> bool:
    return folder.name == ".git" or folder.is_symlink() or os.path.ismount(folder)


def _fits(path: str, pattern: str) -> bool:
    return _parts_fit(path.split("/"), pattern.split("/"))


def _parts_fit(path: list[str], pattern: list[str]) -> bool:
    if not pattern or not path:
        return path == pattern
    if pattern[0] == "**":
        return any(_parts_fit(path[start:], pattern[1:]) for start in range(len(path) + 1)) or pattern == ["**"]
    return fnmatchcase(path[0], pattern[0]) and _parts_fit(path[1:], pattern[1:])
