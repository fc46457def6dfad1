"""The vision part of a transformers CLIPModel folder.

Source: transformers, models/clip/modeling_clip.py and configuration_clip.py.
"""

import torch

from . import clip_vision, hf_config
from .layers import Config, Tensors


@torch.no_grad()
def encode_image(tensors: Tensors, pixels: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised image embeddings, `(n, projection)` float32, of pixels `(n, 3, r, r)`."""
    return clip_vision.embed(tensors, pixels, hf_config.nested(config, "vision_config", hf_config.CLIP_VISION))


def logit_scale(tensors: Tensors, config: Config) -> float:
    """The log scale, as stored."""
    return float(tensors["logit_scale"])


def image_size(tensors: Tensors, config: Config) -> int:
    """Side of the square input, in pixels."""
    return clip_vision.image_size(tensors)
