"""OpenAI's two image towers under `visual.`: the vision transformer and the modified ResNet.

Source: openai/CLIP, clip/model.py. Also reads the layout of cn_clip's flash-attention switch (`attn.Wqkv.*`).
"""

from typing import Any

import torch
import torch.nn.functional as F

from .layers import Activation, Tensors, attention, layer_norm, linear, numbered, square_side, weight, wide

BATCH_NORM_EPS = 1e-5
RESNET_STRIDE = 32


def is_resnet(tensors: Tensors) -> bool:
    """Whether the tower ends in an attention pool."""
    return "visual.attnpool.positional_embedding" in tensors


def image_size(tensors: Tensors) -> int:
    """Side of the square input in pixels, from the position table."""
    if is_resnet(tensors):
        return RESNET_STRIDE * square_side(len(tensors["visual.attnpool.positional_embedding"]))
    return tensors["visual.conv1.weight"].shape[-1] * square_side(len(tensors["visual.positional_embedding"]))


def width(tensors: Tensors) -> int:
    """The width of the attention: the transformer's, or the ResNet's attention pool's."""
    if is_resnet(tensors):
        return tensors["visual.attnpool.positional_embedding"].shape[-1]
    return tensors["visual.conv1.weight"].shape[0]


def training(tensors: Tensors) -> dict[str, Any]:
    """A vision transformer's fields of config.json for later training; a ResNet has none."""
    if is_resnet(tensors):
        return {}
    initial = {"initializer_range": 0.02, "initializer_factor": 1.0}
    return {"attention_dropout": 0.0, "projection_dim": tensors["visual.proj"].shape[-1], **initial}


def vit(tensors: Tensors, pixels: torch.Tensor, heads: int, activation: Activation, eps: float) -> torch.Tensor:
    """`VisionTransformer.forward`: the class position after `ln_post`, times `visual.proj` `(width, embed)`.

    Args:
        pixels: `(n, 3, r, r)`.

    Returns:
        `(n, embed)`, not normalised.
    """
    kernel = weight(tensors, "visual.conv1.weight")
    patches = F.conv2d(wide(pixels), kernel, stride=kernel.shape[-1]).flatten(2).transpose(1, 2)
    first = weight(tensors, "visual.class_embedding").expand(len(pixels), 1, -1)
    x = torch.cat([first, patches], dim=1) + weight(tensors, "visual.positional_embedding")
    x = layer_norm(tensors, "visual.ln_pre", x, eps)
    for number in numbered(tensors, "visual.transformer.resblocks."):
        x = block(tensors, f"visual.transformer.resblocks.{number}.", x, heads, activation, eps)
    return layer_norm(tensors, "visual.ln_post", x[:, 0], eps) @ weight(tensors, "visual.proj")


def block(
    tensors: Tensors,
    name: str,
    x: torch.Tensor,
    heads: int,
    activation: Activation,
    eps: float,
    pair_bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """One pre-norm layer; the joint projection is `in_proj_*` or, in the flash layout, `Wqkv.*`."""
    joint = "attn.Wqkv." if f"{name}attn.Wqkv.weight" in tensors else "attn.in_proj_"
    joint_weight, joint_bias = (weight(tensors, f"{name}{joint}{kind}") for kind in ("weight", "bias"))
    query, key, value = F.linear(layer_norm(tensors, f"{name}ln_1", x, eps), joint_weight, joint_bias).chunk(3, dim=-1)
    x = x + linear(tensors, f"{name}attn.out_proj", attention(query, key, value, heads, pair_bias=pair_bias))
    inner = linear(tensors, f"{name}mlp.c_fc", layer_norm(tensors, f"{name}ln_2", x, eps))
    return x + linear(tensors, f"{name}mlp.c_proj", activation(inner))


def resnet(tensors: Tensors, pixels: torch.Tensor, heads: int) -> torch.Tensor:
    """`ModifiedResNet.forward`: three stem convolutions, four layers, and the attention pool that also projects.

    Args:
        pixels: `(n, 3, r, r)`.
        heads: the head count of the attention pool.

    Returns:
        `(n, embed)`, not normalised.
    """
    x = wide(pixels)
    for number, stride in ((1, 2), (2, 1), (3, 1)):
        x = F.relu(_conv_norm(tensors, "visual.", number, x, stride=stride, padding=1))
    x = F.avg_pool2d(x, 2)
    for number in (1, 2, 3, 4):
        layer = f"visual.layer{number}."
        for block in numbered(tensors, layer):
            x = _bottleneck(tensors, f"{layer}{block}.", x, stride=2 if number > 1 and block == 0 else 1)
    return _attention_pool(tensors, x, heads)


def _bottleneck(tensors: Tensors, block: str, x: torch.Tensor, stride: int) -> torch.Tensor:
    """A residual block; a stride is an average pool after the second convolution and before the shortcut's."""
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


def _attention_pool(tensors: Tensors, x: torch.Tensor, heads: int) -> torch.Tensor:
    """The mean position attends to itself and to the grid; `c_proj` is the projection to the embedding."""
    pool = "visual.attnpool."
    grid = x.flatten(2).transpose(1, 2)
    x = torch.cat([grid.mean(dim=1, keepdim=True), grid], dim=1) + weight(tensors, f"{pool}positional_embedding")
    query, key, value = (linear(tensors, f"{pool}{name}_proj", x) for name in "qkv")
    return linear(tensors, f"{pool}c_proj", attention(query[:, :1], key, value, heads)[:, 0])
