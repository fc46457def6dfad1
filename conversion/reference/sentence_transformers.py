"""The text part of sentence-transformers' multilingual CLIP; the paired CLIP gives the image tower and the scale.

Source: sentence-transformers, modules/pooling.py and modules/dense.py, on transformers' DistilBertModel or BertModel.
"""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from . import bert, distilbert, hf_config, pictures, wordpiece
from .layers import ACTIVATIONS, Config, Tensors, normalize, weight

DISTILBERT_EPS = 1e-12
"""Written into its layers (transformers, models/distilbert/modeling_distilbert.py)."""


@torch.no_grad()
def encode_text(tensors: Tensors, ids: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised text embeddings, `(n, projection)` float32, of ids `(n, length)` padded with 0.

    Args:
        config: the tower's config.json, and `text_pooling`: "mean" or "cls".

    Raises:
        ValueError: if another pooling is stated.
    """
    states = _states(tensors, ids, config)
    if config["text_pooling"] == "mean":
        kept = (ids != bert.PAD).to(torch.float32).unsqueeze(-1)
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
    mask = bert.padding_bias(ids)
    if config["model_type"] == "distilbert":
        activation = ACTIVATIONS[config["activation"]]
        return distilbert.last_hidden(tensors, "", ids, config["n_heads"], activation, DISTILBERT_EPS, mask)
    facts = hf_config.flat(config, hf_config.BERT)
    return bert.last_hidden(tensors, "", ids, facts.heads, facts.activation, facts.eps, mask)


def token_ids(texts: Sequence[str], vocab: Any, context_length: int) -> list[list[int]]:
    """[CLS] .. [SEP] of each text, unpadded, at most `context_length` ids; as BertTokenizerFast gives them.

    Args:
        vocab: with `tokens`, `lowercase`, `strip_accents` and `cjk_alone`, see `wordpiece.stated_ids`.
    """
    return wordpiece.stated_ids(
        texts,
        vocab.tokens,
        context_length,
        lowercase=vocab.lowercase,
        strip_accents=vocab.strip_accents,
        cjk_alone=vocab.cjk_alone,
    )


def pixels(image: Image.Image, tensors: Tensors, size: int) -> torch.Tensor:
    """`(3, size, size)` float32: RGB, short side to `size`, centre crop as transformers rounds it."""
    return pictures.rgb_then_crop(image, size)
