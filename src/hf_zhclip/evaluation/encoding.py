"""A repo's model on a split's texts and pictures: batches -> features."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image

from ..amounts import shown_amount
from ..configuration_zhclip import ZhCLIPConfig
from ..data.split import Split
from ..errors import InputError
from ..json_files import brief
from ..processing_zhclip import normalize_evaluation_text
from .files import Features, Id, Texts

Item = TypeVar("Item")

WANTED = "ZhCLIPModel"
"""The class of a repo with both towers."""


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
            found = [_finite(encode(batch).float().cpu()) for batch in batches(items, self.batch_size)]
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
    model, processor = load_pair(repo, context_length)
    return Encoder(model.eval().to(device or _best_device()), processor, batch_size, context_length, as_cn_clip)


def load_pair(repo: str, context_length: int | None = None) -> tuple[Any, Any]:
    """Loads the model, in the dtype that the repo states, and the processor, from a folder or a hub.

    What needs no weights is checked before they are read. No code of the repo runs.

    Raises:
        InputError: the place is no converted repo of both towers, or has fewer positions than `context_length`.
    """
    if not Path(repo).exists() and repo.count("/") != 1:
        raise InputError(
            f"{repo} does not exist; a folder that `zhclip convert SOURCE OUT` made, or user/repo on the hub, was "
            "wanted."
        )
    with _loading(repo):
        _check_config(repo, context_length)
        return _load(repo)


@contextmanager
def _loading(repo: str) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, TypeError, LookupError, RuntimeError, SafetensorError) as error:
        raise InputError(
            f"{repo} does not load: {error}. A repo was wanted that `zhclip convert SOURCE OUT` made."
        ) from error


def _check_config(repo: str, context_length: int | None) -> None:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(repo, trust_remote_code=False)
    found = (config.architectures or [config.model_type])[0]
    if not isinstance(config, ZhCLIPConfig) or found != WANTED:
        raise InputError(
            f"{repo} holds the model {brief(found)}; a repo with both towers ({WANTED}) was wanted. `zhclip convert "
            "SOURCE OUT` makes it."
        )
    _check_length(context_length, config.max_text_positions)


def _load(repo: str) -> tuple[Any, Any]:
    from transformers import AutoProcessor

    from .. import ZhCLIPModel

    model, found = ZhCLIPModel.from_pretrained(repo, dtype="auto", output_loading_info=True)
    if missing := sorted(map(str, (*found["missing_keys"], *found["mismatched_keys"]))):
        raise InputError(
            f"{repo} lacks {len(missing)} weights, such as {missing[0]}; their values would be drawn at random. "
            "Convert or fetch the repo again."
        )
    return model, AutoProcessor.from_pretrained(repo, trust_remote_code=False)


def _best_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _check_options(device: str | None, batch_size: int) -> None:
    if batch_size < 1:
        raise InputError(f"found --batch-size {batch_size}; 1 or more was wanted.")
    try:
        torch.zeros(1, device=device or "cpu").tolist()  # "meta" makes a tensor, but has no numbers
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"found --device {device}, which this machine does not have: {error}. Try cpu.") from error


def _check_length(length: int | None, positions: int) -> None:
    """Refuses a context length that the text tower does not have.

    Raises:
        InputError: see above.
    """
    if length is not None and not 3 <= length <= positions:
        raise InputError(f"found --context-length {length}; 3 to {positions} was wanted: the text tower has no more.")


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


def _finite(rows: torch.Tensor) -> torch.Tensor:
    if not rows.isfinite().all():
        raise InputError(
            "The model gives vectors that are not finite; finite vectors were wanted. Its weights may be damaged: run "
            "`zhclip verify REPO`."
        )
    return rows


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of `size` items; the last one may be shorter."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
