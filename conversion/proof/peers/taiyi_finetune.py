"""The steps of Fengshen's `validation_step`: transformers' classes, ids padded to 77, no mask.

The reference computes its pixels, which are torchvision's.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.functional import normalize, pad

from ..reference import taiyi_finetune
from ..witness import Facts, Offer
from .common import Tensors, bert_ids, built_from, computing_in, loaded, transformers_name, without_position_ids

ATTRIBUTE, CLIP, TEXT = "model.", "clip_model.", "text_encoder."


def original(tensors: Tensors, facts: Facts) -> Offer:
    """The witness from BertForSequenceClassification and CLIPVisionModelWithProjection."""
    import transformers

    bare = {key.removeprefix(ATTRIBUTE): tensor for key, tensor in without_position_ids(tensors).items()}
    clip, labels = _under(CLIP, bare), len(bare[f"{TEXT}classifier.weight"])
    image = {key: clip[key] for key in clip if key.startswith(("vision_model.", "visual_projection."))}
    with built_from("what is stated", transformers_name()):
        text_config = transformers.BertConfig(**_text_fields(bare, facts.config), num_labels=labels)
        text = loaded(transformers.BertForSequenceClassification(text_config), _under(TEXT, bare))
        vision_config = transformers.CLIPVisionConfig(**_vision_fields(clip, facts.config), projection_dim=labels)
        vision = loaded(transformers.CLIPVisionModelWithProjection(vision_config), image)

    def encode_text(ids: torch.Tensor) -> torch.Tensor:
        padded = pad(ids, (0, taiyi_finetune.PADDED - ids.shape[1]))
        return normalize(text(padded).logits, dim=-1)

    return Offer(
        name=transformers_name(),
        level="peer",
        computing_in=computing_in(text, vision),
        encode_text=encode_text,
        encode_image=lambda pixels: normalize(vision(pixel_values=pixels).image_embeds, dim=-1),
        token_ids=bert_ids(facts.vocab, facts.context_length),
        logit_scale=lambda: clip["logit_scale"].item(),
    )


def _text_fields(tensors: Tensors, config: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes from the tensors, heads from the published widths, and the other fields from the user."""
    words = tensors[f"{TEXT}bert.embeddings.word_embeddings.weight"]
    inner = f"{TEXT}bert.encoder.layer.{{}}.intermediate.dense.weight"
    return {
        "vocab_size": len(words),
        "hidden_size": words.shape[1],
        "num_attention_heads": taiyi_finetune.HEADS.get(words.shape[1]),
        "num_hidden_layers": sum(inner.format(n) in tensors for n in range(len(tensors))),
        "intermediate_size": len(tensors[inner.format(0)]),
        "max_position_embeddings": len(tensors[f"{TEXT}bert.embeddings.position_embeddings.weight"]),
        "type_vocab_size": len(tensors[f"{TEXT}bert.embeddings.token_type_embeddings.weight"]),
        **config.get("text_config", {}),
    }


def _vision_fields(clip: Tensors, config: Mapping[str, Any]) -> dict[str, Any]:
    """The image tower's fields from the same origins."""
    patches = clip["vision_model.embeddings.patch_embedding.weight"]
    inner = "vision_model.encoder.layers.{}.mlp.fc1.weight"
    grid = round((len(clip["vision_model.embeddings.position_embedding.weight"]) - 1) ** 0.5)
    return {
        "hidden_size": len(patches),
        "num_attention_heads": taiyi_finetune.HEADS.get(len(patches)),
        "num_hidden_layers": sum(inner.format(n) in clip for n in range(len(clip))),
        "intermediate_size": len(clip[inner.format(0)]),
        "image_size": grid * patches.shape[-1],
        "patch_size": patches.shape[-1],
        **config.get("vision_config", {}),
    }


def _under(prefix: str, tensors: Tensors) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
