"""CLIP's vision transformer under transformers' key names (`vision_model.*`, `visual_projection.weight`)."""

import torch
import torch.nn.functional as F

from .hf_config import Facts
from .layers import Tensors, attention, layer_norm, linear, normalize, numbered, square_side, weight, wide


def embed(tensors: Tensors, pixels: torch.Tensor, facts: Facts) -> torch.Tensor:
    """The class position after `post_layernorm`, projected and L2-normalised.

    Args:
        pixels: `(n, 3, r, r)`.

    Returns:
        `(n, projection)`.
    """
    x = last_hidden(tensors, "vision_model.", pixels, facts)
    pooled = layer_norm(tensors, "vision_model.post_layernorm", x[:, 0], facts.eps)
    return normalize(pooled @ weight(tensors, "visual_projection.weight").T)


def last_hidden(tensors: Tensors, prefix: str, pixels: torch.Tensor, facts: Facts) -> torch.Tensor:
    """The last layer's states `(n, 1 + patches, width)`, before any norm; `prefix` ends with its dot."""
    x = _patches(tensors, f"{prefix}embeddings.", pixels)
    x = layer_norm(tensors, f"{prefix}pre_layrnorm", x, facts.eps)  # this spelling is in every file
    for number in numbered(tensors, f"{prefix}encoder.layers."):
        x = _block(tensors, f"{prefix}encoder.layers.{number}.", x, facts)
    return x


def sizes(tensors: Tensors) -> dict[str, int]:
    """The sizes that distinguish one tower from another."""
    width = len(tensors["vision_model.embeddings.class_embedding"])
    return {
        "hidden_size": width,
        "num_hidden_layers": len(numbered(tensors, "vision_model.encoder.layers.")),
        "intermediate_size": len(tensors["vision_model.encoder.layers.0.mlp.fc1.weight"]),
        "patch_size": tensors["vision_model.embeddings.patch_embedding.weight"].shape[-1],
        "image_size": image_size(tensors),
    }


def image_size(tensors: Tensors, prefix: str = "vision_model.") -> int:
    """The side in pixels that the position table fits."""
    patch = tensors[f"{prefix}embeddings.patch_embedding.weight"].shape[-1]
    return patch * square_side(len(tensors[f"{prefix}embeddings.position_embedding.weight"]))


def _patches(tensors: Tensors, prefix: str, pixels: torch.Tensor) -> torch.Tensor:
    """Class token, then the patches row by row, plus positions: `(n, 1 + patches, width)`."""
    kernel = weight(tensors, f"{prefix}patch_embedding.weight")
    patches = F.conv2d(wide(pixels), kernel, stride=kernel.shape[-1]).flatten(2).transpose(1, 2)
    first = weight(tensors, f"{prefix}class_embedding").expand(len(pixels), 1, -1)
    return torch.cat([first, patches], dim=1) + weight(tensors, f"{prefix}position_embedding.weight")


def _block(tensors: Tensors, layer: str, x: torch.Tensor, facts: Facts) -> torch.Tensor:
    """One pre-norm layer: attention, then the two-layer perceptron."""
    before = layer_norm(tensors, f"{layer}layer_norm1", x, facts.eps)
    query, key, value = (linear(tensors, f"{layer}self_attn.{name}_proj", before) for name in "qkv")
    x = x + linear(tensors, f"{layer}self_attn.out_proj", attention(query, key, value, facts.heads))
    before = layer_norm(tensors, f"{layer}layer_norm2", x, facts.eps)
    return x + linear(tensors, f"{layer}mlp.fc2", facts.activation(linear(tensors, f"{layer}mlp.fc1", before)))
