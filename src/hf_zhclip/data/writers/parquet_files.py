"""Parquet files that `datasets.load_dataset` reads: a row for each pair, with image, text, text_id and image_id."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...extras import extra
from ..split import Split
from .writer import Writer

GROUP, GROUP_ROWS = 2**26, 2**14
"""Bytes of pictures, and rows, of a row group, which is written and read at once."""


def write(splits: Sequence[Split], folder: Path, done: Callable[[int], object]) -> None:
    """Writes pairs in the order of the texts, and pictures with their own bytes."""
    datasets, parquet = extra("datasets", "Writing parquet"), extra("pyarrow.parquet", "Writing parquet")
    numbers = {
        "text_id": all(isinstance(text.id, int) for split in splits for text in split.texts),
        "image_id": all(isinstance(each, int) for split in splits for each in split.image_ids),
    }
    kinds = {name: datasets.Value("int64" if whole else "string") for name, whole in numbers.items()}
    schema = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string"), **kinds}).arrow_schema
    (folder / "data").mkdir()
    for split, name in zip(splits, _names(splits), strict=True):
        path = folder / "data" / f"{name}-00000-of-00001.parquet"
        with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
            _fill(writer, split, schema, {name: int if whole else str for name, whole in numbers.items()}, done)


def _names(splits: Sequence[Split]) -> list[str]:
    """The splits' names as the package datasets takes them: `flickr30k-cna` becomes `flickr30k_cna`."""
    names = [re.sub(r"\W+", "_", split.name) for split in splits]
    if len(set(names)) < len(names):
        raise InputError(
            f"The splits {', '.join(split.name for split in splits)} would have the same names for the package "
            "datasets, which wants letters, digits and _. Take them one by one with only (--only)."
        )
    return names


def _fill(writer, split: Split, schema, kinds: dict[str, Callable[..., Any]], done: Callable[[int], object]) -> None:
    rows: list[dict[str, Any]] = []
    held: dict[int, bytes] = {}  # a picture of several rows is read once
    size = 0
    for text, number in split.pairs():
        content = held.get(number) or held.setdefault(number, split.pictures.content(number))
        ids = {"text_id": text.id, "image_id": split.image_ids[number]}
        stated = {name: kinds[name](each) for name, each in ids.items()}
        rows.append({"image": {"bytes": content, "path": None}, "text": text.text, **stated})
        size += len(content)
        if size >= GROUP or len(rows) >= GROUP_ROWS:
            _put(writer, rows, schema)
            rows, held, size = [], {}, 0
        done(1)
    _put(writer, rows, schema)


def _put(writer, rows: list[dict[str, Any]], schema) -> None:
    if rows:
        pyarrow = extra("pyarrow", "Writing parquet")
        writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))


WRITER = Writer(write, modules=("datasets", "pyarrow.parquet"), whole_numbers=False, of_pairs=True, growth=1.0)
