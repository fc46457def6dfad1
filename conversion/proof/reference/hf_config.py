"""What transformers reads out of a config.json: the fields that change a number, and those of training beside them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .layers import ACTIVATIONS, Activation, Config

# The values of BertConfig, XLMRobertaConfig, DistilBertConfig, CLIPTextConfig and CLIPVisionConfig: what a config.json
# leaves out, because it is stored without the fields that equal them.
BERT = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "initializer_range": 0.02,
}
XLM_ROBERTA = {**BERT, "bos_token_id": 0, "eos_token_id": 2}
DISTILBERT = {
    "n_heads": 12,
    "activation": "gelu",
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "initializer_range": 0.02,
}
CLIP = {
    "num_hidden_layers": 12,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "attention_dropout": 0.0,
    "projection_dim": 512,
    "initializer_range": 0.02,
    "initializer_factor": 1.0,
}
CLIP_TEXT = {
    **CLIP,
    "hidden_size": 512,
    "num_attention_heads": 8,
    "bos_token_id": 49406,
    "eos_token_id": 49407,
    "pad_token_id": 1,
}
CLIP_VISION = {**CLIP, "hidden_size": 768, "num_attention_heads": 12}

TRAINING = {
    "bert": ("hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range"),
    "distilbert": ("dropout", "attention_dropout", "initializer_range"),
    "clip": ("attention_dropout", "initializer_range", "initializer_factor", "projection_dim"),
    "clip_text": (
        *("attention_dropout", "initializer_range", "initializer_factor", "projection_dim"),
        *("bos_token_id", "eos_token_id", "pad_token_id"),
    ),
    "xlm_roberta": (
        *("hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range"),
        *("bos_token_id", "eos_token_id"),
    ),
}
"""Fields that change no embedding, but a later training: dropout, initial values, ids that nothing here asks for.

Of the id at which CLIP's text is pooled there are two ways to say the same, of which a config.json keeps its own.
"""


@dataclass(frozen=True)
class Facts:
    """What a tower's tensors do not say."""

    heads: int
    activation: Activation
    eps: float


def nested(config: Config, part: str, defaults: Mapping[str, Any]) -> Facts:
    """The facts of `text_config` or `vision_config` inside a config of both towers, see `chosen`.

    Raises:
        LookupError: if neither is there.
        ValueError: if a value is one that this reference does not know.
    """
    return facts(chosen(config, part, defaults))


def chosen(config: Config, part: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `text_config` or `vision_config` inside a config of both towers.

    Where `<part>_dict` is there too, it replaces `part` as a whole and what it leaves out is the class default:
    CLIP-Chinese component/configuration.py does so, and transformers' CLIPConfig comes to the same values.

    Raises:
        LookupError: if neither is there.
        ValueError: if it is no object.
    """
    return {**defaults, **candidates(config, part)[0]}


def fitting(config: Config, part: str, defaults: Mapping[str, Any], sizes: Mapping[str, int]) -> dict[str, Any]:
    """The same, see `stated`."""
    return {**defaults, **stated(config, part, defaults, sizes)}


def stated(config: Config, part: str, defaults: Mapping[str, Any], sizes: Mapping[str, int]) -> Config:
    """What is stated of a tower, of two the first that has these sizes.

    A repo of 2022 may carry another model's fields beside its own.

    Args:
        sizes: fields of the tower that its tensors give away.
    """
    found = candidates(config, part)
    fits = (each for each in found if all(each.get(key, defaults[key]) == size for key, size in sizes.items()))
    return next(fits, found[0])


def candidates(config: Config, part: str) -> list[Config]:
    """What is stated of a tower, in the order in which it counts.

    Raises:
        LookupError: if nothing is.
        ValueError: if it is no object.
    """
    found = [config[name] for name in (f"{part}_dict", part) if config.get(name) is not None]
    if not found:
        raise LookupError(f"config.json has no '{part}', and heads are not in the tensors; found {sorted(config)}")
    if wrong := [each for each in found if not isinstance(each, Mapping)]:
        raise ValueError(f"{part} is {wrong[0]!r}; an object was wanted")
    return found


def flat(config: Config, defaults: Mapping[str, Any]) -> Facts:
    """The facts of a config of one tower.

    Raises:
        ValueError: if a value is one that this reference does not know.
    """
    return facts({**defaults, **config})


def of_size(config: Config, side: str, defaults: Config, published: Mapping[int, int], width: int) -> Facts:
    """The facts of a tower whose file states nothing: the user's word first, then the heads of a published width.

    Raises:
        LookupError: if the heads are neither stated nor published.
        ValueError: if a value is one that this reference does not know.
    """
    stated = config.get(side, {})
    if "num_attention_heads" not in stated and width not in published:
        raise LookupError(
            f"a width of {width} is of no published size ({sorted(published)}), and a weight file does not state its "
            f"heads: give {side}.num_attention_heads"
        )
    heads = {"num_attention_heads": published[width]} if width in published else {}
    return facts({**defaults, **heads, **stated})


def facts(values: Config) -> Facts:
    """Head count, activation and eps of a tower whose fields are all there.

    Raises:
        ValueError: if a value is one that this reference does not know.
    """
    if values["hidden_act"] not in ACTIVATIONS:
        raise ValueError(f"hidden_act is {values['hidden_act']!r}; this reference has {sorted(ACTIVATIONS)}")
    if values.get("position_embedding_type", "absolute") != "absolute":
        raise ValueError(f"position_embedding_type is '{values['position_embedding_type']}', not 'absolute'")
    return Facts(values["num_attention_heads"], ACTIVATIONS[values["hidden_act"]], values["layer_norm_eps"])


def of_training(values: Config, kind: str) -> dict[str, Any]:
    """The fields of a tower that act in training alone; `kind` is one of `TRAINING`."""
    return {key: values[key] for key in TRAINING[kind]}
