"""PRD2 and the dual encoder of R2D2: a BERT and a CLIP ViT without its last norm, each with a biased projection.

Source: R2D2, models/prd2.py and models/r2d2.py (`encode_text`, `encode_image`, `tokenize_text`), the configs under
checkpoints/, and prd2_inference_demo.py for the pictures.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from . import bert, clip_vision, hf_config, pictures, vocabularies, wordpiece
from .files import Files, stated_alone
from .layers import Config, Tensors, linear, normalize

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

    The feature is the first position's state with the padding masked, as `tokenize_text` gives the mask.

    Raises:
        LookupError: if the head count is neither in the config nor that of a published size.
    """
    width = len(tensors["text_encoder.embeddings.LayerNorm.bias"])
    facts = hf_config.of_size(config, "text_config", hf_config.BERT, TEXT_HEADS, width)
    mask = bert.padding_bias(ids)
    states = bert.last_hidden(tensors, "text_encoder.", ids, facts.heads, facts.activation, facts.eps, mask)
    return normalize(linear(tensors, "text_proj", states[:, 0]))


@torch.no_grad()
def encode_image(tensors: Tensors, pixels: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised image embeddings, `(n, embed)`, of pixels `(n, 3, r, r)`.

    The feature is the class position as it leaves the last layer: `last_hidden_state` of transformers' CLIP vision
    model is taken before `post_layernorm`.

    Raises:
        LookupError: if the head count is neither in the config nor that of a published size.
    """
    width = len(tensors["visual_encoder.embeddings.class_embedding"])
    facts = hf_config.of_size(config, "vision_config", hf_config.CLIP_VISION, VISION_HEADS, width)
    states = clip_vision.last_hidden(tensors, "visual_encoder.", pixels, facts)
    return normalize(linear(tensors, "vision_proj", states[:, 0]))


def logit_scale(tensors: Tensors, config: Config) -> float:
    """The logarithm of what the cosines are multiplied by; upstream divides them by `temp`."""
    return float(torch.tensor(-math.log(float(tensors["temp"])), dtype=torch.float32))


def image_size(tensors: Tensors, config: Config) -> int:
    """Side of the square input, in pixels."""
    return clip_vision.image_size(tensors, "visual_encoder.")


def context_length(tensors: Tensors, config: Config, files: Files) -> int:
    """The longest text in ids."""
    return min(CONTEXT_LENGTH, bert.positions(tensors, "text_encoder."))


def text_training(tensors: Tensors, config: Config) -> dict[str, Any]:
    """What config.json keeps of the text tower for a later training: what its class starts with."""
    return hf_config.of_training(hf_config.BERT, "bert")


def image_training(tensors: Tensors, config: Config) -> dict[str, Any]:
    """What config.json keeps of the image tower for a later training."""
    return hf_config.of_training(hf_config.CLIP_VISION, "clip")


def token_ids(texts: Sequence[str], vocab: Sequence[str], context_length: int) -> list[list[int]]:
    """[CLS] .. [SEP] of each text, unpadded, at most `context_length` ids; as the slow BertTokenizer gives them.

    It differs from the fast one in the characters that the latter's table of ideographs leaves out.
    """
    first, last = map(chr, wordpiece.NOT_CJK_IN_TOKENIZERS)
    apart = [re.sub(f"([{first}-{last}])", r" \1 ", text) for text in texts]
    return wordpiece.transformers_ids(apart, vocab, context_length)


def pixels(image: Image.Image, tensors: Tensors, size: int) -> torch.Tensor:
    """`(3, size, size)` float32: RGB, then squashed to a square."""
    return pictures.rgb_then_squash(image, size)
