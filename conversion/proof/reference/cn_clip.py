"""cn_clip: a BERT with CLIP's ViT or ResNet, in the plain and in the flash-attention layout.

Source: Chinese-CLIP, cn_clip/clip/model.py, modeling_bert.py, utils.py and model_configs/*.json.
"""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from . import bert, openai_vision, pictures, vocabularies, wordpiece
from .files import Files, stated_alone
from .layers import ACTIVATIONS, Config, Tensors, normalize, quick_gelu, weight
from .pictures import CLIP, How

config = stated_alone
vocabulary = vocabularies.wordpiece

CONTEXT_LENGTH = 52
"""cn_clip/clip/utils.py, `tokenize`."""

TEXT_EPS = 1e-12
TEXT_ACTIVATION = "gelu"
VISION_EPS = 1e-5
VISION_ACTIVATION = quick_gelu
# model_configs/*.json: the head width by tower width. A ResNet's head belongs to its attention pool, 32 times as wide.
VIT_HEAD_WIDTHS = {768: 64, 1024: 64, 1280: 80}
RESNET_HEAD_WIDTHS = {2048: 64}
TEXT_HEADS = {768: 12, 1024: 16}
UPSTREAM_HEAD_WIDTH = 64
"""cn_clip/clip/model.py's value if a vision config states no vision_head_width."""

TRAINING = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "initializer_range": 0.02}
"""The values of every text tower in model_configs/."""


@torch.no_grad()
def encode_text(tensors: Tensors, ids: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised text embeddings, `(n, embed)`, of ids `(n, length)` padded with 0.

    The forward pass always makes the padding mask itself; the feature is the first position's state, without a pooler.

    Raises:
        LookupError: if neither the config nor a published size gives the head count.
    """
    hidden = tensors["bert.embeddings.word_embeddings.weight"].shape[1]
    heads = _fact(config, "text_num_attention_heads", TEXT_HEADS, hidden)
    activation = ACTIVATIONS[_stated(config, "text_hidden_act", TEXT_ACTIVATION)]
    mask = bert.padding_bias(ids)
    states = bert.last_hidden(tensors, "bert.", ids, heads, activation, TEXT_EPS, mask)
    return normalize(states[:, 0] @ weight(tensors, "text_projection"))


@torch.no_grad()
def encode_image(tensors: Tensors, pixels: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised image embeddings, `(n, embed)`, of pixels `(n, 3, r, r)`.

    Raises:
        LookupError: if neither the config nor a published size gives the head width.
    """
    width = openai_vision.width(tensors)
    resnet = openai_vision.is_resnet(tensors)
    published = RESNET_HEAD_WIDTHS if resnet else VIT_HEAD_WIDTHS
    heads = width // _fact(_with_upstream_width(config, published, width), "vision_head_width", published, width)
    if resnet:
        return normalize(openai_vision.resnet(tensors, pixels, heads))
    return normalize(openai_vision.vit(tensors, pixels, heads, VISION_ACTIVATION, VISION_EPS))


def logit_scale(tensors: Tensors, config: Config) -> float:
    """The log scale, as stored."""
    return float(tensors["logit_scale"])


def image_size(tensors: Tensors, config: Config) -> int:
    """Side of the square input in pixels, from the position table."""
    return openai_vision.image_size(tensors)


def context_length(tensors: Tensors, config: Config, files: Files) -> int:
    """The longest text in ids."""
    return CONTEXT_LENGTH


def text_training(tensors: Tensors, config: Config) -> dict[str, Any]:
    """The text tower's fields of config.json for later training."""
    return {field: _stated(config, f"text_{field}", value) for field, value in TRAINING.items()}


def image_training(tensors: Tensors, config: Config) -> dict[str, Any]:
    """The image tower's fields of config.json for later training."""
    return openai_vision.training(tensors)


def token_ids(texts: Sequence[str], vocab: Sequence[str], context_length: int) -> list[list[int]]:
    """[CLS] .. [SEP] of each text, unpadded, at most `context_length` ids, as from cn_clip's `tokenize`."""
    return wordpiece.cn_clip_ids(texts, vocab, context_length)


def pixels(image: Image.Image, tensors: Tensors, size: int, how: How = CLIP) -> torch.Tensor:
    """`(3, size, size)` float32: squash in the image's own mode, then RGB."""
    return pictures.squash_then_rgb(image, size, how)


def _stated(config: Config, field: str, otherwise: Any) -> Any:
    return otherwise if config.get(field) is None else config[field]


def _with_upstream_width(config: Config, published: dict[int, int], width: int) -> Config:
    """If a config states an unpublished image tower without a head width, upstream's width counts."""
    if width in published or config.get("vision_width") is None:
        return config
    return {**config, "vision_head_width": _stated(config, "vision_head_width", UPSTREAM_HEAD_WIDTH)}


def _fact(config: Config, field: str, published: dict[int, int], width: int) -> int:
    """The config's own value, or the published value for this width."""
    if config.get(field) is not None:
        return config[field]
    if width not in published:
        raise LookupError(
            f"a width of {width} is of no published size ({sorted(published)}), and a weight file does not state its "
            f"heads: give the model config's '{field}'"
        )
    return published[width]
