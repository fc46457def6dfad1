"""A folder of pictures that are named by their text, such as `0001妙蛙种子.png`, or that lie beside their captions.

A name is a number and a text, or a text alone. The number is the id, so that it has to stand once. The captions are
`datasets`' metadata.csv or metadata.jsonl, or the folder's only csv or jsonl file. If all pictures lie in sub-folders
that are named as splits, these are the splits; else the pictures of sub-folders belong to the folder. A picture is a
file whose extension is of a type that Pillow reads. Hidden files are no pictures.
"""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from PIL import Image

from ...errors import InputError, WorkError
from ...pictures_zhclip import HOLDERS
from ...telling import shown
from ..captioned import Files, split_of_rows
from ..formats import Format
from ..split import Id, Pictures, Split, Text, as_id, checked
from ..strings import Strings
from .captions_file import is_captions, rows

NO_PICTURES = ("EPS", "PDF", "MPEG", "BUFR", "GRIB", "HDF5", "WMF", *HOLDERS.values())
"""Names of Pillow: PostScript is a program, which is not run; Pillow recognises the others and cannot read them.

Formats that hold a picture of another format are not read, either.
"""

SPLITS = ("train", "valid", "validation", "val", "dev", "test")
METADATA = ("metadata.csv", "metadata.jsonl")

NUMBERED = re.compile(r"([0-9]+)[\s_.-]*(.*)", re.DOTALL)

MEND = f"Rename them, or put a {METADATA[0]} with the columns file_name and text into the folder."


NO_UTF8 = (
    "has a name that is no UTF-8 (an archive from Windows may hold GBK names); a text was wanted. Unpack the archive "
    "with its encoding, such as unzip -O GB18030."
)


@cache
def suffixes() -> frozenset[str]:
    """The extensions of pictures, such as ".png": those of the types that the installed Pillow reads."""
    Image.preinit()  # the common types stay the first that Pillow tries
    Image.init()
    read = {*Image.OPEN, "MPO"} - {*NO_PICTURES}  # Pillow reads MPO as JPEG
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in read)


def is_picture(name: str) -> bool:
    """Whether a file is a picture, by its name."""
    return _suffix(name) in suffixes() and not _hidden(name)


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _picture_files(folder: Path, other: Counter[str] | None = None) -> Iterator[str]:
    """The paths of the pictures under a folder, as POSIX paths, in the same order on every machine.

    Args:
        folder: the folder.
        other: gets the number of the files and folders that are not taken, by their kind.
    """
    other = Counter() if other is None else other
    for where, folders, files in os.walk(folder, onerror=_fail):
        other["hidden"] += sum(map(_hidden, folders))
        folders[:] = sorted(name for name in folders if not _hidden(name))
        other["links to folders"] += sum(os.path.islink(os.path.join(where, name)) for name in folders)
        for name in sorted(files):
            if is_picture(name):
                yield (Path(where) / name).relative_to(folder).as_posix()
            else:
                other["hidden" if _hidden(name) else _suffix(name) or "no extension"] += 1


MOST_KINDS = 10


def _told(folder: Path, other: Counter[str]) -> tuple[str, ...]:
    """A sentence about what was not taken, if there is anything."""
    kinds = sorted((-count, kind) for kind, count in other.items() if count)
    if not kinds:
        return ()
    told = [f"{kind} ({-count})" for count, kind in kinds[:MOST_KINDS]]
    return (
        f"{other.total()} other files or folders in {folder} are not taken: {', '.join(told)}"
        f"{' …' if len(kinds) > MOST_KINDS else '.'}",
    )


def _fail(error: OSError) -> None:
    """A folder that cannot be read is not skipped."""
    raise WorkError(f"{error.filename} cannot be read: {error.strerror}.") from error


def _captions(folder: Path) -> list[Path]:
    """The files of captions in a folder: the metadata files, or all csv and jsonl files."""
    metadata = [folder / name for name in METADATA if (folder / name).is_file()]
    return metadata or sorted(each for each in folder.iterdir() if is_captions(each))


def _split_folders(folder: Path) -> dict[str, Path]:
    """The sub-folders that are splits, by name: all pictures lie in sub-folders, and each is named as a split."""
    if any(is_picture(name) for name in os.listdir(folder)) or _captions(folder):
        return {}
    folders = [each for each in folder.iterdir() if each.is_dir() and not _hidden(each.name)]
    filled = {each.name: each for each in folders if any(_picture_files(each))}
    return {name: filled[name] for name in SPLITS if name in filled} if set(filled) <= set(SPLITS) else {}


