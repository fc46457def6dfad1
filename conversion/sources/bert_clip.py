"""BertCLIP (yangjianxin1/CLIP-Chinese): a BERT with its tanh pooler and a CLIP ViT in one Hugging Face folder."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from .. import towers
from ..hf_folder import check_pictures, dual_towers
from ..mapping import Rule, rename
from ..read import Checkpoint
from ..source import Description, Facts, Signature, Source, Tower, Witness

ORDER = "rgb_then_crop"
"""component/dataset.py: convert("RGB"), then CLIPFeatureExtractor."""

RULES = (
    *towers.bert("text_model."),
    *towers.bert_pooler("text_model."),
    *towers.HF_CLIP_VISION,
    rename("text_projection.weight", "text_projection.weight"),
    rename("logit_scale", "logit_scale"),
)


def rules(keys: Collection[str]) -> tuple[Rule, ...]:
    """One table serves every file of this family."""
    return RULES


def describe(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Description:
    """Reads the architecture from the folder's config.json, held against the shapes."""
    shapes = checkpoint.shapes
    text, vision = dual_towers(shapes, config)
    check_pictures(checkpoint.folder, ORDER, vision["image_size"])
    return Description(
        architecture="BertCLIP",
        facts={"text_config": text, "vision_config": vision},
        text=Tower(text, "pooler", "linear", shapes["text_projection.weight"][0]),
        vision=Tower(vision, "pooler", "linear", shapes["visual_projection.weight"][0]),
        image_order=ORDER,
        context_length=text["max_position_embeddings"],
        image_size=vision["image_size"],
    )


def tokenizer(vocabulary: Path | None, context_length: int) -> Any:
    """The folder's own BERT tokenizer."""
    from ..tokenizer import bert_tokenizer

    return bert_tokenizer(vocabulary, context_length)


def original(tensors: Mapping[str, torch.Tensor], facts: Facts) -> Witness | None:
    """CLIP-Chinese is not a package that can be installed; its recorded outputs prove the reference instead."""
    return None


SOURCE = Source(
    name="bert_clip",
    title="BertCLIP (yangjianxin1/CLIP-Chinese)",
    part="dual",
    signatures=(
        Signature(
            required=(
                "text_model.embeddings.word_embeddings.weight",
                "text_model.encoder.layer.{}.intermediate.dense.weight",
                "text_model.pooler.dense.weight",
                "text_projection.weight",
                "vision_model.encoder.layers.{}.mlp.fc1.weight",
                "visual_projection.weight",
                "logit_scale",
            ),
            decides="architectures",
            architectures=("BertCLIPModel", "TextCLIPModel"),
        ),
    ),
    describe=describe,
    rules=rules,
    home=lambda config: RULES,
    original=original,
    tokenizer=tokenizer,
)
