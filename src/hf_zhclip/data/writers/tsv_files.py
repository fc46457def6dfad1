"""cn_clip's `{split}_imgs.tsv` and `{split}_texts.jsonl`; see the reader of the same name."""

import base64
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from ..split import Split
from .writer import Writer


def write(splits: Sequence[Split], folder: Path, done: Callable[[int], object]) -> None:
    """Writes pictures with their own bytes, in the standard alphabet of base64."""
    for split in splits:
        with (folder / f"{split.name}_imgs.tsv").open("wb") as file:
            for number, each in enumerate(split.image_ids):
                file.write(b"%s\t%s\n" % (str(each).encode(), base64.b64encode(split.pictures.content(number))))
                done(1)
        write_texts(split, folder / f"{split.name}_texts.jsonl")


def write_texts(split: Split, path: Path) -> None:
    """Writes an object for each text on a line of its own."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for text in split.texts:
            line = {"text_id": text.id, "text": text.text, "image_ids": list(text.image_ids)}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


WRITER = Writer(write)
