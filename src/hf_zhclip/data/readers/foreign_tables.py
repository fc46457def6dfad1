"""Checks tables of strangers before the package datasets reads them: parquet files, and folders of `save_to_disk`."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from huggingface_hub.repocard import REGEX_YAML_BLOCK

from ...budget import MOST_COLUMNS, MOST_RECIPE_BYTES, ROWS_PER_BYTE, SPARE_BYTES, check_regular
from ...errors import InputError
from ...json_files import Field, brief, check_each, check_fields, read_json
from ...yaml_files import parse_yaml
from . import row_counting

SAVED, SEVERAL = "state.json", "dataset_dict.json"
"""What marks a folder of `save_to_disk`: of a data set, and of several splits."""

README, METADATA = "README.md", ".huggingface.yaml"


def check_rows(files: Sequence[Path]) -> None:
    """Refuses tables whose rows take far more than their files: a value that stands once may count for any rows.

    The package datasets would write all rows to the disk before it gives one.

    Raises:
        InputError: see above, or a table is damaged.
    """
    sizes = {str(file): file.stat().st_size for file in files}  # a file may belong to several splits
    most = {file: ROWS_PER_BYTE * size + SPARE_BYTES for file, size in sizes.items()}
    for file, found in zip(most, _answers(most), strict=True):
        if "error" in found:
            raise InputError(f"{file} cannot be read: {found['error']}")
        if "columns" in found:
            raise InputError(
                f"{file} has {found['columns']:,} columns and fields; at most {MOST_COLUMNS} were wanted: pictures, "
                "texts and their ids."
            )
        if "memory" in found or found["bytes"] > most[file]:
            raise InputError(
                f"{file} holds rows of more than {found.get('memory', most[file]):,} bytes in {sizes[file]:,} bytes: "
                "values that repeat. A data set of pictures was wanted."
            )


def _answers(most: Mapping[str, int]) -> list[dict[str, Any]]:
    """What the process says of each file; of the file at which it was ended, that it is damaged."""
    with subprocess.Popen(
        [sys.executable, row_counting.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps({"files": most, "columns": MOST_COLUMNS}) + "\n")
            process.stdin.flush()
            found = [json.loads(line) for line in process.stdout]
        finally:
            process.kill()
    missing = len(most) - len(found)
    return found + [{"error": "pyarrow, which reads it, was ended by the system; the file is damaged."}] * missing


# Folders of `save_to_disk`


def saved_files(folder: Path) -> list[Path]:
    """The Arrow files of a folder of `save_to_disk`.

    Raises:
        InputError: a file is no such JSON, or names a file elsewhere.
    """
    files = []
    if (several := folder / SEVERAL).exists():
        splits = _names(read_json(several), "splits", several)
        files += [file for name in splits for file in saved_files(folder / _inside(name, several))]
    if (state := folder / SAVED).exists():
        read_json(folder / "dataset_info.json")
        parts = _names(read_json(state), "_data_files", state)
        check_each(parts, {"filename": Field((str,))}, f"_data_files of {state}")
        files += [folder / _inside(part["filename"], state) for part in parts]
    return files


def _names(found: Mapping[str, Any], field: str, path: Path) -> list[Any]:
    check_fields(found, {field: Field((list,))}, str(path))
    return found[field]


def _inside(name: Any, path: Path) -> str:
    if isinstance(name, str) and name not in ("", ".", "..") and name == PurePosixPath(name).name:
        if name == PureWindowsPath(name).name:
            return name
    raise InputError(f"{path} names {brief(name)}; the name of a file in its folder was wanted.")


# README.md, whose metadata say which files are read


def check_metadata(file: Path, name: str = README) -> None:
    """Refuses metadata of a data set that name files elsewhere, or take long to read.

    Args:
        file: README.md or .huggingface.yaml; it may be missing.
        name: which of the two it is.

    Raises:
        InputError: see above.
    """
    if not file.exists():
        return
    check_regular(file, "the metadata of a data set")
    with file.open(encoding="utf-8", errors="replace", newline="") as opened:
        text = opened.read(2 * MOST_RECIPE_BYTES)
    if name == README:
        block = REGEX_YAML_BLOCK.search(text)
        if block is None and not text.lstrip().startswith("---"):
            return
        text = text if block is None else block[2]
    if len(text) > MOST_RECIPE_BYTES:
        raise InputError(
            f"the metadata of {file} have more than {MOST_RECIPE_BYTES:,} characters; the metadata of a data set were "
            "wanted. Name its parquet file instead of the folder."
        )
    found = parse_yaml(text.encode(), str(file))
    for place in _strings(found.get("configs") if isinstance(found, dict) else None):
        windows = PureWindowsPath(place)
        if windows.drive or windows.root or "~" in windows.parts or ".." in windows.parts or ":" in place:
            raise InputError(
                f"{file} names {brief(place)} in its configs; files of the data set were wanted. Name its parquet "
                "file instead of the folder."
            )


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)
