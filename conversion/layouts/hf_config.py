"""Tower configs from a Hugging Face config.json, checked against the weights' shapes."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InputError
from ..mapping import Shape, matches

# Defaults of the towers' config classes. A config.json leaves out fields with these values, so that they are facts.
BERT_DEFAULTS = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
    "vocab_size": 30522,
}
XLM_ROBERTA_DEFAULTS = {**BERT_DEFAULTS, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
DISTILBERT_DEFAULTS = {
    "dim": 768,
    "n_layers": 6,
    "n_heads": 12,
    "hidden_dim": 3072,
    "activation": "gelu",
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "max_position_embeddings": 512,
    "initializer_range": 0.02,
    "pad_token_id": 0,
    "vocab_size": 30522,
}
CLIP_VISION_DEFAULTS = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "quick_gelu",
    "attention_dropout": 0.0,
    "image_size": 224,
    "patch_size": 32,
    "projection_dim": 512,
    "num_channels": 3,
    "initializer_range": 0.02,
    "initializer_factor": 1.0,
    "layer_norm_eps": 1e-5,
}

CLIP_TEXT_DEFAULTS = {
    "hidden_size": 512,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "intermediate_size": 2048,
    "hidden_act": "quick_gelu",
    "attention_dropout": 0.0,
    "max_position_embeddings": 77,
    "projection_dim": 512,
    "initializer_range": 0.02,
    "initializer_factor": 1.0,
    "layer_norm_eps": 1e-5,
    "bos_token_id": 49406,
    "eos_token_id": 49407,
    "pad_token_id": 1,
    "vocab_size": 49408,
}


def count_layers(shapes: Mapping[str, Shape], pattern: str) -> int:
    """The number of layers that have a key of this pattern; `{}` in the pattern is the layer number."""
    return sum(matches(pattern, key) for key in shapes)


def bert_shapes(shapes: Mapping[str, Shape], prefix: str) -> dict[str, int]:
    """A BERT's sizes that follow from its shapes; `prefix` ends with a dot or is empty."""
    words = shapes[prefix + "embeddings.word_embeddings.weight"]
    intermediate = prefix + "encoder.layer.{}.intermediate.dense.weight"
    return {
        "vocab_size": words[0],
        "hidden_size": words[1],
        "num_hidden_layers": count_layers(shapes, intermediate),
        "intermediate_size": shapes.get(intermediate.format(0), (0,))[0],
        "max_position_embeddings": shapes[prefix + "embeddings.position_embeddings.weight"][0],
        "type_vocab_size": shapes[prefix + "embeddings.token_type_embeddings.weight"][0],
    }


def vit_shapes(patch: Shape, positions: int, layers: int, intermediate: int) -> dict[str, int]:
    """A ViT's sizes from its patch embedding `(width, 3, patch, patch)` and its number of positions.

    Raises:
        InputError: the positions are not a square grid plus a class token, or the colours are not three.
    """
    if patch[1] != 3:
        raise InputError(f"The image tower takes pictures of {patch[1]} channels; three (RGB) were wanted.")
    grid = round((positions - 1) ** 0.5)
    if grid * grid + 1 != positions:
        raise InputError(
            f"The image tower has {positions} positions; wanted a square number plus 1 (for the class token)."
        )
    return {
        "hidden_size": patch[0],
        "num_hidden_layers": layers,
        "intermediate_size": intermediate,
        "image_size": grid * patch[-1],
        "patch_size": patch[-1],
        "num_channels": patch[1],
    }


def clip_vision_shapes(shapes: Mapping[str, Shape]) -> dict[str, int]:
    """A Hugging Face CLIP image tower's sizes that follow from its shapes."""
    fc1 = "vision_model.encoder.layers.{}.mlp.fc1.weight"
    return vit_shapes(
        patch=shapes["vision_model.embeddings.patch_embedding.weight"],
        positions=shapes["vision_model.embeddings.position_embedding.weight"][0],
        layers=count_layers(shapes, fc1),
        intermediate=shapes.get(fc1.format(0), (0,))[0],
    )


