"""The items of a corpus: a place of data -> the pictures and texts that are embedded, in their order."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from ..data.captioned import Files
from ..data.reading import format_of, read, read_pictures
from ..data.split import Id, Pictures, Split, Text, opened
from ..errors import InputError
from ..paths import resolved


@dataclass(frozen=True)
class Listing:
    """What is embedded.

    Attributes:
        told: sentences about what the reader left out.
        stated: the manifest's `input`.
    """

    pictures: Pictures = field(repr=False)
    texts: Sequence[Text] | None = field(repr=False)
    prefix: str
    told: tuple[str, ...]
    stated: Mapping[str, Any]

    @property
    def items(self) -> dict[str, int]:
        """The number of items of each side."""
        return {"image": len(self.pictures), **({} if self.texts is None else {"text": len(self.texts)})}

    def id(self, side: str, number: int) -> Id:
        """The id of an item."""
        return self.pictures.ids[number] if side == "image" or self.texts is None else self.texts[number].id

    def label(self, side: str, number: int) -> str:
        """A picture's path under `stated["root"]`, or "" if it is no file; or a text."""
        if side == "text" and self.texts is not None:
            return self.texts[number].text
        return _path(self.pictures, number, self.prefix)

    def picture(self, number: int) -> Image.Image:
        """Reads and decodes a picture.

        Raises:
            InputError: the picture is broken.
        """
        where = self.label("image", number) or self.pictures.where(number)
        return opened(self.pictures.content(number), where)


def listed(
    place: str,
    split: str | None = None,
    format: str | None = None,
    pictures: str | None = None,
    texts: bool = False,
) -> Listing:
    """Reads which items a place holds; no picture is opened.

    Args:
        place: what `hf_zhclip.data.read` takes, or a folder of pictures of any names.
        split: the split, if the place holds several; a folder of pictures is taken whole without it.
        format: the format, where several formats claim the place.
        pictures: the folder of the pictures, where a file of captions does not lie in it.
        texts: whether the texts are embedded, too.

    Raises:
        InputError: as for `read`; or there are no pictures.
    """
    name = format_of(place, format)
    found = (read if texts else read_pictures)(place, split, name, pictures)
    if not found.pictures:
        told = "".join(f" {line}" for line in found.told)
        raise InputError(f"{place} holds no pictures; pictures were wanted.{told}")
    root, prefix = _root(found.pictures, place)
    of_texts = found.texts if texts else None
    stated = {
        "path": place if name == "datasets" and not os.path.exists(place) else os.path.abspath(place),
        "format": name,
        "split": split,
        "pictures": None if pictures is None else os.path.abspath(pictures),
        "root": root,
        "fingerprint": _fingerprint(found, of_texts, prefix, place),
    }
    return Listing(found.pictures, of_texts, prefix, found.told, stated)


def _root(pictures: Pictures, place: str) -> tuple[str | None, str]:
    """The folder that paths are relative to, and what stands before the name of each picture there."""
    if not isinstance(pictures.store, Files):
        return None, ""
    folder, outer = resolved(pictures.store.folder), resolved(place)
    if not folder.is_relative_to(outer):
        return os.path.abspath(pictures.store.folder), ""
    inner = folder.relative_to(outer).as_posix()
    return os.path.abspath(place), "" if inner == "." else f"{inner}/"


def _path(pictures: Pictures, number: int, prefix: str) -> str:
    if not isinstance(pictures.store, Files):
        return ""
    return prefix + pictures.store.names[pictures.rows[number]]


def _fingerprint(found: Split, texts: Sequence[Text] | None, prefix: str, place: str) -> str:
    """A hash of the ids and paths in their order, and of the sizes and times (in seconds) of the files."""
    digest = hashlib.sha256()

    def note(*values: Any) -> None:
        digest.update("\0".join(map(str, values)).encode("utf-8", "surrogatepass") + b"\n")

    pictures = found.pictures
    of_files = isinstance(pictures.store, Files)
    for number in range(len(pictures)):
        state = _state(Path(pictures.where(number))) if of_files else ()
        note(pictures.ids[number], _path(pictures, number, prefix), *state)
    for text in texts or ():
        note(text.id, text.text)
    for file in () if of_files else _holders(pictures.store, Path(place)):
        note(*_state(file))
    return digest.hexdigest()


def _state(file: Path) -> tuple[int, int]:
    """Size in bytes and time of change in seconds; a file system may know no smaller part of a second."""
    try:
        found = file.stat()
    except OSError:  # a link that leads nowhere fails when it is read
        return -1, -1
    return found.st_size, int(found.st_mtime)


def _holders(store: Any, place: Path) -> Iterable[Path]:
    """The files that hold pictures of a store; () if they lie on a hub."""
    if isinstance(file := getattr(store, "path", None), Path):
        return (file,)
    return (place,) if place.is_file() else _below(place)


def _below(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        folders.sort()
        yield from (Path(where) / name for name in sorted(files))
