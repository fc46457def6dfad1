"""A checkpoint format to the rest: a `Source`, and how it describes a whole model or a side of one."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from .mapping import Rule, Shape
from .reading.read import Checkpoint
from .tokenizers.vocabularies import WORDPIECE, Vocabulary
from .words import Words


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
class BareTower:
    """A tower that gives no embedding: its transformers config, and what is pooled."""

    config: Mapping[str, Any]
    pooling: str


@dataclass(frozen=True)
class Tower(BareTower):
    """One side of a dual encoder: also how what is pooled is projected, and to what width.

    `projection` is "none" where the pooled vector itself is the embedding.
    """

    projection: str
    width: int


@dataclass(frozen=True, kw_only=True)
class Texts:
    """What every model with a text tower states of its texts.

    `limits` are sentences for the card. `text_attends_to_padding` and `text_padded_length` are those of ZhCLIPConfig.
    """

    architecture: str
    context_length: int
    limits: tuple[Words, ...] = ()
    text_attends_to_padding: bool = False
    text_padded_length: int | None = None


@dataclass(frozen=True, kw_only=True)
class TextAlone(Texts):
    """A text tower that stands in no space with pictures."""

    text: BareTower


@dataclass(frozen=True, kw_only=True)
class TextSide(Texts):
    """The text side of a pair; the image order is of its family, not of the image side's."""

    text: Tower
    image_order: str


@dataclass(frozen=True, kw_only=True)
class ImageSide:
    """The image side of a pair."""

    architecture: str
    vision: Tower
    image_size: int


@dataclass(frozen=True, kw_only=True)
class Whole(TextSide, ImageSide):
    """Both sides."""


Description = Whole | TextAlone
"""Everything of a model that changes a number and is not a tensor."""


def joined(text: TextSide, image: ImageSide, name: str | None = None) -> Whole:
    """The whole of two sides that were published apart; `name` is the text part's name in this pair, if it has one."""
    return Whole(
        architecture=f"{name or text.architecture} with {image.architecture}",
        text=text.text,
        image_order=text.image_order,
        context_length=text.context_length,
        limits=text.limits,
        text_attends_to_padding=text.text_attends_to_padding,
        text_padded_length=text.text_padded_length,
        vision=image.vision,
        image_size=image.image_size,
    )


@dataclass(frozen=True)
class Source:
    """One checkpoint format, in the words of its own project.

    `part` says which towers it holds; a dual one also serves as the image part of a pair, a text one is half of a
    pair, and a text tower that is alone makes a repo of one tower. `describe` gives a whole, a text side or a text
    tower alone accordingly. `rules` joins the tables that these source keys
    call for; `home` gives those of the plainest layout, from the config of a converted model,
    so that it can be mapped back. `tokenizer` takes the folder or file of the vocabulary (None: what ships with the
    package) and the context length; `vocabulary` says where that lies and how a witness reads it. `original` builds
    the witness from the original's own package, or returns None where that is not installed; the reference's module
    bears the source's name. `languages` are those of the family's training, as the hub writes them; `limits` are what
    a card says before anything is converted, `limits_of_some` what it says of some checkpoints of the format alone.
    `base_model` names the model to whose config.json this one's own leaves the facts of its tower; what is found there
    lies in the config under `base_config`.

    `pair_name` gives the name under which a text part and an image part were published together, where both have the
    shapes of that model; without it, or where it gives None, a pair is called by what its two towers are.

    `describe_image` gives the image side to a pair; a source without an image tower has none. It is `describe` itself
    unless a folder may hold an image tower and no text.
    """

    name: str
    title: str
    part: Literal["dual", "text", "alone"]
    signatures: tuple[Signature, ...]
    describe: Callable[[Checkpoint, Mapping[str, Any]], Description | TextSide]
    rules: Callable[[Collection[str]], tuple[Rule, ...]]
    home: Callable[[Mapping[str, Any]], tuple[Rule, ...]]
    tokenizer: Callable[[Path | None, int], Any]
    vocabulary: Vocabulary = WORDPIECE
    reads_config_json: bool = True
    limits: tuple[Words, ...] = ()
    limits_of_some: tuple[Words, ...] = ()
    languages: tuple[str, ...] = ("zh",)
    describe_image: Callable[[Checkpoint, Mapping[str, Any]], ImageSide] | None = None
    base_model: Callable[[Mapping[str, Any]], str | None] | None = None
    pair_name: Callable[[Tower, Tower], str | None] | None = None
