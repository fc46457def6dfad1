"""The config of the base model that a checkpoint was trained from, if its own config.json only names the base."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError, ZhclipError
from ..reading.hub import locate

_XLM_ROBERTA = {
    "model_type": "xlm-roberta",
    "vocab_size": 250002,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
}
_BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
_BERT = {
    "model_type": "bert",
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}

BASES: Mapping[str, Mapping[str, Any]] = {
    "xlm-roberta-base": {**_XLM_ROBERTA, **_BASE},
    "xlm-roberta-large": {**_XLM_ROBERTA, **_LARGE},
    "sentence-transformers/LaBSE": {**_BERT, **_BASE, "vocab_size": 501153},
    "bert-base-multilingual-cased": {**_BERT, **_BASE, "vocab_size": 119547},
}
"""The fields of each base's published config.json that change a number."""

OWNERS = {"FacebookAI/": "", "google-bert/": ""}
"""Owners whose repositories the hub once listed without an owner."""


def published_base(name: str) -> Mapping[str, Any] | None:
    """The published config of a base, if its name is known here."""
    plain = next((name.removeprefix(owner) for owner in OWNERS if name.startswith(owner)), name)
    return BASES.get(plain)


def base_file(name: str) -> Path:
    """The config.json of a base that is not known here, from the hub or its cache.

    Raises:
        InputError: the file cannot be downloaded; the user must state it.
    """
    try:
        return locate(f"{name}:config.json")
    except ZhclipError as error:
        raise InputError(
            f"config.json names {name!r} as the base of the text tower, and does not state the head count and similar "
            f"facts. The base's config.json could not be fetched: {error} Fetch the base's config.json yourself and "
            "pass --config FILE."
        ) from error
