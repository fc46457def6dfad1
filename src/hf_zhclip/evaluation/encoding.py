"""A repo's model on a split's texts and pictures: batches -> features."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image

from ..amounts import shown_amount
from ..errors import InputError
from ..processing_zhclip import normalize_evaluation_text
from .files import Features, Id

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
        prepared = map(normalize_evaluation_text, texts) if self.as_cn_clip else texts
        return self._rows(self._text_batch, prepared)

    def pictures(self, pictures: Iterable[Image.Image]) -> torch.Tensor:
        """`(pictures, dim)`; a batch of pictures is held at a time."""
        return self._rows(self._picture_batch, pictures)

    def _rows(self, encode: Callable[[list[Any]], torch.Tensor], items: Iterable[Any]) -> torch.Tensor:
        with torch.inference_mode():
            found = [encode(batch).float().cpu() for batch in batches(items, self.batch_size)]
        return torch.cat(found) if found else torch.empty(0, self.model.config.projection_dim)

    def _text_batch(self, texts: list[str]) -> torch.Tensor:
        length = {} if self.context_length is None else {"max_length": self.context_length}
        inputs = self.processor(text=texts, return_tensors="pt", **length)
        return self.model.encode_text(**inputs.to(self.model.device))

    def _picture_batch(self, pictures: list[Image.Image]) -> torch.Tensor:
        inputs = self.processor(images=pictures, return_tensors="pt")
        return self.model.encode_image(**inputs.to(self.model.device, self.model.dtype))


def load_encoder(
    repo: str, device: str | None, batch_size: int, context_length: int | None, as_cn_clip: bool
) -> Encoder:
    """Loads a converted repo onto a device.

    Raises:
        InputError: the place is no converted repo of both towers, or an option is out of its range.
    """
    _check_options(device, batch_size)
    model, processor = load_pair(repo)
    check_length(context_length, model.config.text_config.max_position_embeddings)
    return Encoder(model.eval().to(device or _best_device()), processor, batch_size, context_length, as_cn_clip)


def load_pair(repo: str) -> tuple[Any, Any]:
    """Loads the model, in the dtype that the repo states, and the processor, from a folder or a hub.

    Raises:
        InputError: the place is no converted repo of both towers.
    """
    from transformers import AutoModel, AutoProcessor

    from .. import ZhCLIPModel

    if not Path(repo).exists() and repo.count("/") != 1:
        raise InputError(f"{repo} does not exist; a folder of `zhclip convert`, or user/repo on the hub, was wanted.")
    try:
        model, processor = AutoModel.from_pretrained(repo, dtype="auto"), AutoProcessor.from_pretrained(repo)
    except (OSError, ValueError, TypeError, LookupError, RuntimeError) as error:
        raise InputError(
            f"{repo} does not load: {error}. `zhclip convert SOURCE OUT` makes a repo that does."
        ) from error
    if not isinstance(model, ZhCLIPModel):
        raise InputError(
            f"{repo} loads as {type(model).__name__}; a converted repo with both towers was wanted. "
            "`zhclip convert SOURCE OUT` makes one."
        )
    return model, processor


def _best_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _check_options(device: str | None, batch_size: int) -> None:
    if batch_size < 1:
        raise InputError(f"found --batch-size {batch_size}; 1 or more was wanted.")
    try:
        torch.empty(0, device=device or "cpu")
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"found --device {device}, which this machine does not have: {error}. Try cpu.") from error


def check_length(length: int | None, positions: int) -> None:
    """Refuses a context length that the text tower does not have.

    Raises:
        InputError: see above.
    """
    if length is not None and not 3 <= length <= positions:
        raise InputError(f"found --context-length {length}; 3 to {positions} was wanted: the text tower has no more.")


def encode_texts(encoder: Encoder, ids: Sequence[Id], texts: Sequence[str]) -> Features:
    """The features of texts, with a progress amount."""
    return Features(list(ids), encoder.texts(_counted("Encoding texts", texts, len(ids))))


def encode_pictures(encoder: Encoder, ids: Sequence[Id], pictures: Iterable[Image.Image]) -> Features:
    """The features of pictures, which are decoded one batch at a time, with a progress amount."""
    return Features(list(ids), encoder.pictures(_counted("Encoding pictures", pictures, len(ids))))


def _counted(what: str, items: Iterable[Item], total: int) -> Iterator[Item]:
    with shown_amount(what, total, "done") as advance:
        for item in items:
            yield item
            advance(1)


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of `size` items; the last one may be shorter."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
