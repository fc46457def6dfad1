"""cn_clip's LMDB: `{split}/pairs` and `{split}/imgs`.

Source: cn_clip/preprocess/build_lmdb_dataset.py and cn_clip/training/data.py. A pair is a pickled tuple of image id,
text id and text under the keys "0" to "N-1"; a picture is base64 under its id. The database does not hold a text that
has no picture. Texts come in the order in which the pairs name them first; pictures come in the database's order, in
which cn_clip's extract_features.py reads them.
"""

import base64
import binascii
import io
import os
import pickle
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...amounts import shown_amount
from ...errors import InputError
from ...extras import extra
from ...json_files import brief
from ..formats import Format
from ..split import Id, Pictures, Split, Text, as_id, checked

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
        return (folder.resolve().name,)
    return sorted(each.name for each in folder.iterdir() if _is_split(each))


def read(place: str, split: str, pictures: Path | None = None) -> Split:
    """Reads the pairs and the pictures' ids.

    Raises:
        InputError: the package lmdb is missing, a database is damaged, or ids do not fit together.
    """
    folder = Path(place)
    folder = folder if _is_split(folder) else folder / split
    texts = _texts(folder / "pairs")
    ids = _image_ids(folder / "imgs")
    return checked(Split(split, texts, Pictures.all_of(ids, Entries(folder / "imgs", ids))), str(folder))


class Entries:
    """Pictures in a database, by their keys."""

    def __init__(self, path: Path, ids: Sequence[Id]):
        self.path, self.ids = path, ids
        self._opened: _Database | None = None

    def content(self, row: int) -> bytes:
        value = self._database().get(str(self.ids[row]).encode())
        try:
            return base64.urlsafe_b64decode(value or b"")
        except binascii.Error as error:
            raise InputError(f"{self.where(row)} is no base64: {error}. {AGAIN}") from error

    def where(self, row: int) -> str:
        return f"the picture {self.ids[row]} in {self.path}"

    def _database(self) -> "_Database":
        if self._opened is None:
            self._opened = database(self.path)
        return self._opened

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}


def _texts(path: Path) -> list[Text]:
    said: dict[Id, str] = {}
    images: dict[Id, list[Id]] = {}
    pairs = database(path)
    with shown_amount(f"Reading {path}", pairs.count, "pairs") as done:
        for number in range(pairs.count):
            where = f"{path}, pair {number}"
            image_id, text_id, text = unpickled(pairs.get(b"%d" % number), where)
            if said.setdefault(text_id, text) != text:
                raise InputError(f"{where} gives the text id {text_id} another text than a pair before. {AGAIN}")
            images.setdefault(text_id, []).append(image_id)
            done(1)
    return [Text(each, text, tuple(images[each])) for each, text in said.items()]


def _image_ids(path: Path) -> list[Id]:
    pictures = database(path)
    ids = []
    for key in pictures.keys():
        try:
            ids.append(as_id(key.decode()))
        except UnicodeDecodeError as error:
            raise InputError(f"{path} has the key {brief(key)}; the id of a picture was wanted. {AGAIN}") from error
    if len(ids) != pictures.count:
        raise InputError(f"{path} holds {len(ids)} pictures, and states {pictures.count}. {AGAIN}")
    return ids


class _NoCode(pickle.Unpickler):
    """Builds numbers, texts and tuples. Whatever else a pickle builds, it has to name a function or class first."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def unpickled(content: bytes | None, where: str) -> tuple[int, int, str]:
    """Reads a pickled pair; nothing in it is run.

    Raises:
        InputError: it is missing, or is no tuple of a whole number, a whole number and a text.
    """
    if content is None:
        raise InputError(f"{where} is missing. {AGAIN}")
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


# lmdb opens a database once in a process. A process that forks reads through what its parent opened, as the workers of
# cn_clip's DataLoader do: without locks, an open database is a mapped file alone.


class _Database:
    """An open database, which is closed when nobody uses it any more; `count` is the number that it states."""

    def __init__(self, path: Path):
        self.path = path
        self._lmdb = extra("lmdb", "cn_clip's LMDB")
        with self._errors():
            self._environment = self._lmdb.open(
                str(path), readonly=True, create=False, lock=False, readahead=False, meminit=False
            )
        self._check_whole()
        stated = self.get(COUNTS[path.name])
        if stated is None or not stated.isdigit():
            raise InputError(f"{path} holds no {COUNTS[path.name].decode()}, which cn_clip's LMDB states. {AGAIN}")
        self.count = int(stated)

    def get(self, key: bytes) -> bytes | None:
        with self._errors(), self._environment.begin() as transaction:
            return transaction.get(key)

    def keys(self) -> Iterator[bytes]:
        """The keys but for the number of entries, in the order of the database."""
        with self._errors(), self._environment.begin() as transaction:
            for key in transaction.cursor().iternext(keys=True, values=False):
                if key != COUNTS[self.path.name]:
                    yield key

    def _check_whole(self) -> None:
        # lmdb maps the file into memory: the system kills a process that reads beyond its end.
        with self._errors():
            wanted = (self._environment.info()["last_pgno"] + 1) * self._environment.stat()["psize"]
        if (found := (self.path / "data.mdb").stat().st_size) < wanted:
            raise InputError(
                f"{self.path} is cut off: it has {found:,} bytes, and {wanted:,} were wanted. Copy it again."
            )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except self._lmdb.Error as error:
            raise InputError(f"{self.path} cannot be read as an LMDB: {error}. {AGAIN}") from error

    def __del__(self) -> None:
        if environment := getattr(self, "_environment", None):
            environment.close()


_OPEN: "weakref.WeakValueDictionary[str, _Database]" = weakref.WeakValueDictionary()


def database(path: Path) -> _Database:
    """The open database at a path.

    Raises:
        InputError: the package lmdb is missing, or the database is damaged.
    """
    key = os.path.realpath(path)
    found = _OPEN.get(key)
    if found is None:
        found = _OPEN[key] = _Database(path)
    return found


FORMAT = Format(
    wants="cn_clip's LMDB: a folder with pairs/data.mdb and imgs/data.mdb, or a folder that holds such folders",
    claims=lambda place: bool(_splits(place)),
    splits=_splits,
    read=read,
)
