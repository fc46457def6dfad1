"""open_clip's CLIP and CustomTextCLIP with its own text transformer.

Source: open_clip, model.py, transformer.py, modified_resnet.py, tokenizer.py and transform.py.
"""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from . import bpe, openai_text, openai_vision, pictures
from .layers import ACTIVATIONS, Activation, Config, Tensors, normalize

TEXT_HEADS = 8
HEAD_WIDTH = 64
EPS = 1e-5
"""What open_clip's dataclasses take of what a config leaves out."""


@torch.no_grad()
def encode_text(tensors: Tensors, ids: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised text embeddings, `(n, embed)` float32, of ids `(n, length)`, padded with what is no higher.

    The state is taken at the first highest id of a text, which is that of its end ("argmax").

    Args:
        config: an open_clip_config.json.
    """
    prefix = "text." if "text.positional_embedding" in tensors else ""
    text = config["model_cfg"]["text_cfg"]
    ends, heads = ids.argmax(dim=1), text.get("heads", TEXT_HEADS)
    return openai_text.embed(
        tensors, prefix, f"{prefix}transformer.resblocks.", ids, ends, heads, activation(config), eps(text)
    )


@torch.no_grad()
def encode_image(tensors: Tensors, pixels: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised image embeddings, `(n, embed)` float32, of pixels `(n, 3, r, r)`."""
    vision = config["model_cfg"]["vision_cfg"]
    heads = openai_vision.width(tensors) // vision.get("head_width", HEAD_WIDTH)
    if openai_vision.is_resnet(tensors):
        return normalize(openai_vision.resnet(tensors, pixels, heads))
    return normalize(openai_vision.vit(tensors, pixels, heads, activation(config), eps(vision)))


def logit_scale(tensors: Tensors, config: Config) -> float:
    """The log scale, as stored."""
    return float(tensors["logit_scale"])


def image_size(tensors: Tensors, config: Config) -> int:
    """Side of the square input, in pixels."""
    return openai_vision.image_size(tensors)


def token_ids(texts: Sequence[str], vocab: Any, context_length: int) -> list[list[int]]:
    """Ids of each text, unpadded, at most `context_length`; as open_clip's SimpleTokenizer gives them.

    Args:
        vocab: with `ids` and `merges`, see `bpe.openai_ids`.
    """
    return bpe.openai_ids(texts, vocab.ids, vocab.merges, context_length)


def pixels(image: Image.Image, tensors: Tensors, size: int) -> torch.Tensor:
    """`(3, size, size)` float32: short side to `size`, torchvision's centre crop, RGB."""
    return pictures.crop_then_rgb(image, size)


def activation(config: Config) -> Activation:
    """QuickGELU where the config says so, else the exact one."""
    return ACTIVATIONS["quick_gelu" if config["model_cfg"].get("quick_gelu") else "gelu"]


def eps(tower: Config) -> float:
    """That of a tower's norms."""
    return (tower.get("norm_kwargs") or {}).get("eps", EPS)
