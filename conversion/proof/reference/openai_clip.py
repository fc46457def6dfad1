"""OpenAI's CLIP, a vision transformer or a modified ResNet with a causal text transformer.

Source: openai/CLIP, clip/model.py (`build_model`, `CLIP`), clip/clip.py (`tokenize`, `_transform`) and
clip/simple_tokenizer.py.
"""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from . import bpe, openai_text, openai_vision, pictures, vocabularies
from .files import Files, stated_alone
from .layers import Config, Tensors, normalize, quick_gelu
from .pictures import CLIP, How

config = stated_alone
vocabulary = vocabularies.openai_bpe

SPECIAL_IN_TEXTS = False
"""OpenAI's `tokenize` gives nothing to tell the end of a text by, if the text itself holds the end's token."""

HEAD_WIDTH = 64
EPS = 1e-5


@torch.no_grad()
def encode_text(tensors: Tensors, ids: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised text embeddings, `(n, embed)`, of ids `(n, length)`, padded with ids that are not higher.

    The state is taken at the first occurrence of a text's highest id, which is its end.
    """
    heads = len(tensors["ln_final.weight"]) // HEAD_WIDTH
    ends = ids.argmax(dim=1)
    return openai_text.embed(tensors, "", "transformer.resblocks.", ids, ends, heads, quick_gelu, EPS)


@torch.no_grad()
def encode_image(tensors: Tensors, pixels: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised image embeddings, `(n, embed)`, of pixels `(n, 3, r, r)`."""
    heads = openai_vision.width(tensors) // HEAD_WIDTH
    if openai_vision.is_resnet(tensors):
        return normalize(openai_vision.resnet(tensors, pixels, heads))
    return normalize(openai_vision.vit(tensors, pixels, heads, quick_gelu, EPS))


def logit_scale(tensors: Tensors, config: Config) -> float:
    """The log scale, as stored."""
    return float(tensors["logit_scale"])


def image_size(tensors: Tensors, config: Config) -> int:
    """Side of the square input, in pixels."""
    return openai_vision.image_size(tensors)


def context_length(tensors: Tensors, config: Config, files: Files) -> int:
    """The longest text in ids: the number of positions."""
    return openai_text.positions(tensors, "")


def text_training(tensors: Tensors, config: Config) -> dict[str, Any]:
    """The text tower's fields of config.json for later training; the two last words are a text's ends."""
    words = len(tensors["token_embedding.weight"])
    return openai_text.training(tensors, "", first=words - 2, last=words - 1, pad=words - 1)


def image_training(tensors: Tensors, config: Config) -> dict[str, Any]:
    """The image tower's fields of config.json for later training."""
    return openai_vision.training(tensors)


def token_ids(texts: Sequence[str], vocab: Any, context_length: int) -> list[list[int]]:
    """Ids of each text, unpadded, at most `context_length`, as from `tokenize` with truncation.

    Args:
        vocab: has `ids` and `merges`, see `bpe.openai_ids`.
    """
    return bpe.openai_ids(texts, vocab.ids, vocab.merges, context_length)


def pixels(image: Image.Image, tensors: Tensors, size: int, how: How = CLIP) -> torch.Tensor:
    """`(3, size, size)` float32: short side to `size`, torchvision's centre crop, RGB."""
    return pictures.crop_then_rgb(image, size, how)
