"""`prepare`, which `zhclip data` calls: a place in any format -> a folder in another format."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..amounts import shown_amount
from ..errors import InputError
from ..extras import extra
from ..replacing import Kind
from ..staging import check_absent, check_apart, staging
from ..telling import near, shown
from .cleaning import Cleaned, EqualCaptions, Numbering, cleaned, divided, equal_captions, numbered, simplifier
from .reading import check_outside, read_splits
from .split import Id, Split
from .writers import lmdb_folder, parquet_files, tsv_files
from .writers.writer import Writer

WRITERS: Mapping[str, Writer] = {
    "tsv": tsv_files.WRITER,
    "lmdb": lmdb_folder.WRITER,
    "parquet": parquet_files.WRITER,
}

RECORD = "zhclip_data.json"
"""What was written, in the folder itself; by this file `force` knows a folder that it may replace."""

KIND = Kind(
    title="folder of prepared data",
    marks={RECORD: None},
    names=(
        *(RECORD, "{}_imgs.tsv", "{}_texts.jsonl", "{}_ids.jsonl", "data/*-00000-of-00001.parquet"),
        *("{}/pairs/data.mdb", "{}/pairs/lock.mdb", "{}/imgs/data.mdb", "{}/imgs/lock.mdb"),
    ),
    listed=(RECORD, "splits"),
)
"""What `prepare` writes; cn_clip's lmdb adds the lock files when it reads."""


@dataclass(frozen=True)
class Written:
    """What a split became."""

    pictures: int
    texts: int
    pairs: int
    equal_captions: EqualCaptions


@dataclass(frozen=True)
class Broken:
    """A picture that was left out, by its id in the input."""

    image_id: Id
    why: str


@dataclass(frozen=True)
class LeftOut:
    """What of a split of the input was left out: broken pictures, and numbers of texts and of pictures."""

    broken: tuple[Broken, ...]
    empty_texts: int
    texts_without_picture: int
    pictures_without_text: int

    def text(self) -> str:
        """The numbers for people, on one line; "" if nothing was left out."""
        numbers = {
            "broken pictures": len(self.broken),
            "empty texts": self.empty_texts,
            "texts without a picture": self.texts_without_picture,
            "pictures without a text": self.pictures_without_text,
        }
        return ", ".join(f"{what} ({number})" for what, number in numbers.items() if number)


@dataclass(frozen=True)
class Prepared:
    """The result of `prepare`; `left_out` is by the input's splits, `splits` by the output's."""

    out: str
    to: str
    splits: Mapping[str, Written]
    left_out: Mapping[str, LeftOut]

    def to_json(self) -> dict[str, Any]:
        """The values as JSON holds them."""
        return asdict(self)

    def text(self) -> str:
        """The summary for people."""
        lines = [f"{shown(self.out)}: written as {self.to}."]
        lines += [
            f"left out of {shown(name)}: {what}" for name, left in self.left_out.items() if (what := left.text())
        ]
        for name, split in self.splits.items():
            lines.append(f"{shown(name)}: {split.pictures} pictures, {split.texts} texts, {split.pairs} pairs")
            lines += _equal_lines(split.equal_captions)
        return "\n".join(lines)


def _equal_lines(equal: EqualCaptions) -> list[str]:
    if not equal.captions:
        return []
    examples = ", ".join(f"{shown(text)} ({number})" for text, number in equal.examples.items())
    return [
        f"  captions that stand more than once: {equal.captions}, in {equal.texts} texts: {examples}",
        "  In training, equal captions in a batch count as wrong answers to each other's pictures.",
    ]


