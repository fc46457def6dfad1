"""Another valid value of each fact that `describe` states, and the step of the proof that has to notice it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hf_zhclip.conversion.source import BareTower, Description, TextAlone, Tower, Whole

REFUSED = "refused"
"""Before anything is compared: by the model's config, by keys and shapes, or by the vocabulary."""

TOWER = "its tower"
"""The comparison of this side's vectors: `STEPS`."""

STEPS = {"text": ("text",), "vision": ("image",)}
ALONE = {"text": ("states", "pooled")}
"""By side, in a pair and of a text tower that stands alone."""

Values = Callable[[Any, Mapping[str, Any]], tuple]
"""A value and the config that it stands in -> other valid ones."""


@dataclass(frozen=True)
class Fact:
    """Other values of a field, and the steps of which the first that fails has to be one."""

    others: Values
    caught_by: tuple[str, ...]


def _heads(value: int, config: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(other for other in (value // 2, 2 * value) if other >= 1)


def _activations(value: str, config: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(other for other in ACTIVATIONS if other != value)


def _eps(value: float, config: Mapping[str, Any]) -> tuple[float, ...]:
    # The other two of BERT and CLIP, and the nearest that somebody could mean.
    return tuple(other for other in (1e-12, 1e-5, 10 * value) if other != value)


def _more(value: int, config: Mapping[str, Any]) -> tuple[int, ...]:
    return value - 1, value + 1


def _twice(value: int, config: Mapping[str, Any]) -> tuple[int, ...]:
    return (2 * value,)


def _side(value: int, config: Mapping[str, Any]) -> tuple[int, ...]:
    # One pixel more leaves the grid of patches as it is; a row of patches more, or the next ResNet's, does not.
    return value + 1, value + config.get("patch_size", 32)


def _tower_type(value: str, config: Mapping[str, Any]) -> tuple[str, ...]:
    return OTHER_TOWERS[value]


def _neighbours(value: int, config: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(other for other in (value - 1, value + 1) if other >= 0)


def _ends(value: int, config: Mapping[str, Any]) -> tuple[int, ...]:
    # transformers takes 2 for "the highest id of a text" (models/clip): the same vectors, another config.json.
    last = config["vocab_size"] - 1
    same = {2: (last,), last: (2,)} if config["model_type"] == "clip_text_model" else {}
    return *_neighbours(value, config), *same.get(value, ())


def _poolings(value: str, config: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(other for other in POOLINGS[config["model_type"]] if other != value)


def _padded_lengths(value: int | None, text: Mapping[str, Any]) -> tuple[int | None, ...]:
    taken = text["pad_token_id"] + 1 if text["model_type"] == "xlm-roberta" else 0
    longest = text["max_position_embeddings"] - taken
    return (longest,) if value is None else (None, value + 1, longest)


def only(*values: Any) -> Values:
    """Those of these values that are others."""
    return lambda value, config: tuple(other for other in values if other != value)


ACTIVATIONS = "gelu", "quick_gelu", "relu", "swish"

RESNET_TYPE = "hf_zhclip_resnet"
RESNET = "image_size", "num_attention_heads", "num_channels"
"""Fields that the configs of both image towers have."""

OTHER_TOWERS = {
    # XLM-R has BERT's keys and other positions.
    "bert": ("xlm-roberta", "distilbert"),
    "xlm-roberta": ("bert",),
    "distilbert": ("bert",),
    # No other causal text tower is there: any of the others lacks these keys.
    "clip_text_model": ("bert",),
    "clip_vision_model": (RESNET_TYPE,),
    RESNET_TYPE: ("clip_vision_model",),
}

POOLINGS = {
    "bert": ("cls", "pooler", "mean"),
    "xlm-roberta": ("cls", "pooler", "mean"),
    "distilbert": ("cls", "mean"),
    # It offers no other.
    "clip_text_model": ("eos", "cls"),
    "clip_vision_model": ("pooler", "cls"),
    RESNET_TYPE: ("pooler", "cls"),
}

PROJECTIONS = "linear", "linear_bias", "mlp", "none"

SHAPE = (REFUSED,)
TRAINING = ("config",)

CONFIG: Mapping[str, Fact] = {
    "model_type": Fact(_tower_type, (REFUSED, TOWER)),
    **dict.fromkeys(("num_attention_heads", "n_heads"), Fact(_heads, (TOWER,))),
    **dict.fromkeys(("hidden_act", "activation"), Fact(_activations, (TOWER,))),
    "layer_norm_eps": Fact(_eps, (TOWER,)),
    **dict.fromkeys(("hidden_size", "dim", "width"), Fact(_twice, SHAPE)),
    **dict.fromkeys(("num_hidden_layers", "n_layers", "intermediate_size", "hidden_dim"), Fact(_more, SHAPE)),
    **dict.fromkeys(("vocab_size", "max_position_embeddings", "type_vocab_size", "output_dim"), Fact(_more, SHAPE)),
    "layers": Fact(only([1, 1, 1, 2], [2, 1, 1, 1]), SHAPE),
    "patch_size": Fact(_twice, SHAPE),
    "num_channels": Fact(only(1, 4), SHAPE),
    "image_size": Fact(_side, (REFUSED,)),
    **dict.fromkeys(("dropout", "hidden_dropout_prob", "attention_probs_dropout_prob"), Fact(only(0.2), TRAINING)),
    "attention_dropout": Fact(only(0.2), TRAINING),
    "initializer_range": Fact(only(0.03), TRAINING),
    "initializer_factor": Fact(only(2.0), TRAINING),
    "projection_dim": Fact(_more, TRAINING),
    "bos_token_id": Fact(_neighbours, TRAINING),
    # Of a tower that looks at no end token a field of training; else the tokenizer has to end its texts with it.
    "eos_token_id": Fact(_ends, (REFUSED, *TRAINING)),
    # What is masked has to be what the tokenizer pads with; a causal tower masks nothing.
    "pad_token_id": Fact(_neighbours, (REFUSED, *TRAINING)),
}
"""By field of a tower's config."""

TOWER_FIELDS: Mapping[str, Fact] = {
    "pooling": Fact(_poolings, (REFUSED, TOWER)),
    "projection": Fact(only(*PROJECTIONS), SHAPE),
    "width": Fact(_more, SHAPE),
}

ORDERS = "squash_then_rgb", "rgb_then_squash", "crop_then_rgb", "rgb_then_crop", "crop_up_then_rgb"

DESCRIPTION_FIELDS: Mapping[str, Fact] = {
    "image_order": Fact(only(*ORDERS), ("pixels",)),
    "context_length": Fact(_more, (REFUSED, "ids")),
    # The processor's is held against the tower's, and one pixel more is another picture.
    "image_size": Fact(_side, (REFUSED,)),
    "text_attends_to_padding": Fact(only(True, False), (REFUSED, TOWER)),
    "text_padded_length": Fact(_padded_lengths, (REFUSED, TOWER)),
    "text_masks_pad_token": Fact(only(True, False), (REFUSED, TOWER)),
}

PICTURE = Fact(_side, (REFUSED, "pixels"))
"""The side of a picture wherever it is stated."""

OF_A_PAIR = ("projection", "width", "image_order", "image_size")
"""Fields that a text tower that stands alone does not have."""

WITHOUT_EFFECT = {
    (family, "text_masks_pad_token") for family in ("cn_clip_vit", "cn_clip_flash", "cn_clip_resnet", "modelscope")
}
"""Their tokenizer takes "[PAD]" in a text for characters, so that no text holds the token."""

NOT_IN_CONFIG = {
    "architecture": "a name for the report and the card",
    "limits": "sentences for the card",
}
"""Fields of a Description that reach no config.json and change no number."""


@dataclass(frozen=True)
class Row:
    """One fact of a family's description with another value.

    `place` is "text" or "vision" for a field of that Tower, "text.config" or "vision.config" for one of its config,
    "whole" for a field of the Description. "both" is a field of both towers, and "picture" of the Description and of
    the image tower's config.
    """

    family: str
    place: str
    field: str
    value: Any
    caught_by: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.family}-{self.place}-{self.field}-{self.value}".replace(" ", "")

    def planted(self) -> tuple[str, str, str]:
        """What is planted, whichever family it is planted in."""
        return self.place, self.field, str(self.value)

    def plant(self, description: Description) -> Description:
        """The description with this value."""
        changed = {self.field: self.value}
        if self.place == "whole":
            # Only a text tower that attends to its padding is padded to a length.
            attends = {"text_attends_to_padding": True} if self.field == "text_padded_length" else {}
            return replace(description, **attends, **changed)
        if self.place == "both":
            return replace(description, **{side: replace(getattr(description, side), **changed) for side in STEPS})
        if self.place == "picture":
            vision = replace(description.vision, config={**description.vision.config, **changed})
            return replace(description, vision=vision, **changed)
        side, _, config = self.place.partition(".")
        tower = getattr(description, side)
        # A ResNet's config takes no other field of a ViT's.
        kept = RESNET if self.value == RESNET_TYPE else tower.config
        own = {key: tower.config[key] for key in kept if key in tower.config}
        tower = replace(tower, config={**own, **changed}) if config else replace(tower, **changed)
        return replace(description, **{side: tower})


def unknown(description: Description) -> list[str]:
    """Fields of the towers' configs that no table has another value of."""
    return [f"{side}.{name}" for side, tower in towers(description) for name in tower.config if name not in CONFIG]


def towers(description: Description) -> Iterator[tuple[str, BareTower]]:
    """The towers that there are, by side."""
    return ((side, getattr(description, side)) for side in STEPS if hasattr(description, side))


def rows(family: str, description: Description) -> Iterator[Row]:
    """A row for each other value of each fact; see `unknown` for what is left out."""
    alone = isinstance(description, TextAlone)
    steps = ALONE if alone else STEPS
    for side, tower in towers(description):
        yield from _of_tower(family, side, tower, steps[side])
    for field, fact in DESCRIPTION_FIELDS.items():
        if not (alone and field in OF_A_PAIR) and (family, field) not in WITHOUT_EFFECT:
            tower = description.vision if field == "image_size" else description.text
            yield from _of(family, "whole", field, getattr(description, field), fact, tower.config, steps["text"])
    if isinstance(description, Whole):
        # One width alone makes no pair; both together are projection_dim.
        yield from _of(family, "both", "width", description.text.width, TOWER_FIELDS["width"], {}, ())
        # So would a reader take it wrong: what is one pixel larger fits the weights of a ViT.
        yield from _of(family, "picture", "image_size", description.image_size, PICTURE, description.vision.config, ())


def _of_tower(family: str, side: str, tower: BareTower, steps: tuple[str, ...]) -> Iterator[Row]:
    for field, value in tower.config.items():
        if field in CONFIG:
            yield from _of(family, f"{side}.config", field, value, CONFIG[field], tower.config, steps)
    for field, fact in TOWER_FIELDS.items():
        if isinstance(tower, Tower) or field not in OF_A_PAIR:
            yield from _of(family, side, field, getattr(tower, field), fact, tower.config, steps)


def _of(
    family: str, place: str, field: str, value: Any, fact: Fact, config: Mapping[str, Any], steps: tuple[str, ...]
) -> Iterator[Row]:
    caught_by = tuple(step for each in fact.caught_by for step in (steps if each == TOWER else (each,)))
    for other in fact.others(value, config):
        yield Row(family, place, field, other, caught_by)
