"""sentence-transformers' modules on transformers' own tower."""

import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch.nn.functional import normalize

from ...words import Words
from ..witness import Facts, Offer
from .common import (
    Tensors,
    bert_ids,
    built_from,
    clip_pixels,
    computing_in,
    loaded,
    tokenizer_mask,
    without_position_ids,
)

DENSE = "2_Dense."


def original(tensors: Tensors, facts: Facts) -> Offer | None:
    """The witness, or None if sentence-transformers is not installed."""
    if find_spec("sentence_transformers") is None:
        return None
    import transformers

    package = import_module("sentence_transformers")
    kind = facts.config["model_type"]
    body = {key: tensor for key, tensor in tensors.items() if not key.startswith((DENSE, "pooler."))}
    options = {"add_pooling_layer": False} if kind == "bert" else {}
    model_class = {"bert": transformers.BertModel, "distilbert": transformers.DistilBertModel}[kind]
    name = Words.same(f"sentence-transformers {package.__version__}")
    with built_from("config.json", name):
        config = model_class.config_class.from_dict(dict(facts.config))
        model = loaded(model_class(config, **options), without_position_ids(body))
        pool, dense = _modules(tensors, facts.config)
    tokenize = bert_ids(facts.vocab, facts.context_length)

    def encode_text(ids: torch.Tensor) -> torch.Tensor:
        mask = tokenizer_mask(ids)
        features = {"token_embeddings": model(input_ids=ids, attention_mask=mask)[0], "attention_mask": mask}
        return normalize(dense(pool(features))["sentence_embedding"], dim=-1)

    def token_ids(texts: Sequence[str]) -> list[list[int]]:
        return tokenize([text.strip() for text in texts])

    return Offer(
        name=name,
        level="peer",
        computing_in=computing_in(model, dense),
        encode_text=encode_text,
        token_ids=token_ids,
        pixels=clip_pixels(facts.image_size, facts.how),
    )


def _modules(tensors: Tensors, config: Mapping[str, Any]) -> tuple[Any, Any]:
    """Its Pooling and its Dense, under names that all its versions 2 to 6 have."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        modules = import_module("sentence_transformers.models")
    weights = {key.removeprefix(DENSE): tensor for key, tensor in tensors.items() if key.startswith(DENSE)}
    rows, columns = weights["linear.weight"].shape
    pool = modules.Pooling(columns, pooling_mode=config["text_pooling"])
    bias = "linear.bias" in weights
    return pool, loaded(modules.Dense(columns, rows, bias=bias, activation_function=torch.nn.Identity()), weights)
