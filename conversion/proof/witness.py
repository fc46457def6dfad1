"""Who computes the same as a checkpoint, and what it has found of the checkpoint by its own code."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from PIL import Image

from ..words import Words


@dataclass(frozen=True)
class Facts:
    """What a witness has found of a source by its own code (`reference/`), for the peer's package to be built from.

    `config` is the source's own JSON, `vocab` what the witness has read at the path of the vocabulary; a text tower
    alone has no `image_size`.
    """

    config: Mapping[str, Any]
    vocab: Any
    context_length: int | None
    image_size: int | None


@dataclass(frozen=True)
class Witness:
    """Somebody else who computes what the checkpoint computes: the original's own package, or the reference.

    Token ids come and go unpadded; `encode_text` takes ids `(n, length)` padded with the tokenizer's pad id,
    `encode_image` pixels `(n, 3, size, size)`; both give L2-normalised `(n, width)` in the dtype that `computing_in`
    sets. `logit_scale` is the stored logarithm. Of a text tower alone `encode_text` gives the pooled vectors, and
    `text_states` the states of all tokens, `(n, length, width)`, normalised likewise. `text_training` and
    `image_training` give the fields of config.json that no number shows.
    """

    name: Words
    level: Literal["peer", "reference"]
    computing_in: Callable[[torch.dtype], AbstractContextManager]
    encode_text: Callable[[torch.Tensor], torch.Tensor] | None = None
    encode_image: Callable[[torch.Tensor], torch.Tensor] | None = None
    token_ids: Callable[[Sequence[str]], list[list[int]]] | None = None
    pixels: Callable[[Image.Image], torch.Tensor] | None = None
    logit_scale: Callable[[], float] | None = None
    text_states: Callable[[torch.Tensor], torch.Tensor] | None = None
    text_training: Callable[[], Mapping[str, Any]] | None = None
    image_training: Callable[[], Mapping[str, Any]] | None = None
