"""The witness that computes the same as a checkpoint, and the facts that it finds with its own code."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from PIL import Image

from ..words import Words
from .reference.pictures import How
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
    """Facts that a witness found about a source with its own code (`reference/`), to build the peer's package from.

    `config` is the source's own JSON, `vocab` the vocabulary as the witness read it.
    """

    config: Mapping[str, Any]
    vocab: Any
    context_length: int


@dataclass(frozen=True)
class Facts(TextFacts):
    """The facts of a model that also takes pictures; `how` is what the folder states of their preparation."""

    image_size: int
    how: How


@dataclass(frozen=True, kw_only=True)
class Witness:
    """An independent implementation of a model: the original's own package, or the reference.

    Token ids are unpadded in inputs and outputs, except in `encode_text`: it takes ids `(n, length)` padded with the
    tokenizer's pad id and gives L2-normalised `(n, width)` in the dtype that `computing_in` sets. `text_training`
    gives the fields of config.json that change no number. `vocabulary` is what the witness read. No text has more than
    `context_length` ids.
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
    """The witness of a text tower alone: `encode_text` gives the pooled states.

    `text_states` gives the states of all tokens, `(n, length, width)`, also L2-normalised.
    """

    text_states: Encode


@dataclass(frozen=True, kw_only=True)
class WitnessOfPair(Witness):
    """The witness of both sides: `encode_image` takes pixels `(n, 3, size, size)`; `logit_scale` is the stored log."""

    encode_image: Encode
    pixels: Pixels
    logit_scale: Scale
    image_training: Fields


@dataclass(frozen=True)
class Offer:
    """The calls that one package or one module of `reference` offers, under the witness's names.

    Another implementation answers a missing call: the reference for a peer, the other part for a part.
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
