"""PRD2 and R2D2's dual encoder: a BERT and a CLIP ViT without its last norm, each with a projection with bias.

Source: R2D2, models/prd2.py and models/r2d2.py (`encode_text`, `encode_image`, `tokenize_text`), the configs under
checkpoints/, and prd2_inference_demo.py for the pictures.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from . import bert, clip_vision, hf_config, pictures, vocabularies, wordpiece
from .files import Files, stated_alone
from .layers import Config, Tensors, linear, normalize
from .pictures import CLIP, How
from .vocabularies import WordPieces

config = stated_alone
vocabulary = vocabularies.wordpiece

CONTEXT_LENGTH = 64
"""models/prd2.py, `tokenize_text`."""

# checkpoints/hfl_roberta/config.json and r2d2_config/vision_config*.json: heads by width.
TEXT_HEADS = {768: 12}
VISION_HEADS = {768: 12, 1024: 16}


@torch.no_grad()
def encode_text(tensors: Tensors, ids: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised text embeddings, `(n, embed)`, of ids `(n, length)` padded with 0.

    The feature is the first position's state with the padding masked, by the mask of `tokenize_text`.

    Raises:
        LookupError: if neither the config nor a published size gives the head count.
    """
    width = len(tensors["text_encoder.embeddings.LayerNorm.bias"])
    facts = hf_config.of_size(config, "text_config", hf_config.BERT, TEXT_HEADS, width)
    mask = bert.behind_bias(ids)
    states = bert.last_hidden(tensors, "text_encoder.", ids, facts.heads, facts.activation, facts.eps, mask)
    return normalize(linear(tensors, "text_proj", states[:, 0]))


@torch.no_grad()
def encode_image(tensors: Tensors, pixels: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised image embeddings, `(n, embed)`, of pixels `(n, 3, r, r)`.

    The feature is the class position's output of the last layer: transformers' CLIP vision model gives
    `last_hidden_state` before `post_layernorm`.

    Raises:
        LookupError: if neither the config nor a published size gives the head count.
    """
    width = len(tensors["visual_encoder.embeddings.class_embedding"])
    facts = hf_config.of_size(config, "vision_config", hf_config.CLIP_VISION, VISION_HEADS, width)
    states = clip_vision.last_hidden(tensors, "visual_encoder.", pixels, facts)
    return normalize(linear(tensors, "vision_proj", states[:, 0]))


def logit_scale(tensors: Tensors, config: Config) -> float:
    """The logarithm of the factor on the cosines; upstream divides the cosines by `temp`."""
    return float(torch.tensor(-math.log(float(tensors["temp"])), dtype=torch.float32))


def image_size(tensors: Tensors, config: Config) -> int:
    """Side of the square input, in pixels."""
    return clip_vision.image_size(tensors, "visual_encoder.")


def context_length(tensors: Tensors, config: Config, files: Files) -> int:
    """The longest text in ids."""
    return min(CONTEXT_LENGTH, bert.positions(tensors, "text_encoder."))


def text_training(tensors: Tensors, config: Config) -> dict[str, Any]:
    """The text tower's fields of config.json for later training: what its class starts with."""
    return hf_config.of_training(hf_config.BERT, "bert")


def image_training(tensors: Tensors, config: Config) -> dict[str, Any]:
    """The image tower's fields of config.json for later training."""
    return hf_config.of_training(hf_config.CLIP_VISION, "clip")


def token_ids(texts: Sequence[str], vocab: Sequence[str], context_length: int) -> list[list[int]]:
    """[CLS] .. [SEP] of each text, unpadded, at most `context_length` ids, as from the slow BertTokenizer."""
    return wordpiece.slow_transformers_ids(texts, WordPieces(vocab), context_length)


def pixels(image: Image.Image, tensors: Tensors, size: int, how: How = CLIP) -> torch.Tensor:
    """`(3, size, size)` float32: RGB, then squashed to a square."""
    return pictures.rgb_then_squash(image, size, how)
