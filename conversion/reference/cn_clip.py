"""cn_clip: a BERT with CLIP's ViT or ResNet, in the plain and in the flash-attention layout.

Source: Chinese-CLIP, cn_clip/clip/model.py, modeling_bert.py, utils.py and model_configs/*.json.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from PIL import Image

from . import bert, pictures, wordpiece
from .layers import (
    ACTIVATIONS,
    Config,
    Tensors,
    attention,
    layer_norm,
    linear,
    normalize,
    numbered,
    quick_gelu,
    square_side,
    weight,
)

TEXT_EPS = 1e-12
TEXT_ACTIVATION = "gelu"
VISION_EPS = 1e-5
VISION_ACTIVATION = quick_gelu
BATCH_NORM_EPS = 1e-5
# model_configs/*.json: the head width by tower width. A ResNet's is of its attention pool, 32 times as wide.
VIT_HEAD_WIDTHS = {768: 64, 1024: 64, 1280: 80}
RESNET_HEAD_WIDTHS = {2048: 64}
TEXT_HEADS = {768: 12, 1024: 16}
RESNET_STRIDE = 32


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
    encode = _resnet if _is_resnet(tensors) else _vit
    return normalize(encode(tensors, pixels, config))


def logit_scale(tensors: Tensors, config: Config) -> float:
    """The log scale, as stored."""
    return float(tensors["logit_scale"])


def image_size(tensors: Tensors, config: Config) -> int:
    """Side of the square input, in pixels, that the position table was made for."""
    if _is_resnet(tensors):
        return RESNET_STRIDE * square_side(len(tensors["visual.attnpool.positional_embedding"]))
    return tensors["visual.conv1.weight"].shape[-1] * square_side(len(tensors["visual.positional_embedding"]))


def token_ids(texts: Sequence[str], vocab: Sequence[str], context_length: int) -> list[list[int]]:
    """[CLS] .. [SEP] of each text, unpadded, at most `context_length` ids; as cn_clip's `tokenize` gives them."""
    return wordpiece.cn_clip_ids(texts, vocab, context_length)


def pixels(image: Image.Image, tensors: Tensors, size: int) -> torch.Tensor:
    """`(3, size, size)` float32: squash in the image's own mode, then RGB."""
    return pictures.squash_then_rgb(image, size)


def _is_resnet(tensors: Tensors) -> bool:
    return "visual.attnpool.positional_embedding" in tensors


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


def _vit(tensors: Tensors, pixels: torch.Tensor, config: Config) -> torch.Tensor:
    """`VisualTransformer.forward`: the class position after `ln_post`, times `visual.proj` `(width, embed)`."""
    kernel = weight(tensors, "visual.conv1.weight")
    width = kernel.shape[0]
    heads = width // _fact(config, "vision_head_width", VIT_HEAD_WIDTHS, width)
    patches = F.conv2d(pixels, kernel, stride=kernel.shape[-1]).flatten(2).transpose(1, 2)
    first = weight(tensors, "visual.class_embedding").expand(len(pixels), 1, -1)
    x = torch.cat([first, patches], dim=1) + weight(tensors, "visual.positional_embedding")
    x = layer_norm(tensors, "visual.ln_pre", x, VISION_EPS)
    for number in numbered(tensors, "visual.transformer.resblocks."):
        x = _vit_block(tensors, f"visual.transformer.resblocks.{number}.", x, heads)
    return layer_norm(tensors, "visual.ln_post", x[:, 0], VISION_EPS) @ weight(tensors, "visual.proj")


def _vit_block(tensors: Tensors, block: str, x: torch.Tensor, heads: int) -> torch.Tensor:
    """One pre-norm layer; the joint projection is `in_proj_*` or, in the flash layout, `Wqkv.*`."""
    joint = "attn.Wqkv." if f"{block}attn.Wqkv.weight" in tensors else "attn.in_proj_"
    joint_weight, joint_bias = (weight(tensors, f"{block}{joint}{kind}") for kind in ("weight", "bias"))
    query, key, value = F.linear(layer_norm(tensors, f"{block}ln_1", x, VISION_EPS), joint_weight, joint_bias).chunk(
        3, dim=-1
    )
    x = x + linear(tensors, f"{block}attn.out_proj", attention(query, key, value, heads))
    inner = linear(tensors, f"{block}mlp.c_fc", layer_norm(tensors, f"{block}ln_2", x, VISION_EPS))
    return x + linear(tensors, f"{block}mlp.c_proj", VISION_ACTIVATION(inner))


def _resnet(tensors: Tensors, pixels: torch.Tensor, config: Config) -> torch.Tensor:
    """`ModifiedResNet.forward`: three stem convolutions, four layers, and the attention pool that also projects."""
    x = pixels
    for number, stride in ((1, 2), (2, 1), (3, 1)):
        x = F.relu(_conv_norm(tensors, "visual.", number, x, stride=stride, padding=1))
    x = F.avg_pool2d(x, 2)
    for number in (1, 2, 3, 4):
        layer = f"visual.layer{number}."
        for block in numbered(tensors, layer):
            x = _bottleneck(tensors, f"{layer}{block}.", x, stride=2 if number > 1 and block == 0 else 1)
    return _attention_pool(tensors, x, config)


def _bottleneck(tensors: Tensors, block: str, x: torch.Tensor, stride: int) -> torch.Tensor:
    """A residual block; a stride is an average pool, after the second convolution and before the shortcut's."""
    out = F.relu(_conv_norm(tensors, block, 1, x))
    out = F.relu(_conv_norm(tensors, block, 2, out, padding=1))
    out = _conv_norm(tensors, block, 3, F.avg_pool2d(out, stride))
    if f"{block}downsample.0.weight" in tensors:
        shortcut = F.conv2d(F.avg_pool2d(x, stride), weight(tensors, f"{block}downsample.0.weight"))
        x = _batch_norm(tensors, f"{block}downsample.1", shortcut)
    return F.relu(out + x)


def _conv_norm(
    tensors: Tensors, prefix: str, number: int, x: torch.Tensor, stride: int = 1, padding: int = 0
) -> torch.Tensor:
    """Convolution without a bias, then batch normalisation with the stored statistics."""
    x = F.conv2d(x, weight(tensors, f"{prefix}conv{number}.weight"), stride=stride, padding=padding)
    return _batch_norm(tensors, f"{prefix}bn{number}", x)


def _batch_norm(tensors: Tensors, name: str, x: torch.Tensor) -> torch.Tensor:
    mean, variance, scale, shift = (
        weight(tensors, f"{name}.{part}")[:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (variance + BATCH_NORM_EPS).sqrt() * scale + shift


def _attention_pool(tensors: Tensors, x: torch.Tensor, config: Config) -> torch.Tensor:
    """The mean position attends to itself and to the grid; `c_proj` is the projection to the embedding."""
    pool = "visual.attnpool."
    grid = x.flatten(2).transpose(1, 2)
    x = torch.cat([grid.mean(dim=1, keepdim=True), grid], dim=1) + weight(tensors, f"{pool}positional_embedding")
    heads = x.shape[-1] // _fact(config, "vision_head_width", RESNET_HEAD_WIDTHS, x.shape[-1])
    query, key, value = (linear(tensors, f"{pool}{name}_proj", x) for name in "qkv")
    return linear(tensors, f"{pool}c_proj", attention(query[:, :1], key, value, heads)[:, 0])
