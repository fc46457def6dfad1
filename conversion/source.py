"""A checkpoint format to the rest: a `Source`, the `Description` that it gives, and the `Witness` of its numbers."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image

from .mapping import Rule, Shape
from .read import Checkpoint
from .tokenizer import WORDPIECE, Vocabulary


@dataclass(frozen=True)
class Signature:
    """How a format is known: patterns of keys that must be there or must not, and how far keys can be trusted.

    `sizes` narrows keys that other models have too to the shapes published for this one. `beside` names files that
    have to lie beside the weights: where they do, they outweigh a source that has the same keys without them.
    `decides` says what settles it once the keys match: "keys" (no other format has them), "architectures" (only the
    config.json's own word, one of `architectures`), or "format" (nothing in the checkpoint: the user has to say).
    Where keys settle it, a config.json that names none of the `architectures` still contradicts them.
    """

    required: tuple[str, ...]
    absent: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    sizes: Mapping[str, tuple[Shape, ...]] = field(default_factory=dict)
    decides: Literal["keys", "architectures", "format"] = "keys"
    architectures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tower:
    """One side of the model: its transformers config, what is pooled, how it is projected, and to what width.

    `projection` is "none" where the pooled vector itself is the embedding, and None where it is no embedding: such a
    tower stands alone.
    """

    config: Mapping[str, Any]
    pooling: str
    projection: str | None
    width: int


@dataclass(frozen=True)
class Description:
    """Everything of a checkpoint that changes a number and is not a tensor.

    A part has one tower of the two, and so has a text tower that stands alone, which brings no pictures.

    `limits` are sentences for the card. `text_attends_to_padding` and `text_padded_length` are those of ZhCLIPConfig.
    """

    architecture: str
    text: Tower | None = None
    vision: Tower | None = None
    image_order: str | None = None
    context_length: int | None = None
    image_size: int | None = None
    limits: tuple[str, ...] = ()
    text_attends_to_padding: bool = False
    text_padded_length: int | None = None


@dataclass(frozen=True)
class Evidence:
    """What a witness is given of one part beside its tensors: nothing that the conversion has concluded.

    `files` are the JSON files that lie with the weights, as they lie there, by their place as seen from the weights'
    folder; `hashes` are the SHA-256 of the same. `stated` is the JSON that the user gave, or that the catalogue has.
    """

    files: Mapping[str, Any]
    hashes: Mapping[str, str]
    stated: Mapping[str, Any]


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

    name: str
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


@dataclass(frozen=True)
class Source:
    """One checkpoint format, in the words of its own project.

    `part` says which towers it holds; a dual one also serves as the image part of a pair, a text one is half of a
    pair, and a text tower that is alone makes a repo of one tower. `rules` joins the tables that these source keys
    call for; `home` gives those of the plainest layout, from the config of a converted model,
    so that it can be mapped back. `tokenizer` takes the folder or file of the vocabulary (None: what ships with the
    package) and the context length; `vocabulary` says where that lies and how a witness reads it. `original` builds
    the witness from the original's own package, or returns None where that is not installed; the reference's module
    bears the source's name. `languages` are those of the family's training, as the hub writes them; `limits` are what
    a card says of texts before anything is converted. `base_model` names the model to whose config.json this one's own
    leaves the facts of its tower; what is found there lies in the config under `base_config`.

    `describe_image` is for an image part whose folder may hold no text tower at all: without it the whole is
    described and its text left out.
    """

    name: str
    title: str
    part: Literal["dual", "text", "vision", "alone"]
    signatures: tuple[Signature, ...]
    describe: Callable[[Checkpoint, Mapping[str, Any]], Description]
    rules: Callable[[Collection[str]], tuple[Rule, ...]]
    home: Callable[[Mapping[str, Any]], tuple[Rule, ...]]
    tokenizer: Callable[[Path | None, int], Any] | None = None
    vocabulary: Vocabulary = WORDPIECE
    reads_config_json: bool = True
    limits: tuple[str, ...] = ()
    languages: tuple[str, ...] = ("zh",)
    describe_image: Callable[[Checkpoint, Mapping[str, Any]], Description] | None = None
    base_model: Callable[[Mapping[str, Any]], str | None] | None = None
