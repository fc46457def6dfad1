"""A csv or jsonl file whose rows name a picture's file and its text.

CLIP-Chinese's csv has the columns text and filename (module/dataset.py, which joins the name to a picture folder);
`datasets`' image folders have a metadata.csv or metadata.jsonl with file_name; the csv of cn_clip's
dataset_transform.py has image_id, which is a file's name there, and caption. Other columns are ignored.

dataset_transform.py differs in three ways: it writes the file's name as text_id, which cn_clip's scorer refuses; it
encodes each picture again, which changes the pixels of a JPEG; and it divides by scikit-learn's random numbers.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...json_files import Field, brief, check_fields, read_json_lines
from ...steady import steady
from ..captioned import Row, check_captions, split_of_rows
from ..formats import Format
from ..split import Id, Split, as_id

FILE = ("file_name", "filename", "file", "image", "image_path", "image_id")
TEXT = ("text", "caption", "title")
"""Names of columns; of several that a file has, the first counts."""

SUFFIXES = (".csv", ".jsonl")
NO_CAPTIONS = ("_texts.jsonl", "_ids.jsonl")
"""cn_clip's texts, which name pictures by id, and our lists of numbered ids."""

MOST_FIELD = 2**20
"""Characters of a field. An unpaired quote makes the rest of the file one field."""


def is_captions(path: Path) -> bool:
    """Whether a path is a file of this kind, by its name."""
    return (
        path.suffix.lower() in SUFFIXES
        and not path.name.endswith(NO_CAPTIONS)
        and not path.name.startswith(".")
        and path.is_file()
    )


def read(place: str, split: str, pictures: Path | None = None) -> Split:
    """Reads a file of captions; by default its names are paths under its own folder.

    Raises:
        InputError: the file has no such columns, a row is wrong, or a picture is missing.
    """
    path = Path(place)
    check_captions(path)
    return split_of_rows(split, rows(path), path.parent if pictures is None else pictures, path)


def rows(path: Path) -> Iterator[Row]:
    """The captions of a file.

    Raises:
        InputError: the file is no UTF-8, has no such columns, or a row is wrong.
    """
    lines = _csv_rows(path) if path.suffix.lower() == ".csv" else read_json_lines(path)
    file, text = "", ""
    for where, values in lines:
        if not file:
            file, text = _column(FILE, values, where), _column(TEXT, values, where)
        check_fields(values, {file: Field((str,)), text: Field((str,))}, where)
        image_id = None if file == "image_id" else _stated(values, "image_id", where)
        yield Row(where, values[file], values[text], _stated(values, "text_id", where), image_id)


def _column(names: Sequence[str], values: Mapping[str, Any], where: str) -> str:
    if found := [name for name in names if name in values]:
        return found[0]
    raise InputError(
        f"{where} has the columns {', '.join(map(str, values))}; one of {', '.join(names)} was wanted. Rename the "
        "column."
    )


def _stated(values: Mapping[str, Any], name: str, where: str) -> Id | None:
    value = values.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise InputError(f"{where} has {brief(value)} as {name}; a whole number or a text was wanted.")
    return as_id(str(value))


def _csv_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    limit = csv.field_size_limit(MOST_FIELD)
    with io.TextIOWrapper(steady(path), encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
            _check_header(header, path)
            for values in reader:
                where = f"{path}, line {reader.line_num}"
                if len(values) != len(header) and values:
                    raise InputError(
                        f"{where} has {len(values)} fields; {len(header)} were wanted, as in the first line. Put a "
                        'field that holds a comma into quotes: "…".'
                    )
                if values:
                    yield where, dict(zip(header, values, strict=True))
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path} is no UTF-8 (it may be GBK, as Excel writes in China); UTF-8 was wanted. Save it again as "
                "UTF-8: in Excel as 'CSV UTF-8', elsewhere with iconv -f GB18030 -t UTF-8."
            ) from error
        except csv.Error as error:
            raise InputError(
                f"{path}, line {reader.line_num}, is no csv: {error}. A quote inside a field is written twice."
            ) from error
        finally:
            csv.field_size_limit(limit)


def _check_header(header: Sequence[str], path: Path) -> None:
    if len(set(header)) != len(header) or not header:
        raise InputError(f"{path} begins with {brief(','.join(header))}; a line with the columns' names was wanted.")


FORMAT = Format(
    wants=f"a csv or jsonl file with a column {FILE[0]} (or {', '.join(FILE[1:])}) and a column {TEXT[0]} "
    f"(or {', '.join(TEXT[1:])}); it lies in the folder of the pictures, or pictures (--pictures of `zhclip data`) "
    "names that folder",
    claims=lambda place: is_captions(Path(place)),
    splits=lambda place: ("train",),
    read=read,
    pictures_elsewhere=True,
)
