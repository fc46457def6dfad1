"""What is done to splits between reading and writing: leave out, simplify, divide, number."""

import hashlib
import itertools
import warnings
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from zlib import crc32

from ..amounts import shown_amount
from ..errors import InputError
from ..extras import extra
from .split import Id, Pictures, Split, Store, Text, opened

AT_ONCE = 64
"""Pictures that are decoded side by side."""

DIVIDED = ("train", "valid")


# Broken pictures, empty texts


@dataclass(frozen=True)
class Cleaned:
    """A split without what is broken.

    Attributes:
        broken: why, by the id of each picture that was left out.
        empty: how many texts without a character were left out.
        texts_alone, pictures_alone: how many were left out because no picture or no text belongs to them.
        size: bytes of the pictures that stay.
    """

    split: Split
    broken: Mapping[Id, str]
    empty: int
    texts_alone: int
    pictures_alone: int
    size: int


def cleaned(split: Split, *, pairs_alone: bool) -> Cleaned:
    """Decodes every picture, and leaves out the broken ones, empty texts, and texts that thereby lose all pictures.

    Args:
        pairs_alone: also leaves out texts that never had a picture, and pictures without a text.

    Raises:
        InputError: no picture is left.
    """
    sizes, broken, checksums = _decoded(split)
    if not sizes:
        raise InputError(
            f"All {len(broken)} pictures of {split.name} are broken; the first: {next(iter(broken.values()), 'none')}"
        )
    full = [text for text in split.texts if text.text.strip()]
    kept = [replace(text, image_ids=tuple(each for each in text.image_ids if each not in broken)) for text in full]
    texts = [
        text
        for text, before in zip(kept, full, strict=True)
        if text.image_ids or not (before.image_ids or pairs_alone)
    ]
    named = {each for text in texts for each in text.image_ids}
    numbers = [number for number in sizes if not pairs_alone or split.image_ids[number] in named]
    return Cleaned(
        replace(split, texts=texts, pictures=_as_checked(split.pictures.only(numbers), checksums, numbers)),
        broken,
        empty=len(split.texts) - len(full),
        texts_alone=len(full) - len(texts),
        pictures_alone=len(sizes) - len(numbers),
        size=sum(sizes[number] for number in numbers),
    )


@dataclass(frozen=True)
class _AsChecked:
    """The pictures of a store that were checked: what changes between the check and the writing is refused."""

    store: Store
    rows: Sequence[int]
    checksums: Sequence[int]

    def content(self, row: int) -> bytes:
        try:
            content = self.store.content(self.rows[row])
        except (OSError, ValueError) as error:
            raise InputError(f"{self.where(row)} cannot be read any more: {error}.") from error
        if crc32(content) != self.checksums[row]:
            raise InputError(
                f"{self.where(row)} changed after it was checked. Wait until nothing writes the data, and try again."
            )
        return content

    def where(self, row: int) -> str:
        return self.store.where(self.rows[row])


def _as_checked(pictures: Pictures, checksums: Sequence[int], numbers: Sequence[int]) -> Pictures:
    kept = array("L", (checksums[number] for number in numbers))
    return Pictures.all_of(pictures.ids, _AsChecked(pictures.store, pictures.rows, kept))


def _decoded(split: Split) -> tuple[dict[int, int], dict[Id, str], Sequence[int]]:
    """The size in bytes of each whole picture by its number, the fault of each broken picture by its id, checksums."""
    sizes: dict[int, int] = {}
    checksums = array("L", bytes(array("L").itemsize * len(split.pictures)))
    broken: dict[Id, str] = {}
    amount = shown_amount("Checking pictures", len(split.pictures), "pictures")
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool, amount as done:
        warnings.simplefilter("ignore")  # Pillow warns of large pictures and of damaged metadata
        for some in _batches(range(len(split.pictures))):
            for number, found in zip(some, pool.map(lambda each: _fault(split, each), some), strict=True):
                if isinstance(found, tuple):
                    sizes[number], checksums[number] = found
                else:
                    broken[split.image_ids[number]] = found
                done(1)
    return sizes, broken, checksums


def _batches(numbers: Iterable[int]) -> Iterator[list[int]]:
    numbers = iter(numbers)
    while some := list(itertools.islice(numbers, AT_ONCE)):
        yield some


def _fault(split: Split, number: int) -> tuple[int, int] | str:
    """A picture's size and checksum, or what is wrong with it."""
    try:
        content = split.pictures.content(number)
        opened(content, split.pictures.where(number))
    except InputError as error:
        return str(error)
    return len(content), crc32(content)


