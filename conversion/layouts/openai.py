"""Towers under OpenAI's key names: sizes come from shapes, and the caller states the other facts."""

from collections.abc import Mapping
from typing import Any

from ..mapping import Shape
from ..source import Tower
from .hf_config import count_layers, vit_shapes

VIT_FC = "visual.transformer.resblocks.{}.mlp.c_fc.weight"
RESNET_STRIDE = 32
"""The picture's side divided by the grid's side: five halvings lie before the attention pool."""

RESNET_WIDENING = 32
"""The attention pool's width divided by the stem's width."""


def is_resnet(shapes: Mapping[str, Shape]) -> bool:
    """Whether the image tower is a modified ResNet, which ends in an attention pool."""
    return "visual.attnpool.positional_embedding" in shapes


def vit_sizes(shapes: Mapping[str, Shape]) -> dict[str, int]:
    """The sizes of a ViT under `visual.` that follow from its shapes."""
    return vit_shapes(
        patch=shapes["visual.conv1.weight"],
        positions=shapes["visual.positional_embedding"][0],
        layers=count_layers(shapes, VIT_FC),
        intermediate=shapes.get(VIT_FC.format(0), (0,))[0],
    )


def resnet_sizes(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """The sizes of a modified ResNet under `visual.` that follow from its shapes."""
    grid = vit_shapes(shapes["visual.conv1.weight"], shapes["visual.attnpool.positional_embedding"][0], 0, 0)
    return {
        "layers": [count_layers(shapes, f"visual.layer{n}.{{}}.conv1.weight") for n in (1, 2, 3, 4)],
        "width": shapes["visual.layer1.0.conv1.weight"][0],
        "image_size": grid["image_size"] // grid["patch_size"] * RESNET_STRIDE,
        "output_dim": shapes["visual.attnpool.c_proj.weight"][0],
    }


def text_sizes(shapes: Mapping[str, Shape], prefix: str, blocks: str) -> dict[str, int]:
    """A causal text transformer's sizes; `prefix` and `blocks` as for `towers.openai_text`."""
    words, inner = shapes[prefix + "token_embedding.weight"], blocks + "{}.mlp.c_fc.weight"
    return {
        "vocab_size": words[0],
        "hidden_size": words[1],
        "num_hidden_layers": count_layers(shapes, inner),
        "intermediate_size": shapes.get(inner.format(0), (0,))[0],
        "max_position_embeddings": shapes[prefix + "positional_embedding"][0],
    }


def vit_tower(shapes: Mapping[str, Shape], heads: int, activation: str, eps: float) -> Tower:
    """A ViT under `visual.`."""
    width = shapes["visual.proj"][-1]
    config = {
        "model_type": "clip_vision_model",
        **vit_sizes(shapes),
        "num_attention_heads": heads,
        "hidden_act": activation,
        "layer_norm_eps": eps,
        "attention_dropout": 0.0,
        "projection_dim": width,
    }
    return Tower(config, "pooler", "linear", width)


def resnet_tower(shapes: Mapping[str, Shape], heads: int) -> Tower:
    """A modified ResNet under `visual.`; `heads` belong to its attention pool, which also projects."""
    sizes = resnet_sizes(shapes)
    config = {"model_type": "hf_zhclip_resnet", **sizes, "num_attention_heads": heads}
    return Tower(config, "pooler", "none", sizes["output_dim"])


def text_tower(
    shapes: Mapping[str, Shape],
    prefix: str,
    blocks: str,
    *,
    heads: int,
    activation: str,
    eps: float,
    ends: tuple[int, int],
    pad: int,
) -> Tower:
    """A causal text transformer; `ends` are the ids of a text's first and last token, and the last token is pooled."""
    width = shapes[prefix + "text_projection"][-1]
    config = {
        "model_type": "clip_text_model",
        **text_sizes(shapes, prefix, blocks),
        "num_attention_heads": heads,
        "hidden_act": activation,
        "layer_norm_eps": eps,
        "attention_dropout": 0.0,
        "projection_dim": width,
        "bos_token_id": ends[0],
        "eos_token_id": ends[1],
        "pad_token_id": pad,
    }
    return Tower(config, "eos", "linear", width)
