"""The text part of sentence-transformers' multilingual CLIP; the paired CLIP gives the image tower and the scale.

Source: sentence-transformers, modules/pooling.py and modules/dense.py, on transformers' DistilBertModel or BertModel.
"""

import posixpath
import re
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from . import bert, distilbert, hf_config, pictures, vocabularies, wordpiece
from .files import Files, Json, named, text_limit
from .layers import ACTIVATIONS, Config, Tensors, normalize, weight, wide
from .pictures import CLIP, How

DISTILBERT_EPS = 1e-12
"""A constant in its layers (transformers, models/distilbert/modeling_distilbert.py)."""


vocabulary = vocabularies.stated_wordpiece

POOLINGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
"""The switches in configs before version 5.5; without a switch, the class uses the mean (modules/pooling.py)."""

DEFAULTS: Config = {"bert": hf_config.BERT, "distilbert": hf_config.DISTILBERT}


def config(files: Files, stated: Json) -> Json:
    """The tower's config.json with its class's defaults, plus the modules' `text_pooling` and `max_seq_length`.

    Raises:
        LookupError: if a file of the modules is missing.
        ValueError: if the modules state another pooling, or an activation behind the projection.
    """
    own = files.get("config.json") or stated
    place, modules = named(files, "modules.json") or ("", [])
    paths = {each["type"].rpartition(".")[2]: posixpath.join(place, each["path"]) for each in modules}
    pooling = files[posixpath.normpath(posixpath.join(paths["Pooling"], "config.json"))]
    _check_dense(files[posixpath.normpath(posixpath.join(paths["Dense"], "config.json"))])
    stated_by = (files[name] for name in files if TRANSFORMER.fullmatch(posixpath.basename(name)))
    transformer: Json = next(stated_by, {})
    return {
        **DEFAULTS.get(own.get("model_type", ""), {}),
        **own,
        "text_pooling": _pooling(pooling),
        "max_seq_length": transformer.get("max_seq_length"),
    }


TRANSFORMER = re.compile(r"sentence_\w+?_config\.json|sentence_xlm-roberta_config\.json")
"""The config files of the first module."""


def _check_dense(stated: Json) -> None:
    # Without the field the class takes Tanh (modules/dense.py).
    if not (named := stated.get("activation_function", "Tanh")).endswith("Identity"):
        raise ValueError(f"activation_function of the Dense is {named!r}; this reference computes Identity")


def _pooling(stated: Json) -> str:
    if stated.get("pooling_mode") is not None:
        mode = stated["pooling_mode"]
        return mode[0] if isinstance(mode, list) and len(mode) == 1 else mode
    switches = [name for name, value in stated.items() if name.startswith("pooling_mode_")]
    on = [name for name in switches if stated[name]]
    if not switches:
        return "mean"
    if len(on) != 1 or on[0] not in POOLINGS:
        raise ValueError(f"the pooling is {on}; one of {sorted(POOLINGS)} was wanted")
    return POOLINGS[on[0]]


@torch.no_grad()
def encode_text(tensors: Tensors, ids: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised text embeddings, `(n, projection)`, of ids `(n, length)` padded with 0.

    Args:
        config: the tower's config.json, and `text_pooling`: "mean" or "cls".

    Raises:
        ValueError: if the config states another pooling.
    """
    states = _states(tensors, ids, config)
    if config["text_pooling"] == "mean":
        kept = wide(~bert.behind(ids)).unsqueeze(-1)
        pooled = (states * kept).sum(dim=1) / kept.sum(dim=1)
    elif config["text_pooling"] == "cls":
        pooled = states[:, 0]
    else:
        raise ValueError(f"text_pooling is '{config['text_pooling']}', not 'mean' or 'cls'")
    projected = pooled @ weight(tensors, "2_Dense.linear.weight").T
    if "2_Dense.linear.bias" in tensors:
        projected = projected + weight(tensors, "2_Dense.linear.bias")
    return normalize(projected)


def _states(tensors: Tensors, ids: torch.Tensor, config: Config) -> torch.Tensor:
    mask = bert.behind_bias(ids)
    if config["model_type"] == "distilbert":
        activation = ACTIVATIONS[config["activation"]]
        return distilbert.last_hidden(tensors, "", ids, config["n_heads"], activation, DISTILBERT_EPS, mask)
    facts = hf_config.flat(config, hf_config.BERT)
    return bert.last_hidden(tensors, "", ids, facts.heads, facts.activation, facts.eps, mask)


def context_length(tensors: Tensors, config: Config, files: Files) -> int:
    """The longest text in ids: the module's max_seq_length, else the tokenizer's limit, at most the positions."""
    if config["max_seq_length"] is not None:
        return config["max_seq_length"]
    places = bert.positions(tensors, "")
    return min(text_limit(files, places), places)


def text_training(tensors: Tensors, config: Config) -> dict[str, Any]:
    """The text tower's fields of config.json for later training."""
    return hf_config.of_training(config, config["model_type"])


def token_ids(texts: Sequence[str], vocab: Any, context_length: int) -> list[list[int]]:
    """[CLS] .. [SEP] of each text, unpadded, at most `context_length` ids, as from BertTokenizerFast.

    Args:
        vocab: see `wordpiece.folder_ids`.
    """
    return wordpiece.folder_ids(texts, vocab, context_length)


def pixels(image: Image.Image, tensors: Tensors, size: int, how: How = CLIP) -> torch.Tensor:
    """`(3, size, size)` float32: RGB, short side to `size`, centre crop as transformers rounds it."""
    return pictures.rgb_then_crop(image, size, how)