# Simplified characters


def simplifier() -> Callable[[Split], Split]:
    """What turns the texts of a split from traditional into simplified characters (OpenCC's t2s).

    Raises:
        InputError: the package OpenCC is missing.
    """
    convert = extra("opencc", "Simplifying").OpenCC("t2s").convert
    return lambda split: replace(split, texts=[replace(text, text=convert(text.text)) for text in split.texts])


# Train and valid


def divided(split: Split, ratio: float, seed: int) -> tuple[Split, Split]:
    """Divides a split by its pictures: pictures that share a text stay together, and so do a picture's texts.

    A hash of seed and id orders the pictures, so that every machine and every order of the files gives the same two
    splits. Each text has a picture.

    Raises:
        InputError: one side would be empty.
    """
    groups = sorted(_groups(split), key=lambda group: min(_place(split.image_ids[each], seed) for each in group))
    wanted = int(ratio * len(split.pictures) + 0.5)
    first: list[int] = []
    for group in groups:
        if len(first) + len(group) <= wanted:
            first += group
    chosen = set(first)
    if not 0 < len(chosen) < len(split.pictures):
        raise InputError(
            f"{len(split.pictures)} pictures in {len(groups)} groups that share no text cannot be divided by {ratio}: "
            "one side would be empty. Give more pictures or another ratio."
        )
    sides = (sorted(chosen), [each for each in range(len(split.pictures)) if each not in chosen])
    left, right = (_part(split, name, side) for name, side in zip(DIVIDED, sides, strict=True))
    return left, right


def _place(each: Id, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {each}".encode()).digest()


def _part(split: Split, name: str, numbers: Sequence[int]) -> Split:
    pictures = split.pictures.only(numbers)
    here = set(pictures.ids)
    texts = [text for text in split.texts if text.image_ids[0] in here]
    return Split(name, texts, pictures)


def _groups(split: Split) -> list[list[int]]:
    """The numbers of the pictures, those together that a chain of shared texts joins."""
    leader = list(range(len(split.pictures)))

    def first(number: int) -> int:
        while leader[number] != number:
            leader[number] = leader[leader[number]]
            number = leader[number]
        return number

    numbers = {each: number for number, each in enumerate(split.image_ids)}
    for text in split.texts:
        for each in text.image_ids[1:]:
            leader[first(numbers[each])] = first(numbers[text.image_ids[0]])
    groups: dict[int, list[int]] = defaultdict(list)
    for number in range(len(leader)):
        groups[first(number)].append(number)
    return list(groups.values())


# Whole numbers


@dataclass(frozen=True)
class Numbering:
    """Which number took the place of each id, on the sides where an id is no whole number."""

    images: Mapping[Id, int]
    texts: Mapping[Id, int]


def numbered(splits: Sequence[Split]) -> tuple[list[Split], list[Numbering]]:
    """Gives whole numbers to the pictures if any of their ids is none, and to the texts likewise.

    The numbers go on from split to split, so that each stands once.
    """
    images = _numbers([split.image_ids for split in splits])
    texts = _numbers([[text.id for text in split.texts] for split in splits])
    numberings = [Numbering(*both) for both in zip(images, texts, strict=True)]
    return [_renamed(*both) for both in zip(splits, numberings, strict=True)], numberings


def _numbers(ids: Sequence[Sequence[Id]]) -> list[dict[Id, int]]:
    if all(isinstance(each, int) for some in ids for each in some):
        return [{} for _ in ids]
    count = itertools.count()
    return [{each: next(count) for each in some} for some in ids]


def _renamed(split: Split, numbering: Numbering) -> Split:
    images, texts = numbering.images, numbering.texts
    pictures = replace(split.pictures, ids=[images.get(each, each) for each in split.image_ids])
    renamed = [
        Text(texts.get(text.id, text.id), text.text, tuple(images.get(each, each) for each in text.image_ids))
        for text in split.texts
    ]
    return replace(split, texts=renamed, pictures=pictures)


# Equal captions


@dataclass(frozen=True)
class EqualCaptions:
    """How many captions stand more than once, in how many texts, and how often the most frequent do."""

    captions: int
    texts: int
    examples: Mapping[str, int]


def equal_captions(split: Split, most: int = 5) -> EqualCaptions:
    """Counts the texts of a split that are the same, character by character."""
    twice = [(text, number) for text, number in Counter(text.text for text in split.texts).items() if number > 1]
    examples = sorted(twice, key=lambda each: -each[1])[:most]
    return EqualCaptions(len(twice), sum(number for _, number in twice), dict(examples))