def clip_text_shapes(shapes: Mapping[str, Shape]) -> dict[str, int]:
    """A Hugging Face CLIP text tower's sizes that follow from its shapes."""
    words = shapes["text_model.embeddings.token_embedding.weight"]
    fc1 = "text_model.encoder.layers.{}.mlp.fc1.weight"
    return {
        "vocab_size": words[0],
        "hidden_size": words[1],
        "num_hidden_layers": count_layers(shapes, fc1),
        "intermediate_size": shapes.get(fc1.format(0), (0,))[0],
        "max_position_embeddings": shapes["text_model.embeddings.position_embedding.weight"][0],
    }


def distilbert_shapes(shapes: Mapping[str, Shape], prefix: str) -> dict[str, int]:
    """A DistilBERT's sizes that follow from its shapes; `prefix` ends with a dot or is empty."""
    words = shapes[prefix + "embeddings.word_embeddings.weight"]
    inner = prefix + "transformer.layer.{}.ffn.lin1.weight"
    return {
        "vocab_size": words[0],
        "dim": words[1],
        "n_layers": count_layers(shapes, inner),
        "hidden_dim": shapes.get(inner.format(0), (0,))[0],
        "max_position_embeddings": shapes[prefix + "embeddings.position_embeddings.weight"][0],
    }


DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "bert": BERT_DEFAULTS,
    "xlm-roberta": XLM_ROBERTA_DEFAULTS,
    "distilbert": DISTILBERT_DEFAULTS,
    "clip_text_model": CLIP_TEXT_DEFAULTS,
    "clip_vision_model": CLIP_VISION_DEFAULTS,
}
"""By model type."""

ACTIVATION_FIELDS = {"distilbert": "activation"}
HEAD_FIELDS = {"distilbert": ("n_heads", "dim")}
"""The field names of activation, heads and width in tower configs that do not use the usual names."""

ALIASES = {"distilbert": {"hidden_size": "dim", "num_attention_heads": "n_heads", "num_hidden_layers": "n_layers"}}
"""Second names of fields (transformers, `attribute_map`)."""

