"""cn_clip: a BERT with CLIP's ViT or ResNet, in the plain and in the flash-attention layout.

Source: Chinese-CLIP, cn_clip/clip/model.py, modeling_bert.py, utils.py and model_configs/*.json.
"""

from collections.abc import Sequence

import torch
from PIL import Image

from . import bert, openai_vision, pictures, wordpiece
from .layers import ACTIVATIONS, Config, Tensors, normalize, quick_gelu, weight

TEXT_EPS = 1e-12
TEXT_ACTIVATION = "gelu"
VISION_EPS = 1e-5
VISION_ACTIVATION = quick_gelu
# model_configs/*.json: the head width by tower width. A ResNet's is of its attention pool, 32 times as wide.
VIT_HEAD_WIDTHS = {768: 64, 1024: 64, 1280: 80}
RESNET_HEAD_WIDTHS = {2048: 64}
TEXT_HEADS = {768: 12, 1024: 16}


@torch.no_grad()
def encode_text(tensors: Tensors, ids: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised text embeddings, `(n, embed)` float32, of ids `(n, length)` padded with 0.

    The padding mask is always made inside; the feature is the first position's state, without a pooler.

    Raises:
        LookupError: if the head count is neither in the config nor that of a published size.
    """
    hidden = tensors["bert.embeddings.word_embeddings.weight"].shape[1]
    heads = _fact(config, "text_num_attention_heads", TEXT_HEADS, hidden)
    activation = ACTIVATIONS[config.get("text_hidden_act", TEXT_ACTIVATION)]
    mask = bert.padding_bias(ids)
    states = bert.last_hidden(tensors, "bert.", ids, heads, activation, TEXT_EPS, mask)
    return normalize(states[:, 0] @ weight(tensors, "text_projection"))


@torch.no_grad()
def encode_image(tensors: Tensors, pixels: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised image embeddings, `(n, embed)` float32, of pixels `(n, 3, r, r)`.

    Raises:
        LookupError: if the head width is neither in the config nor that of a published size.
    """
    width = openai_vision.width(tensors)
    resnet = openai_vision.is_resnet(tensors)
    published = RESNET_HEAD_WIDTHS if resnet else VIT_HEAD_WIDTHS
    heads = width // _fact(config, "vision_head_width", published, width)
    if resnet:
        return normalize(openai_vision.resnet(tensors, pixels, heads))
    return normalize(openai_vision.vit(tensors, pixels, heads, VISION_ACTIVATION, VISION_EPS))


def logit_scale(tensors: Tensors, config: Config) -> float:
    """The log scale, as stored."""
    return float(tensors["logit_scale"])


def image_size(tensors: Tensors, config: Config) -> int:
    """Side of the square input, in pixels, that the position table was made for."""
    return openai_vision.image_size(tensors)


def token_ids(texts: Sequence[str], vocab: Sequence[str], context_length: int) -> list[list[int]]:
    """[CLS] .. [SEP] of each text, unpadded, at most `context_length` ids; as cn_clip's `tokenize` gives them."""
    return wordpiece.cn_clip_ids(texts, vocab, context_length)


def pixels(image: Image.Image, tensors: Tensors, size: int) -> torch.Tensor:
    """`(3, size, size)` float32: squash in the image's own mode, then RGB."""
    return pictures.squash_then_rgb(image, size)


def _fact(config: Config, field: str, published: dict[int, int], width: int) -> int:
    """The config's own value, or the one of the published size of this width."""
    if field in config:
        return config[field]
    if width not in published:
        raise LookupError(
            f"a width of {width} is of no published size ({sorted(published)}), and a weight file does not state its "
            f"heads: give the model config's '{field}'"
        )
    return published[width]
