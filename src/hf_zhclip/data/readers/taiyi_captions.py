"""Taiyi's captions: a line is `key#number`, a tab and a caption; the picture is `key.jpg`.

Source: Fengshenbang-LM, fengshen/data/clip_dataloader/flickr.py.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from ...errors import InputError
from ...steady import steady
from ..captioned import Row, check_captions, split_of_rows
from ..formats import Format
from ..split import Split, as_id
from .picture_folder import is_picture

LINE = re.compile(r"(?P<key>[^\t#]+)#(?P<number>[0-9]+)\t(?P<text>[^\t]*)")
WANTED = "key#number, a tab and a caption were wanted"
OTHER = (".csv", ".tsv", ".jsonl", ".json")
MOST_LINE = 2**20


def _claims(place: str) -> bool:
    path = Path(place)
    if not path.is_file() or path.suffix.lower() in OTHER or is_picture(path.name):
        return False
    with path.open("rb") as file:
        first = file.readline(MOST_LINE).decode("utf-8-sig", errors="replace")
    return LINE.fullmatch(first.strip()) is not None


def read(place: str, split: str, pictures: Path | None = None) -> Split:
    """Reads the captions; by default the pictures lie beside their file.

    A picture's id is its key, and a text's id is `key#number`.

    Raises:
        InputError: a line is wrong, or a picture is missing.
    """
    path = Path(place)
    check_captions(path)
    folder = path.parent if pictures is None else pictures
    return split_of_rows(split, _rows(path), folder, path)


def _rows(path: Path) -> Iterator[Row]:
    with steady(path) as file:
        for number, content in enumerate(iter(lambda: file.readline(MOST_LINE), b""), start=1):
            where = f"{path}, line {number}"
            try:
                line = content.decode("utf-8-sig").strip("\r\n")
            except UnicodeDecodeError as error:
                raise InputError(f"{where} is no UTF-8; {WANTED}. Save the file as UTF-8.") from error
            if not line.strip():
                continue
            if not (found := LINE.fullmatch(line.strip())):
                raise InputError(f"{where} is another line; {WANTED}.")
            key = found["key"]
            # Flickr30k's own token file has the suffix in the key.
            file_name = key if is_picture(os.path.basename(key)) else f"{key}.jpg"
            yield Row(where, file_name, found["text"], f"{key}#{found['number']}", as_id(key))


FORMAT = Format(
    wants="Taiyi's text file, each line of which is key#number, a tab and a caption; key.jpg lies beside it, or "
    "pictures (--pictures of `zhclip data`) names the folder",
    claims=_claims,
    splits=lambda place: (Path(place).stem,),
    read=read,
    pictures_elsewhere=True,
)
