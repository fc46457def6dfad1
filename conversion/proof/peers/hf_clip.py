"""transformers' CLIPModel, which is the original of the repos that it saves."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn.functional import normalize

from ..witness import Facts, Offer
from .common import (
    Tensors,
    add_tokens,
    built_from,
    clip_pixels,
    computing_in,
    loaded,
    transformers_name,
    without_position_ids,
)


def original(tensors: Tensors, facts: Facts) -> Offer:
    """The witness from CLIPModel."""
    import transformers

    with built_from("config.json", transformers_name()):
        width = len(tensors["visual_projection.weight"])
        config = transformers.CLIPConfig.from_dict({**facts.config, "projection_dim": width})
        model = loaded(transformers.CLIPModel(config), without_position_ids(tensors))
    words = facts.vocab
    tokenizer = transformers.CLIPTokenizer(vocab=dict(words.ids), merges=list(words.merges))
    add_tokens(tokenizer, words.added)

    def encode_text(ids: torch.Tensor) -> torch.Tensor:
        return normalize(model.text_projection(model.text_model(input_ids=ids).pooler_output), dim=-1)

    def encode_image(pixels: torch.Tensor) -> torch.Tensor:
        return normalize(model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output), dim=-1)

    def token_ids(texts: Sequence[str]) -> list[list[int]]:
        return tokenizer(list(texts), truncation=True, max_length=facts.context_length)["input_ids"]

    return Offer(
        name=transformers_name(),
        level="peer",
        computing_in=computing_in(model),
        encode_text=encode_text,
        encode_image=encode_image,
        token_ids=token_ids,
        pixels=clip_pixels(facts.image_size, facts.how),
        logit_scale=lambda: tensors["logit_scale"].item(),
    )


def original_image(tensors: Tensors, facts: Facts) -> Offer:
    """The witness of an image part, from CLIPVisionModelWithProjection."""
    import transformers

    image = {key: value for key, value in tensors.items() if key.startswith(("vision_model.", "visual_projection."))}
    with built_from("config.json", transformers_name()):
        config = _vision_config(transformers, facts.config)
        config.projection_dim = len(tensors["visual_projection.weight"])
        model = loaded(transformers.CLIPVisionModelWithProjection(config), without_position_ids(image))
    return Offer(
        name=transformers_name(),
        level="peer",
        computing_in=computing_in(model),
        encode_image=lambda pixels: normalize(model(pixel_values=pixels).image_embeds, dim=-1),
        logit_scale=lambda: tensors["logit_scale"].item(),
    )


def _vision_config(transformers: Any, config: Mapping[str, Any]) -> Any:
    """The vision config of a whole CLIPModel, or of a folder of its image tower alone, without text tower fields."""
    if config.get("model_type") == "clip_vision_model":
        return transformers.CLIPVisionConfig.from_dict(dict(config))
    image = {key: value for key, value in config.items() if key in ("vision_config", "vision_config_dict")}
    return transformers.CLIPConfig.from_dict(image).vision_config
