"""A repo's model on a split's texts and pictures: batches -> features."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from ..amounts import shown_amount
from ..data.split import Split
from ..errors import InputError
from ..inference.embedder import Embedder, collected
from ..inference.loading import best_device, check_device, load_pair
from ..processing_zhclip import normalize_evaluation_text
from .files import Features, Id, Texts

Item = TypeVar("Item")


@dataclass(frozen=True)
class Encoder:
    """A loaded model with its processor; both calls give one L2-normalised float32 row for each input, on the CPU.

    `context_length` is the longest text in tokens, the special tokens included; None keeps the repo's own. With
    `as_cn_clip`, texts are prepared as cn_clip's evaluation prepares them.
    """

    model: Any
    processor: Any
    batch_size: int
    context_length: int | None
    as_cn_clip: bool

    def texts(self, texts: Iterable[str]) -> torch.Tensor:
        """`(texts, dim)`."""
        return self._rows(Embedder.text_rows, map(normalize_evaluation_text, texts) if self.as_cn_clip else texts)

    def pictures(self, pictures: Iterable[Image.Image]) -> torch.Tensor:
        """`(pictures, dim)`; a few batches of pictures are held at a time."""
        return self._rows(Embedder.picture_rows, pictures)

    def _rows(self, rows: Callable[..., Iterable[np.ndarray]], items: Iterable[Any]) -> torch.Tensor:
        embedder = Embedder(self.model, self.processor, self.batch_size, self.context_length)
        return torch.from_numpy(collected(rows(embedder, items), None, embedder.dim))


def load_encoder(
    repo: str, device: str | None, batch_size: int, context_length: int | None, as_cn_clip: bool
) -> Encoder:
    """Loads a converted repo onto a device.

    Raises:
        InputError: the place is no converted repo of both towers, or an option is out of its range.
    """
    _check_options(device, batch_size)
    model, processor = load_pair(repo, context_length)
    return Encoder(model.eval().to(device or best_device()), processor, batch_size, context_length, as_cn_clip)


def _check_options(device: str | None, batch_size: int) -> None:
    if batch_size < 1:
        raise InputError(f"found --batch-size {batch_size}; 1 or more was wanted.")
    check_device(device or "cpu")


def encode_texts(encoder: Encoder, ids: Sequence[Id], texts: Sequence[str]) -> Features:
    """The features of texts, with a progress amount."""
    return Features(list(ids), encoder.texts(counted("Encoding texts", texts, len(ids))))


def encode_pictures(encoder: Encoder, ids: Sequence[Id], pictures: Iterable[Image.Image]) -> Features:
    """The features of pictures, which are decoded one batch at a time, with a progress amount."""
    return Features(list(ids), encoder.pictures(counted("Encoding pictures", pictures, len(ids))))


def encode_split(encoder: Encoder, data: Split) -> tuple[Features, Features]:
    """The features of a split's texts and of its pictures."""
    texts = encode_texts(encoder, [text.id for text in data.texts], [text.text for text in data.texts])
    return texts, encode_pictures(encoder, data.image_ids, (picture for _, picture in data.pictures))


def texts_of(data: Split) -> Texts:
    """A split's texts and the pictures that belong to them, without its pictures."""
    return Texts({text.id: text.text for text in data.texts}, {text.id: text.image_ids for text in data.texts})


def counted(what: str, items: Iterable[Item], total: int) -> Iterator[Item]:
    """The items, with a progress amount."""
    with shown_amount(what, total, "done") as advance:
        for item in items:
            yield item
            advance(1)
