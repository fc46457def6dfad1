"""Wukong with global similarity: a causal transformer of word pieces and a CLIP ViT, under its release's key names.

Source: Noah_WuKong of huawei-noah/Pretrained-Language-Model: model/wukong.py, model/language/transformer.py,
model/vision/vision_transformer.py, configs/wukong_vit_{b,l}/*_g.py, data/tokenizer/simple_tokenizer.py, and
`img_transform` of main.py. Its loader takes `loss.logit_scale` out of a file. EasyNLP's port,
appzoo/wukong_clip/model.py (`logit_scale.exp()`), shows that it is a logarithm.
"""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from . import openai_text, openai_vision, pictures, vocabularies, wordpiece
from .files import Files, stated_alone
from .layers import Config, Tensors, normalize, quick_gelu
from .pictures import CLIP, How

config = stated_alone
vocabulary = vocabularies.wordpiece

EPS = 1e-5
TEXT_HEADS = {512: 8, 768: 12}
"""configs/: by the width of the published sizes."""


@torch.no_grad()
def encode_text(tensors: Tensors, ids: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised text embeddings, `(n, embed)`, of ids `(n, length)` padded with 0.

    The feature is the last id's state; the count of non-zero ids gives its position.

    Raises:
        LookupError: if neither the config nor a published width gives the head count.
    """
    width = tensors["transformer.text_projection"].shape[0]
    heads = config.get("text", {}).get("heads", TEXT_HEADS.get(width))
    if heads is None:
        raise LookupError(
            f"a text width of {width} is of no published size ({sorted(TEXT_HEADS)}), and a weight file does not "
            "state its heads: give text.heads"
        )
    ends = (ids != 0).sum(dim=1) - 1
    return openai_text.embed(tensors, "transformer.", "transformer.resblocks.", ids, ends, heads, quick_gelu, EPS)


@torch.no_grad()
def encode_image(tensors: Tensors, pixels: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised image embeddings, `(n, embed)`, of pixels `(n, 3, r, r)`; a head is 64 wide."""
    heads = openai_vision.width(tensors) // 64
    return normalize(openai_vision.vit(tensors, pixels, heads, quick_gelu, EPS))


def logit_scale(tensors: Tensors, config: Config) -> float:
    """The log scale, as stored."""
    return float(tensors["loss.logit_scale"])


def image_size(tensors: Tensors, config: Config) -> int:
    """Side of the square input, in pixels."""
    return openai_vision.image_size(tensors)


def context_length(tensors: Tensors, config: Config, files: Files) -> int:
    """The longest text in ids: the number of positions."""
    return openai_text.positions(tensors, "transformer.")


def text_training(tensors: Tensors, config: Config) -> dict[str, Any]:
    """The text tower's fields of config.json for later training; 101 is [CLS], 102 [SEP], 0 the padding."""
    return openai_text.training(tensors, "transformer.", first=101, last=102, pad=0)


def image_training(tensors: Tensors, config: Config) -> dict[str, Any]:
    """The image tower's fields of config.json for later training."""
    return openai_vision.training(tensors)


def token_ids(texts: Sequence[str], vocab: Sequence[str], context_length: int) -> list[list[int]]:
    """[CLS] .. [SEP] of each text, unpadded, at most `context_length` ids."""
    return wordpiece.wukong_ids(texts, vocab, context_length)


def pixels(image: Image.Image, tensors: Tensors, size: int, how: How = CLIP) -> torch.Tensor:
    """`(3, size, size)` float32: short side, centre crop as torchvision rounds it, then RGB."""
    return pictures.crop_then_rgb(image, size, how)
