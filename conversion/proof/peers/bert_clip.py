"""transformers' VisionTextDualEncoderModel, if the checkpoint is such a model.

CLIP-Chinese is no installable package; its recorded outputs prove the reference instead.
"""

import torch

from ..witness import Facts, Offer
from .common import (
    Tensors,
    bert_ids,
    built_from,
    clip_pixels,
    computing_in,
    features,
    loaded,
    towers,
    transformers_name,
)

DUAL_ENCODER = "vision-text-dual-encoder"
DOUBLED = "vision_model.vision_model."
"""The key prefix of a dual encoder's image tower in transformers 4."""


def original(tensors: Tensors, facts: Facts) -> Offer | None:
    """The witness from VisionTextDualEncoderModel; None for CLIP-Chinese's own class."""
    if facts.config.get("model_type") != DUAL_ENCODER:
        return None
    import transformers

    state_dict = _state_dict(tensors)
    with built_from("config.json", transformers_name()):
        given = towers(state_dict, facts.config)
        given["text_config"]["model_type"], given["vision_config"]["model_type"] = "bert", "clip_vision_model"
        config = transformers.VisionTextDualEncoderConfig(**given)
        model = loaded(transformers.VisionTextDualEncoderModel(config), state_dict)
    encode_text, encode_image = features(model)
    return Offer(
        name=transformers_name(),
        level="peer",
        computing_in=computing_in(model),
        encode_text=encode_text,
        encode_image=encode_image,
        token_ids=bert_ids(facts.vocab, facts.context_length),
        pixels=clip_pixels(facts.image_size, facts.how),
        logit_scale=lambda: tensors["logit_scale"].item(),
    )


def _state_dict(tensors: Tensors) -> dict[str, torch.Tensor]:
    """The keys as from_pretrained changes them: the image tower's prefix once, no buffers."""
    return {
        key.replace(DOUBLED, "vision_model."): tensor for key, tensor in tensors.items() if "position_ids" not in key
    }
