"""cn_clip's `{split}_imgs.tsv` and `{split}_texts.jsonl`.

Source: cn_clip/preprocess/build_lmdb_dataset.py and cn_clip/eval/data.py. A line of the first is an id, a tab and a
picture in base64; a line of the second is an object with text_id, text and image_ids. The loaders decode base64 with
`urlsafe_b64decode`, which takes both alphabets.
"""

import base64
import re
import string
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...amounts import shown_amount
from ...errors import InputError
from ...json_files import Field, brief, check_fields, read_json_lines
from ...steady import steady
from ..formats import Format
from ..split import Id, Pictures, Split, Text, as_id, check_once, checked

PICTURES, TEXTS = "_imgs.tsv", "_texts.jsonl"

MOST_LINE_BYTES = 256 * 2**20
"""The longest line of pictures; a photo of 50 megapixels takes about 30 MB."""

ALPHABET = f"{string.ascii_letters}{string.digits}+/-_".encode()
UTF8_MARK = b"\xef\xbb\xbf"
WANTED = "an id, a tab and a picture in base64 were wanted"


def _found(place: str) -> tuple[Path, Sequence[str]]:
    """The folder and the names of its splits: of a folder, a prefix such as `data/valid`, or one of the two files."""
    path = Path(place)
    if path.is_dir():
        names = {end: {each.name.removesuffix(end) for each in path.glob(f"[!.]*{end}")} for end in (PICTURES, TEXTS)}
        # Texts alone beside a folder of the same name are those of an LMDB.
        alone = {name for name in names[TEXTS] - names[PICTURES] if (path / name).is_dir()}
        return path, sorted((names[PICTURES] | names[TEXTS]) - alone, key=_order)
    name = re.sub(f"({re.escape(PICTURES)}|{re.escape(TEXTS)})$", "", path.name)
    there = path.is_file() if name != path.name else any(_files(path.parent, name, exist=True))
    return path.parent, (name,) if there else ()


def _order(name: str) -> tuple[int, str]:
    known = ("train", "valid", "val", "test")
    return (known.index(name) if name in known else len(known), name)


def _files(folder: Path, name: str, exist: bool = False) -> list[Path]:
    files = [folder / f"{name}{end}" for end in (PICTURES, TEXTS)]
    return [file for file in files if file.is_file()] if exist else files


def read(place: str, split: str, pictures: Path | None = None) -> Split:
    """Reads the texts, and the pictures' ids and places in the file.

    Raises:
        InputError: a file is missing, a line is wrong, or ids do not fit together.
    """
    folder, _ = _found(place)
    of_pictures, of_texts = _files(folder, split)
    for file, other in ((of_pictures, of_texts), (of_texts, of_pictures)):
        if not file.is_file():
            raise InputError(f"{file} is missing beside {other.name}; cn_clip's data are both files. Add the file.")
    texts = read_texts(of_texts)
    ids, store = _scanned(of_pictures)
    return checked(Split(split, texts, Pictures.all_of(ids, store)), str(folder / split))


def read_pictures(place: str, split: str | None) -> Split:
    """Reads the pictures alone; the file of the texts may be missing.

    Raises:
        InputError: the file is missing, a line is wrong, or an id stands twice.
    """
    folder, _ = _found(place)
    file, _ = _files(folder, str(split))
    if not file.is_file():
        raise InputError(f"{file} is missing; it holds the pictures. Add the file.")
    ids, store = _scanned(file)
    check_once(ids, "image", str(file))
    return Split(str(split), (), Pictures.all_of(ids, store))


def read_texts(path: Path) -> list[Text]:
    """Reads a `{split}_texts.jsonl`.

    Raises:
        InputError: a line is wrong.
    """
    wanted = {"text_id": Field((int, str)), "text": Field((str,)), "image_ids": Field((list,))}
    texts = []
    for where, line in read_json_lines(path):
        check_fields(line, wanted, where)
        ids = tuple(_id(each, "image_ids", where) for each in line["image_ids"])
        texts.append(Text(_id(line["text_id"], "text_id", where), line["text"], ids))
    if not texts:
        raise InputError(f"{path} is empty; a JSON object with text_id, text and image_ids on each line was wanted.")
    return texts


def _id(value: object, name: str, where: str) -> Id:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise InputError(f"{where} has {brief(value)} in {name}; whole numbers were wanted.")
    return as_id(str(value))


@dataclass(frozen=True)
class Lines:
    """Pictures in the lines of a file, by the offset and length of their base64 in bytes."""

    path: Path
    starts: "array[int]"
    lengths: "array[int]"
    numbers: "array[int]"

    def content(self, row: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.starts[row])
            return base64.urlsafe_b64decode(file.read(self.lengths[row]))

    def where(self, row: int) -> str:
        return f"the picture in {self.path}, line {self.numbers[row]}"


def _scanned(path: Path) -> tuple[list[Id], Lines]:
    """The pictures' ids and places; of the pictures only the alphabet is checked."""
    ids: list[Id] = []
    lines = Lines(path, array("q"), array("q"), array("q"))
    with steady(path) as file, shown_amount(f"Reading {path.name}", path.stat().st_size) as done:
        start = 0
        for number, line in enumerate(iter(lambda: file.readline(MOST_LINE_BYTES + 1), b""), start=1):
            where = f"{path}, line {number}"
            if len(line) > MOST_LINE_BYTES:
                raise InputError(f"{where} has more than {MOST_LINE_BYTES:,} bytes; {WANTED}. Write the file again.")
            if line.strip():
                key, content = _parts(line, where)
                ids.append(_named(key.strip().removeprefix(UTF8_MARK), where))
                lines.starts.append(start + len(key) + 1)
                lines.lengths.append(len(content))
                lines.numbers.append(number)
            start += len(line)
            done(len(line))
    return ids, lines


def _parts(line: bytes, where: str) -> tuple[bytes, bytes]:
    parts = line.rstrip().split(b"\t")
    if len(parts) != 2 or not parts[0].strip():
        raise InputError(f"{where} has {len(parts)} parts between tabs; {WANTED}. Write the file again.")
    key, content = parts
    digits = content.rstrip(b"=")
    if other := digits.translate(None, ALPHABET):
        shown = other[:1].decode("latin-1")
        raise InputError(f"{where} holds {shown!r}, which is no character of base64; {WANTED}. Write the file again.")
    if len(content) % 4 or not digits or len(content) - len(digits) > 2:
        raise InputError(
            f"{where} holds {len(content)} characters, which are no whole base64; {WANTED}. "
            "The line may be cut off: write the file again."
        )
    return key, content


def _named(key: bytes, where: str) -> Id:
    try:
        return as_id(key.decode())
    except UnicodeDecodeError as error:
        raise InputError(f"{where} has an id that is no UTF-8; {WANTED}. Save the file as UTF-8.") from error


FORMAT = Format(
    wants=f"a folder with {{split}}{PICTURES} and {{split}}{TEXTS}, either file, or their beginning: data/valid",
    claims=lambda place: bool(_found(place)[1]),
    splits=lambda place: _found(place)[1],
    read=read,
    read_pictures=read_pictures,
)
