"""The code that a repo holds and names, compared byte for byte with the code of hf_zhclip's versions; none is run."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from hf_zhclip.json_files import read_any_json
from hf_zhclip.saving_zhclip import AUTO_MAPS, CODE_FILES, CODE_VERSION

from ..errors import InputError
from ..reading.files import sha256
from ..ways_out import finishing
from .doors import NO_CODE
from .write import write_json

RELEASED = "released_code.json"
"""Version -> file -> SHA-256, for every released version; `make code-hashes` adds a version at its release."""

SETTINGS = (
    "config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "tokenizer_config.json",
    "modules.json",
)
"""The files in which transformers and sentence-transformers find the names of classes that they import."""


@dataclass(frozen=True)
class OwnCode:
    """`files` is the number of Python files, `version` the version of hf_zhclip that all of them are of.

    `foreign` names what is of no version: files, files that are missing, and classes that a JSON file names.
    """

    files: int
    version: str | None
    foreign: tuple[str, ...]


def versions() -> dict[str, dict[str, str]]:
    """Version -> file -> SHA-256, for this package's own files first, then for the released versions."""
    package = resources.files("hf_zhclip")
    own = {name: sha256(Path(str(package / name))) for name in CODE_FILES}
    released = read_any_json(Path(str(resources.files("hf_zhclip.conversion.repos") / RELEASED)))
    return {CODE_VERSION: own, **{version: files for version, files in released.items() if version != CODE_VERSION}}


def examine(hashes: Mapping[str, str], settings: Mapping[str, Any]) -> OwnCode:
    """Examines a repo's code.

    Args:
        hashes: the SHA-256 of every Python file, by its name in the repo.
        settings: the content of every file of `SETTINGS`, by its name.
    """
    version, different = _version(hashes) if hashes else (None, ())
    return OwnCode(len(hashes), version, (*different, *_foreign_classes(settings, bool(hashes))))


def own_code(folder: Path) -> OwnCode:
    """Examines the code of a folder.

    Raises:
        InputError: a file of `SETTINGS` is no JSON.
    """
    # Hidden folders are a version control's or an editor's, and no repo's.
    there = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.py") if path.is_file()}
    shown = {name: path for name, path in there.items() if not any(part.startswith(".") for part in Path(name).parts)}
    settings = {name: read_any_json(folder / name) for name in SETTINGS if (folder / name).is_file()}
    return examine({name: sha256(path) for name, path in sorted(shown.items())}, settings)


def refuse_foreign_code(folder: Path, code: OwnCode) -> None:
    """Refuses a repo with code that is of no version: whoever trusts the repo would run it.

    Raises:
        InputError: there is such code.
    """
    if code.foreign:
        raise InputError(
            f"{folder} has code from no known version of hf_zhclip: {', '.join(code.foreign)}. A reader's "
            f"trust_remote_code=True could run this code. {_way_out(folder, code.foreign)}"
        )


def _way_out(folder: Path, foreign: Sequence[str]) -> str:
    if all(name.endswith(".py") and name not in CODE_FILES for name in foreign):
        return f"No converted repo holds such a file. Move it to a place outside {folder}."
    return (
        f"{finishing(folder)} writes the code of this version ({CODE_VERSION}). REPO is the converted repo that the "
        "folder was trained from, or its original, converted again. If a later version of hf_zhclip wrote the folder, "
        "update hf_zhclip."
    )


def _version(hashes: Mapping[str, str]) -> tuple[str | None, tuple[str, ...]]:
    """The version of these files; if there is none, the files that differ from the nearest version."""
    known = versions()
    nearest = max(known, key=lambda version: len(known[version].items() & hashes.items()))
    wanted = known[nearest]
    missing = [f"{name} (missing)" for name in sorted(wanted.keys() - hashes.keys())]
    different = [name for name, digest in sorted(hashes.items()) if wanted.get(name) != digest]
    return (None if missing or different else nearest), (*different, *missing)


def _foreign_classes(settings: Mapping[str, Any], has_code: bool) -> Iterator[str]:
    """Every class that a JSON file tells a reader to import, and that is none of ours."""
    ours = {pair for auto_map in (AUTO_MAPS.values() if has_code else (NO_CODE,)) for pair in auto_map.items()}
    for name, content in settings.items():
        if name == "modules.json":
            yield from (f"the type {kind!r} in {name}" for kind in _types(content) if not _is_stock(kind))
        else:
            for auto, named in _auto_maps(content):
                if not isinstance(named, str) or (auto, named) not in ours:
                    yield f"auto_map {auto}: {named!r} in {name}"


def _auto_maps(value: Any) -> Iterator[tuple[str, Any]]:
    """The entries of every auto_map, at any depth; older files have a list in place of an object."""
    if isinstance(value, list):
        for each in value:
            yield from _auto_maps(each)
    if not isinstance(value, dict):
        return
    for name, each in value.items():
        if name != "auto_map":
            yield from _auto_maps(each)
        elif isinstance(each, dict):
            yield from each.items()
        elif each is not None:
            yield "-", each


def _types(modules: Any) -> Iterator[Any]:
    rows = modules if isinstance(modules, list) else [modules]
    yield from (row.get("type") if isinstance(row, dict) else row for row in rows)


def _is_stock(kind: Any) -> bool:
    return isinstance(kind, str) and kind.startswith("sentence_transformers.")


def add_release(table: Path) -> None:
    """Writes this package's own files into the table of released versions.

    Raises:
        InputError: the table has other files for this version, which has been released: another number is needed.
    """
    released, own = read_any_json(table), versions()[CODE_VERSION]
    if released.setdefault(CODE_VERSION, own) != own:
        raise InputError(
            f"{table} has other files for {CODE_VERSION}: this version was released, and its code changed later. "
            "Raise CODE_VERSION in src/hf_zhclip/saving_zhclip.py and the version in pyproject.toml."
        )
    write_json(table, released)


if __name__ == "__main__":
    add_release(Path(sys.argv[1]))
