"""What transformers reads from a config.json: the fields that change a number, and the fields for training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .layers import ACTIVATIONS, Activation, Config

# The defaults of BertConfig, XLMRobertaConfig, DistilBertConfig, CLIPTextConfig and CLIPVisionConfig: a stored
# config.json leaves out the fields that equal them.
BERT = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "vocab_size": 30522,
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
CLIP_VISION = {
    **CLIP,
    "hidden_size": 768,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "patch_size": 32,
    "image_size": 224,
}

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
"""Fields that change no embedding, but a later training: dropout, initial values, ids that are not used here.

The id at which CLIP's text is pooled can be stated in two ways; a config.json keeps its own way.
"""


@dataclass(frozen=True)
class Facts:
    """The facts that a tower's tensors do not show."""

    heads: int
    activation: Activation
    eps: float


def nested(config: Config, part: str, defaults: Mapping[str, Any]) -> Facts:
    """The facts in `text_config` or `vision_config` of a config for both towers, see `chosen`.

    Raises:
        LookupError: if neither exists.
        ValueError: if this reference does not know a value.
    """
    return facts(chosen(config, part, defaults))


def chosen(config: Config, part: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `text_config` or `vision_config` in a config for both towers.

    If `<part>_dict` exists too, it replaces `part` as a whole, and the class defaults replace what it leaves out:
    CLIP-Chinese component/configuration.py does so, and transformers' CLIPConfig gives the same values.

    Raises:
        LookupError: if neither exists.
        ValueError: if it is no object.
    """
    return {**defaults, **candidates(config, part)[0]}


def fitting(config: Config, part: str, defaults: Mapping[str, Any], sizes: Mapping[str, int]) -> dict[str, Any]:
    """The fields of `stated`, with the defaults."""
    return {**defaults, **stated(config, part, defaults, sizes)}


def stated(config: Config, part: str, defaults: Mapping[str, Any], sizes: Mapping[str, int]) -> Config:
    """The stated config of a tower; of two, the first with these sizes, else the first.

    A repo of 2022 may hold another model's fields beside its own.

    Args:
        sizes: the tower's fields that its tensors show.
    """
    found = candidates(config, part)
    fits = (each for each in found if all(each.get(key, defaults[key]) == size for key, size in sizes.items()))
    return next(fits, found[0])


def candidates(config: Config, part: str) -> list[Config]:
    """The stated configs of a tower, in order of precedence.

    Raises:
        LookupError: if nothing is stated.
        ValueError: if a stated config is no object.
    """
    found = [config[name] for name in (f"{part}_dict", part) if config.get(name) is not None]
    if not found:
        raise LookupError(f"config.json has no '{part}', and heads are not in the tensors; found {sorted(config)}")
    if wrong := [each for each in found if not isinstance(each, Mapping)]:
        raise ValueError(f"{part} is {wrong[0]!r}; an object was wanted")
    return found


def flat(config: Config, defaults: Mapping[str, Any]) -> Facts:
    """The facts of a config for one tower.

    Raises:
        ValueError: if this reference does not know a value.
    """
    return facts({**defaults, **config})


def of_size(config: Config, side: str, defaults: Config, published: Mapping[int, int], width: int) -> Facts:
    """The facts of a tower whose file states nothing: from the user, else the heads of a published width.

    Raises:
        LookupError: if the heads are neither stated nor published.
        ValueError: if this reference does not know a value.
    """
    stated = config.get(side, {})
    if "num_attention_heads" not in stated and width not in published:
        raise LookupError(
            f"a width of {width} is of no published size ({sorted(published)}), and a weight file does not state its "
            f"heads: give {side}.num_attention_heads"
        )
    heads = {"num_attention_heads": published[width]} if width in published else {}
    return facts({**defaults, **heads, **stated})


COMPUTED: Config = {"position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False}
"""Fields of BERT that change every vector, with the value that is computed here."""


def facts(values: Config) -> Facts:
    """The head count, activation and eps of a tower whose fields all exist.

    Raises:
        ValueError: if this reference does not know a value.
    """
    if values["hidden_act"] not in ACTIVATIONS:
        raise ValueError(f"hidden_act is {values['hidden_act']!r}; this reference has {sorted(ACTIVATIONS)}")
    for name, computed in COMPUTED.items():
        if values.get(name, computed) not in (computed, None):
            raise ValueError(f"{name} is {values[name]!r}; this reference computes {computed!r}")
    return Facts(values["num_attention_heads"], ACTIVATIONS[values["hidden_act"]], values["layer_norm_eps"])


def of_training(values: Config, kind: str) -> dict[str, Any]:
    """The fields of a tower that only affect training; `kind` is a key of `TRAINING`."""
    return {key: values[key] for key in TRAINING[kind]}
