"""A split's pairs as rows, and rows as a batch."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch.utils.data import Dataset

from ..data import Split
from ..errors import InputError
from ..processing_zhclip import normalize_evaluation_text


def silent(line: str) -> None:
    """Tells nobody; a lambda could not be sent to a DataLoader's worker."""


class Pairs(Dataset):
    """The pairs of a split: `{"text": str, "image": PIL.Image}`; a picture is decoded when its row is asked for.

    A picture that is broken is told once, and the next readable one of the split takes its place with its own text, so
    that hours of training do not end at it.
    """

    def __init__(self, split: Split, tell: Callable[[str], None] = silent) -> None:
        self._pairs = [(text.text, number) for text, number in split.pairs()]
        self._pictures = split.pictures
        self._tell = tell
        self._told: set[int] = set()
        if not self._pairs:
            raise InputError(
                f"the split {split.name} has no pairs of a text and a picture: there is nothing to learn."
            )

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, row: int) -> dict[str, Any]:
        for each in range(row, row + len(self)):
            text, number = self._pairs[each % len(self)]
            try:
                return {"text": text, "image": self._pictures[number][1]}
            except InputError as error:
                self._tell_once(number, str(error))
        raise InputError("no picture of the split can be read.")

    def _tell_once(self, number: int, why: str) -> None:
        if number not in self._told:
            self._told.add(number)
            self._tell(f"{why} Another pair takes its place.")


@dataclass(frozen=True)
class Collator:
    """Rows of `Pairs` -> the model's inputs; `captions` has a number for each text, equal for equal texts.

    `prepare` changes a picture before the processor does, such as an augmentation. With `as_cn_clip`, texts are
    prepared as cn_clip's training prepares them.
    """

    processor: Any
    context_length: int | None = None
    prepare: Callable[[Image.Image], Image.Image] | None = None
    as_cn_clip: bool = False

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        texts = [normalize_evaluation_text(row["text"]) if self.as_cn_clip else row["text"] for row in rows]
        images = [row["image"] if self.prepare is None else self.prepare(row["image"]) for row in rows]
        length = {} if self.context_length is None else {"max_length": self.context_length}
        inputs = dict(self.processor(text=texts, images=images, return_tensors="pt", **length))
        return {**inputs, "captions": torch.tensor([_number(text) for text in texts])}


def _number(text: str) -> int:
    """A number of 63 bits, the same in every process."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") >> 1
