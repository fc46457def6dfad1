"""What transformers reads out of a config.json, for the few fields that change a number."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .layers import ACTIVATIONS, Activation, Config

# The values of BertConfig, CLIPTextConfig and CLIPVisionConfig. A nested part is stored without the fields that equal
# them.
BERT = {
    "num_attention_heads": 12,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "position_embedding_type": "absolute",
}
CLIP_TEXT = {"num_attention_heads": 8, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "eos_token_id": 49407}
CLIP_VISION = {"num_attention_heads": 12, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}


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
    return _facts(chosen(config, part, defaults))


def chosen(config: Config, part: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `text_config` or `vision_config` inside a config of both towers.

    Where `<part>_dict` is there too, it replaces `part` as a whole and what it leaves out is the class default:
    CLIP-Chinese component/configuration.py does so, and transformers' CLIPConfig comes to the same values.

    Raises:
        LookupError: if neither is there.
    """
    stated = config.get(f"{part}_dict")
    if stated is None:
        stated = config.get(part)
    if stated is None:
        raise LookupError(f"config.json has no '{part}', and heads are not in the tensors; found {sorted(config)}")
    return {**defaults, **stated}


def flat(config: Config, defaults: Mapping[str, Any]) -> Facts:
    """The facts of a config of one tower, which always states its head count.

    Raises:
        LookupError: if it does not.
        ValueError: if a value is one that this reference does not know.
    """
    if "num_attention_heads" not in config:
        raise LookupError(
            f"config.json has no 'num_attention_heads', and the tensors do not say; found {sorted(config)}"
        )
    return _facts({**defaults, **config})


def _facts(values: Config) -> Facts:
    if values["hidden_act"] not in ACTIVATIONS:
        raise ValueError(f"hidden_act is '{values['hidden_act']}'; this reference has {sorted(ACTIVATIONS)}")
    if values.get("position_embedding_type", "absolute") != "absolute":
        raise ValueError(f"position_embedding_type is '{values['position_embedding_type']}', not 'absolute'")
    return Facts(values["num_attention_heads"], ACTIVATIONS[values["hidden_act"]], values["layer_norm_eps"])
