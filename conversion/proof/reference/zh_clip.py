"""ZH-CLIP: a mean-pooled BERT followed by a perceptron, and a CLIP ViT whose projection has a bias.

Source: zh-clip, models/zhclip/modeling_zhclip.py (`MeanPooler`, `get_text_features`, `get_image_features`),
configuration_zhclip.py, processing_zhclip.py and inference.py.
"""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from . import bert, clip_vision, hf_config, pictures, vocabularies, wordpiece
from .files import Files, config_json
from .layers import Config, Tensors, gelu, layer_norm, linear, normalize, weight
from .pictures import CLIP, How
from .vocabularies import WordPieces

config = config_json
vocabulary = vocabularies.added_wordpiece

MAX_LENGTH = 77
"""inference.py."""


@torch.no_grad()
def encode_text(tensors: Tensors, ids: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised text embeddings, `(n, shared)`, of ids `(n, length)` padded with 0."""
    return normalize(text_features(tensors, ids, config))


@torch.no_grad()
def text_features(tensors: Tensors, ids: torch.Tensor, config: Config) -> torch.Tensor:
    """The original's text features, before normalisation."""
    facts = hf_config.facts(_text(tensors, config))
    states = bert.last_hidden(
        tensors, "text_model.", ids, facts.heads, facts.activation, facts.eps, bert.behind_bias(ids)
    )
    kept = ~bert.behind(ids)
    mean = (states * kept[..., None]).sum(dim=1) / kept.sum(dim=1, keepdim=True)
    inner = gelu(mean @ weight(tensors, "text_projection.0.weight").T)
    return inner @ weight(tensors, "text_projection.2.weight").T


@torch.no_grad()
def encode_image(tensors: Tensors, pixels: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised image embeddings, `(n, shared)`, of pixels `(n, 3, r, r)`."""
    return normalize(image_features(tensors, pixels, config))


@torch.no_grad()
def image_features(tensors: Tensors, pixels: torch.Tensor, config: Config) -> torch.Tensor:
    """The original's image features, before normalisation."""
    facts = hf_config.facts(_vision(tensors, config))
    states = clip_vision.last_hidden(tensors, "vision_model.", pixels, facts)
    pooled = layer_norm(tensors, "vision_model.post_layernorm", states[:, 0], facts.eps)
    return linear(tensors, "visual_projection", pooled)


def logit_scale(tensors: Tensors, config: Config) -> float:
    """The logarithm of 1, because the original does not scale its products."""
    return 0.0


def image_size(tensors: Tensors, config: Config) -> int:
    """Side of the square input, in pixels."""
    return clip_vision.image_size(tensors)


def context_length(tensors: Tensors, config: Config, files: Files) -> int:
    """The longest text in ids."""
    return min(MAX_LENGTH, bert.positions(tensors, "text_model."))


def text_training(tensors: Tensors, config: Config) -> dict[str, Any]:
    """The text tower's fields of config.json for later training."""
    return hf_config.of_training(_text(tensors, config), "bert")


def image_training(tensors: Tensors, config: Config) -> dict[str, Any]:
    """The image tower's fields of config.json for later training."""
    return hf_config.of_training(_vision(tensors, config), "clip")


def token_ids(texts: Sequence[str], vocab: WordPieces, context_length: int) -> list[list[int]]:
    """[CLS] .. [SEP] of each text, unpadded, at most `context_length` ids, as from the slow BertTokenizer."""
    return wordpiece.slow_transformers_ids(texts, vocab, context_length)


def pixels(image: Image.Image, tensors: Tensors, size: int, how: How = CLIP) -> torch.Tensor:
    """`(3, size, size)` float32: RGB, short side to `size`, centre crop as transformers rounds it."""
    return pictures.rgb_then_crop(image, size, how)


def _text(tensors: Tensors, config: Config) -> Config:
    own = {"text_config": config.get("text_config")}
    return hf_config.fitting(own, "text_config", hf_config.BERT, bert.sizes(tensors, "text_model."))


def _vision(tensors: Tensors, config: Config) -> Config:
    """The image tower's own fields, or the fields inside the whole CLIP that replaces them."""
    stated = config["vision_config"]
    own = stated if stated.get("model_type") == "clip" else {"vision_config": stated}
    return hf_config.fitting(own, "vision_config", hf_config.CLIP_VISION, clip_vision.sizes(tensors))
