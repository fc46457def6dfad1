"""Who computes the same as a checkpoint, and what it has found of the checkpoint by its own code."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from PIL import Image

from ..words import Words
from .reference.vocabularies import Table

Level = Literal["peer", "reference"]
Computing = Callable[[torch.dtype], AbstractContextManager]
Encode = Callable[[torch.Tensor], torch.Tensor]
TokenIds = Callable[[Sequence[str]], list[list[int]]]
Pixels = Callable[[Image.Image], torch.Tensor]
Scale = Callable[[], float]
Fields = Callable[[], Mapping[str, Any]]


@dataclass(frozen=True)
class TextFacts:
    """What a witness has found of a source by its own code (`reference/`), for the peer's package to be built from.

    `config` is the source's own JSON, `vocab` what the witness has read at the path of the vocabulary.
    """

    config: Mapping[str, Any]
    vocab: Any
    context_length: int


@dataclass(frozen=True)
class Facts(TextFacts):
    """The same of a model that takes pictures, too."""

    image_size: int


@dataclass(frozen=True, kw_only=True)
class Witness:
    """Somebody else who computes what a model computes: the original's own package, or the reference.

    Token ids come and go unpadded; `encode_text` takes ids `(n, length)` padded with the tokenizer's pad id and gives
    L2-normalised `(n, width)` in the dtype that `computing_in` sets. `text_training` gives the fields of config.json
    that no number shows. `vocabulary` is what it has read, and no text has more than `context_length` ids.
    """

    name: Words
    level: Level
    computing_in: Computing
    encode_text: Encode
    token_ids: TokenIds
    text_training: Fields
    vocabulary: Table
    context_length: int


@dataclass(frozen=True, kw_only=True)
class WitnessOfTextAlone(Witness):
    """Of a text tower alone: `encode_text` gives what is pooled.

    `text_states` gives the states of all tokens, `(n, length, width)`, normalised likewise.
    """

    text_states: Encode


@dataclass(frozen=True, kw_only=True)
class WitnessOfPair(Witness):
    """Of both sides: `encode_image` takes pixels `(n, 3, size, size)`, and `logit_scale` is the stored logarithm."""

    encode_image: Encode
    pixels: Pixels
    logit_scale: Scale
    image_training: Fields


@dataclass(frozen=True)
class Offer:
    """The calls of a witness that one package or one module of `reference` has, under the witness's names.

    A call that it does not have somebody else answers: of a peer the reference, of a part the other part.
    """

    name: Words
    level: Level
    computing_in: Computing
    encode_text: Encode | None = None
    encode_image: Encode | None = None
    token_ids: TokenIds | None = None
    pixels: Pixels | None = None
    logit_scale: Scale | None = None
    text_states: Encode | None = None
    text_training: Fields | None = None
    image_training: Fields | None = None
