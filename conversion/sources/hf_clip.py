"""A Hugging Face CLIPModel folder (openai/clip-vit-*) as the image part of a pair; its text tower is left out."""

from collections.abc import Collection, Mapping
from typing import Any

import torch

from .. import towers
from ..hf_config import CLIP_VISION_DEFAULTS, clip_vision_shapes, tower_config
from ..mapping import Rule, drop, rename
from ..read import Checkpoint
from ..source import Description, Facts, Signature, Source, Tower, Witness

VISION = (*towers.HF_CLIP_VISION, rename("logit_scale", "logit_scale"))
OWN_TEXT = drop("text_model.*"), drop("text_projection.weight")


def rules(keys: Collection[str]) -> tuple[Rule, ...]:
    """The image tower and the scale; the English text tower that may lie beside them is left out."""
    return VISION + OWN_TEXT


def describe(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Description:
    """Reads the image tower from the folder's config.json, held against the shapes."""
    shapes = checkpoint.shapes
    # transformers lets the fields of vision_config_dict override those of vision_config.
    stated = {**(config.get("vision_config") or {}), **(config.get("vision_config_dict") or {})}
    vision = tower_config("clip_vision_model", [stated] if stated else [], clip_vision_shapes(shapes), "vision_config")
    return Description(
        architecture=f"CLIP ViT {vision['hidden_size']}x{vision['num_hidden_layers']}/{vision['patch_size']}",
        facts={"vision_config": vision},
        vision=Tower(vision, "pooler", "linear", shapes["visual_projection.weight"][0]),
        image_size=vision["image_size"],
    )


def original(tensors: Mapping[str, torch.Tensor], facts: Facts) -> Witness:
    """The witness from transformers' own CLIPVisionModelWithProjection, which is the original of these folders."""
    import transformers

    fields = {key: facts.config["vision_config"][key] for key in CLIP_VISION_DEFAULTS}
    config = transformers.CLIPVisionConfig(**{**fields, "projection_dim": len(tensors["visual_projection.weight"])})
    model = transformers.CLIPVisionModelWithProjection(config).eval()
    kept = ("vision_model.", "visual_projection.")
    state_dict = {key: value for key, value in tensors.items() if key.startswith(kept) and "position_ids" not in key}
    model.load_state_dict(state_dict, strict=True)
    return Witness(
        name=f"transformers {transformers.__version__}",
        level="peer",
        encode_image=lambda pixels: torch.nn.functional.normalize(model(pixel_values=pixels).image_embeds, dim=-1),
        logit_scale=lambda: tensors["logit_scale"].item(),
    )


SOURCE = Source(
    name="hf_clip",
    title="Hugging Face CLIPModel (openai/clip-vit-*)",
    part="vision",
    signatures=(
        Signature(
            required=(
                "vision_model.encoder.layers.{}.mlp.fc1.weight",
                "vision_model.embeddings.patch_embedding.weight",
                "visual_projection.weight",
                "logit_scale",
            ),
            absent=("text_model.encoder.layer.{}.intermediate.dense.weight", "text_model.roberta.*"),
        ),
    ),
    describe=describe,
    rules=rules,
    home=lambda config: VISION,
    original=original,
)
