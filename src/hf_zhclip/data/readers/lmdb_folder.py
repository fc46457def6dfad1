"""cn_clip's LMDB: `{split}/pairs` and `{split}/imgs`.

Source: cn_clip/preprocess/build_lmdb_dataset.py and cn_clip/training/data.py. A pair is a pickled tuple of image id,
text id and text under the keys "0" to "N-1"; a picture is base64 under its id. The database does not hold a text that
has no picture. Texts come in the order in which the pairs name them first; pictures come in the database's order, in
which cn_clip's extract_features.py reads them.
"""

import base64
import binascii
import io
import pickle
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ...amounts import shown_amount
from ...errors import InputError
from ...json_files import brief
from ...paths import folders_in, resolved
from ..formats import Format
from ..lmdb_file import Entry, entries
from ..split import Id, Pictures, Split, Text, as_id, check_once, checked

PARTS = ("pairs", "imgs")
COUNTS = {"pairs": b"num_samples", "imgs": b"num_images"}

AGAIN = "Write the LMDB again from cn_clip's tsv files: `zhclip data FOLDER OUT --to lmdb`."


def _is_split(folder: Path) -> bool:
    return all((folder / part / "data.mdb").is_file() for part in PARTS)


def _splits(place: str) -> Sequence[str]:
    folder = Path(place)
    if not folder.is_dir():
        return ()
    if _is_split(folder):
        return (resolved(folder).name,)
    return sorted(name for name in folders_in(folder) if _is_split(folder / name))


def read(place: str, split: str, pictures: Path | None = None) -> Split:
    """Reads the pairs, and the pictures' ids and places in the file.

    Raises:
        InputError: a database is damaged, or ids do not fit together.
    """
    folder = Path(place)
    folder = folder if _is_split(folder) else folder / split
    ids, store = _pictures(folder / "imgs")
    return checked(Split(split, _texts(folder / "pairs"), Pictures.all_of(ids, store)), str(folder))


def read_pictures(place: str, split: str | None) -> Split:
    """Reads the pictures alone.

    Raises:
        InputError: the database of the pictures is damaged.
    """
    folder = Path(place)
    folder = folder if _is_split(folder) else folder / str(split)
    ids, store = _pictures(folder / "imgs")
    check_once(ids, "image", str(folder))
    return Split(str(split), (), Pictures.all_of(ids, store))


@dataclass(frozen=True)
class Values:
    """Pictures in base64 in a database, by the offset and length of their values in bytes."""

    path: Path
    ids: Sequence[Id]
    starts: "array[int]"
    lengths: "array[int]"

    def content(self, row: int) -> bytes:
        with self.path.open("rb") as file:
            value = _value(file, self.starts[row], self.lengths[row])
        try:
            return base64.urlsafe_b64decode(value)
        except binascii.Error as error:
            raise InputError(f"{self.where(row)} is no base64: {error}.") from error

    def where(self, row: int) -> str:
        return f"the picture {self.ids[row]} in {self.path.parent}"


def _value(file: BinaryIO, start: int, length: int) -> bytes:
    file.seek(start)
    return file.read(length)


def _pictures(path: Path) -> tuple[list[Id], Values]:
    ids: list[Id] = []
    values = Values(path / "data.mdb", ids, array("q"), array("q"))
    for entry in _counted(path):
        try:
            ids.append(as_id(entry.key.decode()))
        except UnicodeDecodeError as error:
            raise InputError(f"{path} has the key {brief(entry.key)}; a picture's id was wanted. {AGAIN}") from error
        values.starts.append(entry.start)
        values.lengths.append(entry.length)
    return ids, values


def _texts(path: Path) -> list[Text]:
    said: dict[Id, str] = {}
    images: dict[Id, list[Id]] = {}
    places = {entry.key: (entry.start, entry.length) for entry in _counted(path)}
    with (path / "data.mdb").open("rb") as file, shown_amount(f"Reading {path}", len(places), "pairs") as done:
        for number in range(len(places)):
            where = f"{path}, pair {number}"
            place = places.get(b"%d" % number)
            if place is None:
                raise InputError(f"{where} is missing. {AGAIN}")
            image_id, text_id, text = unpickled(_value(file, *place), where)
            if said.setdefault(text_id, text) != text:
                raise InputError(f"{where} gives the text id {text_id} another text than a pair before. {AGAIN}")
            images.setdefault(text_id, []).append(image_id)
            done(1)
    return [Text(each, text, tuple(images[each])) for each, text in said.items()]


def _counted(path: Path) -> Iterator[Entry]:
    """The entries but for their number, which has to be right.

    A second run of the script into the same folder leaves entries of the first run there.
    """
    stated, count = b"", 0
    for entry in entries(path / "data.mdb"):
        if entry.key == COUNTS[path.name]:
            with (path / "data.mdb").open("rb") as file:
                stated = _value(file, entry.start, min(entry.length, 20))
        else:
            yield entry
            count += 1
    if stated != b"%d" % count:
        name, found = COUNTS[path.name].decode(), stated.decode("latin-1") or "nothing"
        raise InputError(f"{path} holds {count} entries, and its {name} states {found}. {AGAIN}")


OPCODES = (
    *(pickle.PROTO, pickle.FRAME, pickle.STOP, pickle.MARK, pickle.TUPLE, pickle.TUPLE3, pickle.GLOBAL),
    *(pickle.INT, pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG, pickle.LONG1, pickle.STACK_GLOBAL),
    *(pickle.UNICODE, pickle.BINUNICODE, pickle.SHORT_BINUNICODE, pickle.BINUNICODE8),
    *(pickle.PUT, pickle.BINPUT, pickle.LONG_BINPUT, pickle.MEMOIZE, pickle.GET, pickle.BINGET, pickle.LONG_BINGET),
)
"""What numbers, texts and a tuple of them are pickled with, by any protocol, and names, which are refused."""


class _NoCode(pickle._Unpickler):
    """Builds numbers, texts and tuples, and nothing that is hashed or called.

    This is pickle's Python version: the C version allocates its memo by a number that the pickle states.
    """

    dispatch = {opcode[0]: pickle._Unpickler.dispatch[opcode[0]] for opcode in OPCODES}

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def unpickled(content: bytes, where: str) -> tuple[int, int, str]:
    """Reads a pickled pair; nothing in it is run.

    Raises:
        InputError: it is no tuple of a whole number, a whole number and a text.
    """
    try:
        pair = _NoCode(io.BytesIO(content)).load()
    except Exception as error:  # damaged pickles raise errors of many kinds
        raise InputError(
            f"{where} is no pickle of a tuple of two whole numbers and a text: {error}. Nothing of it was run. {AGAIN}"
        ) from error
    if type(pair) is not tuple or [type(each) for each in pair] != [int, int, str]:
        raise InputError(
            f"{where} holds {brief(pair)}; a tuple of two whole numbers (image id, text id) and a text was wanted. "
            f"{AGAIN}"
        )
    return pair


FORMAT = Format(
    wants="cn_clip's LMDB: a folder with pairs/data.mdb and imgs/data.mdb, or a folder that holds such folders",
    claims=lambda place: bool(_splits(place)),
    splits=_splits,
    read=read,
)
