"""A checkpoint format to the rest: a `Source` and the `Description` that it gives."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from .mapping import Rule, Shape
from .reading.read import Checkpoint
from .tokenizers.vocabularies import WORDPIECE, Vocabulary


@dataclass(frozen=True)
class Signature:
    """How a format is known: patterns of keys that must be there or must not, and how far keys can be trusted.

    `sizes` narrows keys that other models have too to the shapes published for this one. `beside` names files that
    have to lie beside the weights: where they do, they outweigh a source that has the same keys without them.
    `decides` says what settles it once the keys match: "keys" (no other format has them), "architectures" (only the
    config.json's own word, one of `architectures`), or "format" (nothing in the checkpoint: the user has to say).
    Where keys settle it, a config.json that names none of the `architectures` still contradicts them, and where the
    user says it, one whose model type is none of `types`: a model of that type computes something else.
    """

    required: tuple[str, ...]
    absent: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    sizes: Mapping[str, tuple[Shape, ...]] = field(default_factory=dict)
    decides: Literal["keys", "architectures", "format"] = "keys"
    architectures: tuple[str, ...] = ()
    types: tuple[str, ...] = ()


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

    `pair_name` gives the name under which a text part and an image part were published together, where both have the
    shapes of that model; without it, or where it gives None, a pair is called by what its two towers are.

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
    pair_name: Callable[[Tower, Tower], str | None] | None = None