FIXED = {"position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False}
CAUSAL = {"is_causal": True}
"""Fields that change a number and have one value here; `is_causal` removes CLIP's own mask (masking_utils.py)."""


def check_there(config: Mapping[str, Any]) -> None:
    """Refuses weights without a config.json, because their shapes do not show every fact."""
    if not config:
        raise InputError(
            "There is no config.json beside the weights, or config.json is empty. Fetch config.json from the page of "
            "the weights into the weights' folder, or pass the file: --config FILE."
        )


def tower_config(
    model_type: str, stated: Sequence[Mapping[str, Any]], found: Mapping[str, int], where: str
) -> dict[str, Any]:
    """The tower's config: the first stated config that agrees with the shapes.

    Two can exist: old files have a `text_config_dict` beside `text_config`, and one may belong to another model.

    Raises:
        InputError: every stated config contradicts the shapes; the message lists each field, stated and found.
    """
    defaults = DEFAULTS[model_type]
    wrong: list[str] = []
    for each in stated:
        _check_kinds(each, defaults, where)
        config = {key: each.get(key, default) for key, default in defaults.items()}
        conflicts = [
            f"{key}: config.json says {config[key]}, the shapes say {value}"
            for key, value in found.items()
            if config[key] != value
        ]
        if not conflicts:
            _check_kind(each, model_type, where)
            check_activation(config[ACTIVATION_FIELDS.get(model_type, "hidden_act")], f"The {where} of config.json")
            _check_eps(config, where)
            _check_heads(config, *HEAD_FIELDS.get(model_type, ("num_attention_heads", "hidden_size")), where)
            _check_unheld(each, model_type, where)
            return {"model_type": model_type, **config}
        wrong += conflicts
    detail = "; ".join(dict.fromkeys(wrong)) or f"config.json has no {where}"
    raise InputError(
        f"The {where} of config.json does not fit the weights: {detail}. Take weights and config.json from the same "
        "folder."
    )


KINDS = {
    "bert": ("bert", "chinese_clip_text_model"),
    "clip_vision_model": ("clip_vision_model", "clip", "chinese_clip_vision_model"),
    "clip_text_model": ("clip_text_model", "clip"),
}
"""Model types under which a config.json may state a tower; towers not listed here have only their own type."""

CLASSES = {"bert": "Bert", "xlm-roberta": "XLMRoberta", "distilbert": "DistilBert"}
"""The prefixes of the class names that share a tower, for a config.json without a model type."""


def _check_kind(stated: Mapping[str, Any], model_type: str, where: str) -> None:
    """Refuses a tower with these keys that computes something else; RoBERTa, for example, has BERT's keys."""
    found, classes, begin = stated.get("model_type"), stated.get("architectures"), CLASSES.get(model_type)
    if found is not None and found not in KINDS.get(model_type, (model_type,)):
        said = f"of model_type {found!r}; {model_type!r} was wanted"
    elif found is None and begin and isinstance(classes, list) and classes and not str(classes[0]).startswith(begin):
        said = f"of class {classes[0]}; a class that begins with {begin} was wanted"
    else:
        return
    raise InputError(
        f"The {where} of config.json is {said}. Another model with the same keys may compute something else. Take "
        "weights and config.json from the same folder. If they are from the same folder, this kind of model is not "
        "converted."
    )


def _check_kinds(stated: Any, defaults: Mapping[str, Any], where: str) -> None:
    """Refuses a value that is no object, and a field that is no word or no number although it must be."""
    if not isinstance(stated, Mapping):
        raise InputError(f"The {where} of config.json is {stated!r}; a JSON object was wanted.")
    for key, default in defaults.items():
        kinds = (str,) if isinstance(default, str) else (int,) if isinstance(default, int) else (int, float)
        value = stated.get(key, default)
        if not isinstance(value, kinds) or isinstance(value, bool):
            wanted = "a word" if str in kinds else "a number"
            raise InputError(
                f"The {where} of config.json states {key} {value!r}; {wanted} was wanted. Correct this field."
            )


ACTIVATIONS = ("gelu", "quick_gelu", "relu", "swish")
"""Activations that transformers and the reference both have under these names."""


def check_activation(name: Any, where: str) -> None:
    """Refuses an activation that cannot be verified."""
    if name not in ACTIVATIONS:
        raise InputError(f"{where} states the activation {name!r}; supported are {', '.join(ACTIVATIONS)}.")


def _check_eps(config: Mapping[str, Any], where: str) -> None:
    eps = config.get("layer_norm_eps")
    if eps is not None and not 0 < eps < 1:
        raise InputError(
            f"The {where} of config.json states layer_norm_eps {eps!r}; a number between 0 and 1 was wanted. Correct "
            "this field."
        )


def _check_heads(config: Mapping[str, Any], heads: str, width: str, where: str) -> None:
    if config[heads] < 1 or config[width] % config[heads]:
        raise InputError(
            f"The {where} of config.json states {config[heads]} heads; wanted a divisor of the width "
            f"{config[width]}. Correct {heads}."
        )


def _check_unheld(config: Mapping[str, Any], model_type: str, where: str) -> None:
    """Refuses fields that change a number and do not exist in the tower's config."""
    fixed = {**FIXED, **CAUSAL} if model_type == "clip_text_model" else FIXED
    wanted = {key: value for key, value in fixed.items() if config.get(key) is not None}
    # transformers reads a size under either name.
    names = {other: config.get(own, DEFAULTS[model_type][own]) for other, own in ALIASES.get(model_type, {}).items()}
    wanted |= {key: value for key, value in names.items() if key in config}
    if wrong := [
        f"{key} {config[key]!r} ({value!r} was wanted)" for key, value in wanted.items() if config[key] != value
    ]:
        raise InputError(
            f"The {where} of config.json states {'; '.join(wrong)}. Other values would change the embeddings, and are "
            "not supported."
        )
