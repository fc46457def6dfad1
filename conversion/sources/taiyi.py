"""Taiyi-CLIP (IDEA-CCNL): a BERT that was trained towards a published CLIP, which brings the image part."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ..layouts import towers
from ..layouts.hf_config import bert_shapes, check_there, tower_config
from ..mapping import Rule, rename
from ..reading.read import Checkpoint
from ..source import Description, Signature, Source, Tower

LIMITS = (
    "Padding is masked. The published usage gives no mask, so that there an embedding depends on the longest text of "
    "its batch; for those numbers set text_attends_to_padding in config.json.",
)

WITH_HEAD = (
    *towers.bert("bert."),
    *towers.bert_pooler("bert."),
    rename("classifier.*", "text_projection.*"),
)
"""102M and 326M: a BertForSequenceClassification whose logits are the embedding."""

WITHOUT_HEAD = (*towers.bert(""), *towers.bert_pooler(""))
"""102M-ViT-L and 326M-ViT-H: a BertModel whose tanh pooler is the embedding."""

HEAD_SIZES: dict[tuple[int, ...], str] = {
    (512, 768): "Taiyi-CLIP-Roberta-102M",
    (768, 1024): "Taiyi-CLIP-Roberta-large-326M",
}


def has_head(keys: Collection[str]) -> bool:
    return "classifier.weight" in keys


def rules(keys: Collection[str]) -> tuple[Rule, ...]:
    """The table with the classifier head, or that of a plain BertModel."""
    return WITH_HEAD if has_head(keys) else WITHOUT_HEAD


def describe(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Description:
    """Reads the text tower from the folder's config.json, held against the shapes."""
    check_there(config)
    shapes = checkpoint.shapes
    prefix = "bert." if has_head(shapes) else ""
    text = tower_config("bert", [config], bert_shapes(shapes, prefix), "text part")
    if has_head(shapes):
        tower = Tower(text, "pooler", "linear_bias", shapes["classifier.weight"][0])
    else:
        tower = Tower(text, "pooler", "none", text["hidden_size"])
    return Description(
        architecture=HEAD_SIZES.get(shapes.get("classifier.weight", ()), f"Taiyi-CLIP {text['hidden_size']}"),
        text=tower,
        # The head's models were published with CLIPProcessor, the others with open_clip's transform.
        image_order="rgb_then_crop" if has_head(shapes) else "crop_then_rgb",
        context_length=text["max_position_embeddings"],
        limits=LIMITS,
    )


def tokenizer(vocabulary: Path | None, context_length: int) -> Any:
    """The folder's own BERT tokenizer."""
    from ..tokenizers.builders import bert_tokenizer

    return bert_tokenizer(vocabulary, context_length)


SOURCE = Source(
    name="taiyi",
    title="Taiyi-CLIP (IDEA-CCNL)",
    part="text",
    signatures=(
        Signature(
            required=(
                "bert.embeddings.word_embeddings.weight",
                "bert.encoder.layer.{}.intermediate.dense.weight",
                "bert.pooler.dense.weight",
                "classifier.weight",
                "classifier.bias",
            ),
            absent=("visual.*", "vision_model.*"),
            sizes={"classifier.weight": tuple(HEAD_SIZES)},
            types=("bert",),
        ),
        Signature(
            required=(
                "embeddings.word_embeddings.weight",
                "encoder.layer.{}.intermediate.dense.weight",
                "pooler.dense.weight",
            ),
            decides="format",
            types=("bert",),
        ),
    ),
    describe=describe,
    rules=rules,
    home=lambda config: WITH_HEAD if config["text_projection_type"] == "linear_bias" else WITHOUT_HEAD,
    tokenizer=tokenizer,
    limits=LIMITS,
)
