"""The interface of a checkpoint format: a `Source`, and its description of a whole model or of one side."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from .mapping import Rule, Shape
from .reading.read import Checkpoint
from .tokenizers.vocabularies import WORDPIECE, Vocabulary
from .words import Words


@dataclass(frozen=True)
class Signature:
    """How a format is recognised: key patterns that must or must not exist, and how far the keys can be trusted.

    `sizes` accepts only the shapes published for this format, if other models have the same keys. `beside` names files
    that must lie beside the weights; a source whose files are there wins over a source with the same keys and no such
    files. `decides` says what settles the format once the keys match: "keys" (no other format has them),
    "architectures" (config.json must name one of `architectures`), or "format" (nothing in the checkpoint decides; the
    user must state the format). With "keys", a config.json that names none of the `architectures` contradicts the
    format. With "format", so does a config.json whose model type is none of `types`: a model of that type computes
    something else.
    """

    required: tuple[str, ...]
    absent: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    sizes: Mapping[str, tuple[Shape, ...]] = field(default_factory=dict)
    decides: Literal["keys", "architectures", "format"] = "keys"
    architectures: tuple[str, ...] = ()
    types: tuple[str, ...] = ()


@dataclass(frozen=True)
class Relative:
    """A neighbour of a format that is not converted: how it is recognised, and what to do instead.

    `required` and `absent` are key patterns that must or must not exist. `sizes` accepts only these shapes. `altered`
    marks a change to a model, which is named even if a source claims the other keys.
    """

    title: str
    required: tuple[str, ...]
    advice: str
    absent: tuple[str, ...] = ()
    sizes: Mapping[str, tuple[Shape, ...]] = field(default_factory=dict)
    altered: bool = False


@dataclass(frozen=True)
class BareTower:
    """A tower without an embedding: its transformers config, and its pooling."""

    config: Mapping[str, Any]
    pooling: str


@dataclass(frozen=True)
class Tower(BareTower):
    """One side of a dual encoder: a tower with its projection and the width of its embedding.

    `projection` is "none" if the pooled vector itself is the embedding.
    """

    projection: str
    width: int


@dataclass(frozen=True, kw_only=True)
class Texts:
    """What every model with a text tower states about its texts.

    `limits` are sentences for the card. For `text_attends_to_padding`, `text_padded_length` and
    `text_masks_pad_token` see ZhCLIPConfig.
    """

    architecture: str
    context_length: int
    limits: tuple[Words, ...] = ()
    text_attends_to_padding: bool = False
    text_padded_length: int | None = None
    text_masks_pad_token: bool = False


@dataclass(frozen=True, kw_only=True)
class TextAlone(Texts):
    """A text tower alone, whose vectors cannot be compared with pictures."""

    text: BareTower


@dataclass(frozen=True, kw_only=True)
class TextSide(Texts):
    """The text side of a pair; the pair uses the image order of the text side's family."""

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
    """Both sides of a model."""


Description = Whole | TextAlone
"""Every fact about a model that changes a number and is not a tensor."""


def joined(text: TextSide, image: ImageSide, name: str | None = None) -> Whole:
    """Joins two sides that were published apart; `name` is the text part's name in this pair, if it has a name."""
    return Whole(
        architecture=f"{name or text.architecture} with {image.architecture}",
        text=text.text,
        image_order=text.image_order,
        context_length=text.context_length,
        limits=text.limits,
        text_attends_to_padding=text.text_attends_to_padding,
        text_padded_length=text.text_padded_length,
        text_masks_pad_token=text.text_masks_pad_token,
        vision=image.vision,
        image_size=image.image_size,
    )


Tensors = Mapping[str, torch.Tensor]
Json = Mapping[str, Any]

ROOT: Mapping[str, str] = {"": ""}
"""All weights lie in the folder itself."""