def prepare(
    input: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    to: str,
    format: str | None = None,
    only: str | None = None,
    pictures: str | os.PathLike[str] | None = None,
    simplified: bool = False,
    split: float | None = None,
    seed: int = 123,
    force: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> Prepared:
    """Writes image-text data in another format; the bytes of the pictures stay as they are.

    Ids and texts are checked before the first picture is decoded. Every picture is decoded before the first is
    written; broken pictures, empty texts, and texts whose pictures are all broken are left out.

    Args:
        input: a place that `read` takes; all its splits are written.
        out: the folder to write.
        to: a name of `WRITERS`.
        format: the input's format, where several formats claim it.
        only: the single split of the input that is taken.
        pictures: the folder of the pictures, where a file of captions does not lie in it.
        simplified: turns traditional characters into simplified ones (OpenCC's t2s).
        split: divides a single split into train and valid; the share of the pictures that train gets, between 0 and 1.
            The texts of a picture, and the pictures of a text, stay on one side. Texts without pictures and pictures
            without texts are left out.
        seed: chooses the pictures of train.
        force: replaces `out` if `prepare` wrote it.
        progress: called with a line about what was left out.

    Returns:
        What was written, and what was left out.

    Raises:
        InputError: the input or the arguments are wrong, or a package is missing.
        WorkError: `out` could not be written.
    """
    writer = _writer(to)
    if split is not None and not 0 < split < 1:
        raise InputError(f"split is {split}; a share between 0 and 1 was wanted, such as 0.9.")
    simplify = simplifier() if simplified else None
    out = Path(out)
    check_apart(out, Path(input), None if pictures is None else Path(pictures))
    check_outside(out, input, format)
    check_absent(out, force, KIND)

    found = read_splits(input, only, format, pictures)
    _check_answers(found, to, writer, split)
    checked = [_checked(each, simplify, writer.of_pairs or split is not None, progress) for each in found]
    splits = [each.split for each in checked] if split is None else list(divided(checked[0].split, split, seed))
    splits, numberings = numbered(splits) if writer.whole_numbers else (splits, [])
    left = {before.name: _left(each) for before, each in zip(found, checked, strict=True)}
    prepared = Prepared(str(out), to, {each.name: _written(each) for each in splits}, left)
    with staging(out, int(writer.growth * sum(each.size for each in checked)), force, KIND) as folder:
        amount = sum(each.pairs if writer.of_pairs else each.pictures for each in prepared.splits.values())
        with shown_amount(f"Writing {out}", amount, "pairs" if writer.of_pairs else "pictures") as done:
            writer.write(splits, folder, done)
        for each, numbering in zip(splits, numberings, strict=False):
            _write_ids(folder / f"{each.name}_ids.jsonl", numbering)
        _write_record(folder / RECORD, prepared, {"simplified": simplified, "split": split, "seed": seed})
    return prepared


def _writer(to: str) -> Writer:
    if to not in WRITERS:
        raise InputError(f"{to} is no format that is written; wanted {', '.join(WRITERS)}.{near(to, WRITERS)}")
    for module in WRITERS[to].modules:
        extra(module, f"Writing {to}")
    return WRITERS[to]


def _check_answers(splits: Sequence[Split], to: str, writer: Writer, ratio: float | None) -> None:
    if ratio is not None and len(splits) > 1:
        raise InputError(
            f"The input is divided already, into {', '.join(each.name for each in splits)}. Name the split to divide "
            "with only (--only), or leave out split (--split)."
        )
    for each in splits:
        if each.blind and (writer.of_pairs or ratio is not None):
            raise InputError(
                f"No text of {each.name} names a picture: this is a blind test split. Texts with pictures were "
                f"wanted, to {'divide them' if ratio is not None else f'write {to}'}. Name another split with only "
                "(--only), or write tsv or lmdb without split (--split)."
            )


def _checked(
    split: Split, simplify: Callable[[Split], Split] | None, pairs_alone: bool, progress: Callable[[str], None]
) -> Cleaned:
    for line in split.told:
        progress(line)
    found = cleaned(split if simplify is None else simplify(split), pairs_alone=pairs_alone)
    for fault in found.broken.values():
        progress(f"Left out: {fault}")
    return found


def _left(found: Cleaned) -> LeftOut:
    broken = tuple(Broken(*each) for each in found.broken.items())
    return LeftOut(broken, found.empty, found.texts_alone, found.pictures_alone)


def _written(split: Split) -> Written:
    pairs = sum(len(text.image_ids) for text in split.texts)
    return Written(len(split.pictures), len(split.texts), pairs, equal_captions(split))


def _write_record(path: Path, prepared: Prepared, asked: Mapping[str, Any]) -> None:
    """Writes the result without paths: the folder may be published."""
    record = prepared.to_json()
    del record["out"]
    for left in record["left_out"].values():
        left["broken"] = [each["image_id"] for each in left["broken"]]
    path.write_text(json.dumps({**record, **asked}, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _write_ids(path: Path, numbering: Numbering) -> None:
    """Writes which number became of each id; nothing where the ids stayed."""
    lines = [{"image_id": number, "was": was} for was, number in numbering.images.items()]
    lines += [{"text_id": number, "was": was} for was, number in numbering.texts.items()]
    if lines:
        with path.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
