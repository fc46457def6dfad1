"""What every reader gives: a split's texts, its pictures, and the ids that join them."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Protocol

import PIL.Image

from ..errors import InputError
from ..pictures_zhclip import read_picture

Id = int | str
"""A whole number, or a text that is none: `12` and `"12"` are the same id, as in the keys of cn_clip's LMDB."""

WHOLE_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,17}")
"""A number as Python writes it, of 64 bits: `007` is another key than `7`."""


def as_id(text: str) -> Id:
    """The id that a text states."""
    return int(text) if WHOLE_NUMBER.fullmatch(text) else text


@dataclass(frozen=True, slots=True)
class Text:
    """A text and the ids of the pictures that it fits; () in a blind split."""

    id: Id
    text: str
    image_ids: tuple[Id, ...]


class Store(Protocol):
    """Where the pictures of a split lie; a picture is named by its row. A store can be pickled."""

    def content(self, row: int) -> bytes:
        """The bytes of the picture's file, as they were stored.

        Raises:
            InputError: they cannot be read.
        """

    def where(self, row: int) -> str:
        """The picture's place, for messages."""


@dataclass(frozen=True)
class Pictures:
    """The pictures of a split, which are read and decoded when they are asked for, each time anew.

    Going through them gives `(image_id, PIL.Image)`; so does a number in brackets.
    """

    ids: Sequence[Id]
    store: Store = field(repr=False)
    rows: Sequence[int] = field(repr=False)

    @classmethod
    def all_of(cls, ids: Sequence[Id], store: Store) -> "Pictures":
        """Every row of a store."""
        return cls(ids, store, range(len(ids)))

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[tuple[Id, PIL.Image.Image]]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, number: int) -> tuple[Id, PIL.Image.Image]:
        """Id and picture, in the mode of the file; of an animated picture the first frame.

        Raises:
            InputError: the picture is broken.
            IndexError: there is no such number.
        """
        each = self.ids[number]
        try:
            return each, opened(self.content(number), self.where(number))
        except InputError as error:
            raise InputError(f"{error} `zhclip data` lists broken pictures and leaves them out.") from error
        except (OSError, ValueError) as error:  # the data changed since they were checked, or a disk went away
            raise InputError(f"{self.where(number)} cannot be read any more: {error}.") from error

    def content(self, number: int) -> bytes:
        """The bytes of the picture's file."""
        return self.store.content(self.rows[number])

    def where(self, number: int) -> str:
        """The picture's place, for messages."""
        return self.store.where(self.rows[number])

    def only(self, numbers: Iterable[int]) -> "Pictures":
        """Some of the pictures, in the order that is given."""
        numbers = list(numbers)
        return Pictures([self.ids[each] for each in numbers], self.store, [self.rows[each] for each in numbers])


POSTSCRIPT = (b"%!PS", b"\xc5\xd0\xd3\xc6")
"""The first bytes of files for which Pillow calls Ghostscript."""


def opened(content: bytes, where: str) -> PIL.Image.Image:
    """Decodes a picture to its end.

    Raises:
        InputError: it is broken; `where` names it.
    """
    if content.startswith(POSTSCRIPT):
        raise InputError(f"{where} is PostScript, which is a program; it is not run. A picture was wanted.")
    try:
        return read_picture(BytesIO(content), where)
    except ValueError as error:
        if isinstance(error.__cause__, PIL.Image.DecompressionBombError):
            raise InputError(
                f"{where} has too many pixels: {error.__cause__} Make the picture smaller; or, if you trust its "
                "source, raise PIL.Image.MAX_IMAGE_PIXELS in Python."
            ) from error
        raise InputError(str(error)) from error


@dataclass(frozen=True)
class Split:
    """The texts and pictures of a split, in the order of their files.

    A reader has checked that each id stands once and that every picture exists which a text names; no picture was
    decoded.

    Attributes:
        name: the split's name, such as "train"; "train" where the data states no name.
        told: sentences about what the reader left out.
    """

    name: str
    texts: Sequence[Text]
    pictures: Pictures
    told: tuple[str, ...] = ()

    @property
    def image_ids(self) -> Sequence[Id]:
        return self.pictures.ids

    @property
    def blind(self) -> bool:
        """Whether no text names a picture, as in the test split of a competition."""
        return not any(text.image_ids for text in self.texts)

    def pairs(self) -> Iterator[tuple[Text, int]]:
        """Each text with the number of each of its pictures, in the order of the texts."""
        numbers = {each: number for number, each in enumerate(self.image_ids)}
        for text in self.texts:
            for each in text.image_ids:
                yield text, numbers[each]

    def to_dataset(self) -> Any:
        """A `datasets.Dataset` with a row for each pair: image, text, text_id, image_id.

        No picture is copied: a row's picture is read when the row is asked for.

        Raises:
            InputError: the package datasets is missing.
        """
        from .as_dataset import to_dataset

        return to_dataset(self)


def checked(split: Split, place: str) -> Split:
    """Refuses a split whose ids do not fit together.

    Args:
        place: the split's name in messages.

    Raises:
        InputError: an id stands twice, there is no picture, or a text names a picture that nobody has.
    """
    if not split.pictures:
        raise InputError(f"{place} holds no pictures; pictures and their texts were wanted.")
    check_once((text.id for text in split.texts), "text", place)
    check_once(split.image_ids, "image", place)
    known = set(split.image_ids)
    if missing := list(dict.fromkeys(each for text in split.texts for each in text.image_ids if each not in known)):
        raise InputError(
            f"{place}: the texts name {len(missing)} pictures that are not there: {some(missing)}. Add the pictures, "
            "or remove their ids from the texts."
        )
    return split


def check_once(ids: Iterable[Id], side: str, place: str) -> None:
    """Refuses an id that stands twice.

    Raises:
        InputError: the message names the first such ids.
    """
    seen: set[Id] = set()
    twice = list(dict.fromkeys(each for each in ids if each in seen or seen.add(each)))  # type: ignore[func-returns-value]
    if twice:
        raise InputError(
            f"{place}: {len(twice)} {side} ids stand more than once: {some(twice)}. Each id stands once: number the "
            f"{side}s anew."
        )


def some(values: Sequence[Any], most: int = 5) -> str:
    """The first values, for a message."""
    return ", ".join(map(str, values[:most])) + (" …" if len(values) > most else "")