@dataclass(frozen=True, kw_only=True)
class Files:
    """The files in which a format's own project keeps a checkpoint: how a converted model goes back.

    `weights` are the names that the project reads its weights from. A repo is written under the name that its
    original had, else under the first. In a pickle, `under` is the key of the state dict ("" if the tensors lie at the
    top), and `beside` is what else lies at the top. `named` gives a tensor's key in the file, from its source key and
    the JSON that states the original. `config` names the file of this JSON; None if no such file belongs to the
    format. `own_vocabulary` says whether the vocabulary lies beside the weights; otherwise the project's package holds
    it. `places` gives, from the JSON files of the original, the folder for the source keys with each prefix; there the
    prefix is left out.

    `made` gives the content of JSON files, from a repo's config; its fields replace those of the original's files.
    `unused` gives the tensors that the class demands and the tables drop, from the other source tensors. `left_out`
    are keys that the tables drop and that the class does not have, or loads without. A dropped key that none of the
    two names is lost for good.

    `load` gives Python code for the variable `folder`, from a repo's config and the JSON that states the original; it
    loads the model with the project's own package. `load_image` gives this code if the class loads an image tower
    alone, from a repo's config; a format without it is no image part. `refused` says why an original with these JSON
    files cannot be written.
    """

    weights: tuple[str, ...]
    load: Callable[[Json, Json], str]
    under: str = ""
    beside: Json = field(default_factory=dict)
    named: Callable[[str, Json], str] = lambda key, stated: key
    config: str | None = None
    own_vocabulary: bool = False
    places: Callable[[Json], Mapping[str, str]] = lambda files: ROOT
    made: Callable[[Json], Json] = lambda config: {}
    unused: Callable[[Tensors], Tensors] = lambda tensors: {}
    left_out: tuple[str, ...] = ()
    load_image: Callable[[Json], str] | None = None
    refused: Callable[[Json], str | None] = lambda files: None


@dataclass(frozen=True)
class Source:
    """One checkpoint format, in the terms of its own project.

    `part` says which towers the format holds. A dual format can also be the image part of a pair. A text format is
    half of a pair. A text tower alone makes a repo of one tower; `describe` gives a whole, a text side or a text tower
    alone accordingly. `rules` joins the tables for the given source keys. `home` gives the tables of the plainest
    layout from a converted model's config, to map the model back. `tokenizer` takes the vocabulary's folder or file
    (None: the vocabulary that ships with this package) and the context length. `vocabulary` says where the vocabulary
    lies and how a witness reads it. `original` builds the witness from the original's own package, or returns None if
    this package is not installed; the reference's module has the source's name. `languages` are the languages of the
    family's training, as the hub writes them. `limits` are the card's sentences about every checkpoint of the format,
    before any conversion; `limits_of_some` are sentences about some checkpoints. `base_model` names a base model if
    the config.json leaves the tower's facts to this model's config.json; the facts found there lie in the config under
    `base_config`.

    `pair_name` gives the name under which a text part and an image part were published together, if both have this
    model's shapes. Without `pair_name`, or if it gives None, the pair's name is made from its two towers.

    `relatives` are the family's models that are not converted. `undecided` is advice for the user who has to choose
    with --format, by a source key that a checkpoint must have for it.

    `describe_image` gives the image side to a pair; a source without an image tower has no `describe_image`. It is
    `describe` itself unless a folder may hold an image tower and no text.

    `files` says which files the original's users load.
    """

    name: str
    title: str
    part: Literal["dual", "text", "alone"]
    signatures: tuple[Signature, ...]
    describe: Callable[[Checkpoint, Mapping[str, Any]], Description | TextSide]
    rules: Callable[[Collection[str]], tuple[Rule, ...]]
    home: Callable[[Mapping[str, Any]], tuple[Rule, ...]]
    tokenizer: Callable[[Path | None, int], Any]
    files: Files
    vocabulary: Vocabulary = WORDPIECE
    reads_config_json: bool = True
    limits: tuple[Words, ...] = ()
    limits_of_some: tuple[Words, ...] = ()
    languages: tuple[str, ...] = ("zh",)
    describe_image: Callable[[Checkpoint, Mapping[str, Any]], ImageSide] | None = None
    base_model: Callable[[Mapping[str, Any]], str | None] | None = None
    pair_name: Callable[[Tower, Tower], str | None] | None = None
    relatives: tuple[Relative, ...] = ()
    undecided: Mapping[str, str] = field(default_factory=dict)
