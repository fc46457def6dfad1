"""A transformers CLIPModel folder: the whole model, or its image part.

Source: transformers, models/clip/modeling_clip.py, configuration_clip.py and image_processing_clip.py.
"""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from . import bpe, clip_text, clip_vision, hf_config, pictures, vocabularies
from .files import Files, config_json
from .layers import Config, Tensors
from .pictures import CLIP, How

config = config_json
vocabulary = vocabularies.clip_bpe


@torch.no_grad()
def encode_text(tensors: Tensors, ids: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised text embeddings, `(n, projection)`, of ids `(n, length)`, padded with any id."""
    facts = hf_config.nested(config, "text_config", hf_config.CLIP_TEXT)
    end = hf_config.chosen(config, "text_config", hf_config.CLIP_TEXT)["eos_token_id"]
    return clip_text.embed(tensors, ids, facts, end)


@torch.no_grad()
def encode_image(tensors: Tensors, pixels: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised image embeddings, `(n, projection)`, of pixels `(n, 3, r, r)`."""
    return clip_vision.embed(tensors, pixels, hf_config.facts(_vision(config)))


def logit_scale(tensors: Tensors, config: Config) -> float:
    """The log scale, as stored."""
    return float(tensors["logit_scale"])


def image_size(tensors: Tensors, config: Config) -> int:
    """Side of the square input, in pixels."""
    return clip_vision.image_size(tensors)


def context_length(tensors: Tensors, config: Config, files: Files) -> int:
    """The longest text in ids: the number of positions."""
    return clip_text.positions(tensors)


def text_training(tensors: Tensors, config: Config) -> dict[str, Any]:
    """The text tower's fields of config.json for later training, and ids that it never looks for."""
    return hf_config.of_training(hf_config.chosen(config, "text_config", hf_config.CLIP_TEXT), "clip_text")


def image_training(tensors: Tensors, config: Config) -> dict[str, Any]:
    """The image tower's fields of config.json for later training."""
    return hf_config.of_training(_vision(config), "clip")


def token_ids(texts: Sequence[str], vocab: Any, context_length: int) -> list[list[int]]:
    """Ids of each text, unpadded, at most `context_length`, as from CLIPTokenizerFast.

    Args:
        vocab: has `ids`, `merges` and `added`, see `bpe.clip_ids`.
    """
    return bpe.clip_ids(texts, vocab.ids, vocab.merges, vocab.added, context_length)


def pixels(image: Image.Image, tensors: Tensors, size: int, how: How = CLIP) -> torch.Tensor:
    """`(3, size, size)` float32: RGB, short side to `size`, centre crop as transformers rounds it."""
    return pictures.rgb_then_crop(image, size, how)


def _vision(config: Config) -> Config:
    """The image tower's fields, which a folder of this tower alone states at the top."""
    if config.get("model_type") == "clip_vision_model":
        return {**hf_config.CLIP_VISION, **config}
    return hf_config.chosen(config, "vision_config", hf_config.CLIP_VISION)