def _splits(place: str) -> Sequence[str]:
    folder = Path(place)
    if not folder.is_dir():
        return ()
    if found := _split_folders(folder):
        return tuple(found)
    return ("train",) if _captions(folder) or any(_picture_files(folder)) else ()


def read(place: str, split: str, pictures: Path | None = None) -> Split:
    """Reads the pictures' names, and their texts from the names or from the captions.

    Raises:
        InputError: names or captions are wrong, or several files could be the captions.
    """
    folder = _split_folders(Path(place)).get(split, Path(place))
    captions = _captions(folder)
    if len(captions) > 1:
        raise InputError(
            f"{folder} holds several files of captions: {', '.join(each.name for each in captions)}. Name the file "
            "that you mean instead of the folder."
        )
    if captions:
        return _captioned(split, captions[0], folder if pictures is None else pictures)
    if pictures is not None:
        raise InputError(
            f"{folder} holds no captions beside its pictures, so that pictures (--pictures) has no effect. Leave it "
            "out, or name the file of the captions instead of the folder."
        )
    return _named(split, folder)


def read_pictures(place: str, split: str | None) -> Split:
    """Reads the pictures alone, whatever their names and the captions beside them; a picture's id is its path.

    A name that is no UTF-8 is listed with escapes, and that picture cannot be read.

    Args:
        place: the folder.
        split: the sub-folder that is taken; None takes all pictures below `place`.
    """
    folder = Path(place) if split is None else _split_folders(Path(place)).get(split, Path(place))
    other: Counter[str] = Counter()
    wrong: dict[str, str] = {}

    def names() -> Iterator[str]:
        for name in _picture_files(folder, other):
            if not _is_utf8(name):
                name = shown(name)
                wrong[name] = NO_UTF8
            yield name

    found = Strings.of(names())
    pictures = Pictures.all_of(found, Files(folder, found, wrong))
    return Split(split or "train", (), pictures, _told(folder, other))


def _captioned(split: str, captions: Path, folder: Path) -> Split:
    found = split_of_rows(split, rows(captions), folder, captions)
    used = set(found.pictures.store.names)  # type: ignore[attr-defined]
    other = [name for name in _picture_files(folder) if name not in used]
    if not other:
        return found
    told = f"{len(other)} pictures of {folder} have no row in {captions.name} and are left out: {other[0]} …"
    return Split(found.name, found.texts, found.pictures, (told,))


def _named(split: str, folder: Path) -> Split:
    names = list(_picture_files(folder))
    ids, texts, wordless = [], [], []
    for name in names:
        image_id, text = told_by(name)
        if not text:
            wordless.append(name)
        ids.append(image_id)
        texts.append(Text(image_id, text, (image_id,)))
    if wordless:
        raise InputError(
            f"{len(wordless)} of {len(names)} pictures of {folder} have no text in their names, such as "
            f"{wordless[0]}; names such as 0001妙蛙种子.png were wanted. {MEND}"
        )
    _refuse_twice(ids, names, folder)
    return checked(Split(split, texts, Pictures.all_of(ids, Files(folder, names))), str(folder))


def told_by(name: str) -> tuple[Id, str]:
    """The id and the text that a picture's path states; the path is the id where the name has no number.

    Raises:
        InputError: the name is no text in the file system's encoding.
    """
    stem = unicodedata.normalize("NFC", Path(_utf8(name)).stem)  # macOS takes characters apart
    if numbered := NUMBERED.fullmatch(stem):
        return as_id(numbered[1].lstrip("0") or "0"), numbered[2].strip()
    return name, stem.strip()


def _utf8(name: str) -> str:
    if not _is_utf8(name):
        raise InputError(f"the picture {name!r} {NO_UTF8}")
    return name


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_twice(ids: Sequence[Id], names: Sequence[str], folder: Path) -> None:
    first: dict[Id, str] = {}
    for each, name in zip(ids, names, strict=True):
        if each in first:
            raise InputError(
                f"{folder} holds two pictures with the number {each}: {first[each]} and {name}. The number before the "
                f"text is the picture's id and stands once. {MEND}"
            )
        first[each] = name


FORMAT = Format(
    wants="a folder of pictures (.jpg, .png, .webp, .gif, .bmp, .tif and the other types that Pillow reads), each "
    "named by its text (0001妙蛙种子.png), or beside a metadata.csv or metadata.jsonl with the columns file_name and "
    "text; `zhclip embed` takes pictures of any names",
    claims=lambda place: bool(_splits(place)),
    splits=_splits,
    read=read,
    read_pictures=read_pictures,
    joined=True,
    below=True,
    pictures_elsewhere=True,
)
