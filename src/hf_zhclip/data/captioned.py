"""Pictures that are files of a folder, and rows that name a file and a text."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

from ..errors import InputError
from ..steady import whole
from ..telling import near
from .split import Id, Pictures, Split, Text, checked


@dataclass(frozen=True)
class Row:
    """A caption. `text_id` and `image_id` are None where the file states none; `where` is its place for messages."""

    where: str
    file: str
    text: str
    text_id: Id | None = None
    image_id: Id | None = None


@dataclass(frozen=True)
class Files:
    """Pictures that are files, by their paths under a folder; by the names that are wrong, what is wrong."""

    folder: Path
    names: Sequence[str]
    wrong: Mapping[str, str] = field(default_factory=dict)

    def content(self, row: int) -> bytes:
        path = self.folder / self.names[row]
        if why := self.wrong.get(self.names[row]):
            raise InputError(f"{path} {why}")
        try:
            if not path.is_file():  # a pipe would block the reader
                raise InputError(f"{path} is no file; a picture was wanted.")
            return whole(path)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}.") from error

    def where(self, row: int) -> str:
        return str(self.folder / self.names[row])


def check_captions(path: Path) -> None:
    """Refuses a path that is no regular file.

    Raises:
        InputError: it is a folder, a device or a pipe, or does not exist.
    """
    if not path.is_file():
        raise InputError(
            f"{path} {'is no file' if path.exists() else 'does not exist'}; a file of captions was wanted."
        )


def split_of_rows(name: str, rows: Iterable[Row], folder: Path, place: Path) -> Split:
    """Joins captions with the pictures of a folder.

    A picture's id is the row's `image_id`, or its path under the folder. A text's id is the row's `text_id`, or the
    number of the row, from 0.

    Args:
        place: the file of the rows, for messages.

    Raises:
        InputError: a row names a file outside the folder or no file, or ids do not fit together.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; the folder of the pictures was wanted.")
    ids: dict[str, Id] = {}
    texts = []
    missing: dict[str, str] = {}
    for number, row in enumerate(rows):
        file = row.file if row.file in ids else inside(row.file, row.where)
        if file not in ids and not os.path.lexists(folder / file):
            missing.setdefault(file, row.where)
        image_id = ids.setdefault(file, file if row.image_id is None else row.image_id)
        if row.image_id not in (None, image_id):
            raise InputError(f"{row.where} gives {file} the id {row.image_id}; another row gave it {image_id}.")
        texts.append(Text(number if row.text_id is None else row.text_id, row.text, (image_id,)))
    _refuse_missing(missing, folder)
    pictures = Pictures.all_of(list(ids.values()), Files(folder, list(ids)))
    return checked(Split(name, texts, pictures), str(place))


def inside(file: str, where: str) -> str:
    """A path under a folder, as a POSIX path.

    Raises:
        InputError: on some system it leads out of the folder, or it is empty.
    """
    windows = PureWindowsPath(file)
    if not file.strip() or "\0" in file or windows.drive or windows.root or ".." in windows.parts:
        raise InputError(
            f"{where} names the file {file!r}; a path inside the folder of the pictures was wanted: not empty, "
            "not absolute, and without '..'."
        )
    return PurePosixPath(file).as_posix()


def _refuse_missing(missing: dict[str, str], folder: Path) -> None:
    if missing:
        file, where = next(iter(missing.items()))
        if (meant := _read_as_gbk(file)) and os.path.lexists(folder / meant):
            raise InputError(
                f"{where} names the file {file!r}, whose bytes are {meant} in GBK: the file of captions is no UTF-8, "
                "although it can be read as UTF-8 by chance. Save it again as UTF-8: in Excel as 'CSV UTF-8', "
                "elsewhere with iconv -f GB18030 -t UTF-8."
            )
        raise InputError(
            f"{len(missing)} pictures that the texts name are not in {folder}: the first is {file} ({where})."
            f"{near(file, _names(folder))} Add the pictures, name their folder with pictures (--pictures of "
            "`zhclip data`), or remove their rows."
        )


def _read_as_gbk(file: str) -> str:
    """The name that the same bytes have in GBK, or "": 猫 in GBK is è in UTF-8."""
    try:
        return file.encode().decode("gb18030")
    except UnicodeError:
        return ""


def _names(folder: Path, most: int = 1_000) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry, _ in zip(entries, range(most), strict=False)]
