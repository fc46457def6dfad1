"""Taiyi-CLIP (IDEA-CCNL): a BERT trained towards a published CLIP, which is the image part."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ..layouts import towers
from ..layouts.hf_config import bert_shapes, check_there, tower_config
from ..mapping import Rule, rename
from ..reading.read import Checkpoint
from ..source import Files, Signature, Source, TextSide, Tower
from ..tokenizers.vocabularies import OWN_WORDPIECE
from ..words import Words

LIMITS = (
    Words(
        "Padding is masked. The published usage passes no mask, so its embeddings depend on the longest text of the "
        "batch. For the numbers of the published usage, set text_attends_to_padding in config.json.",
        "填充会被屏蔽。太乙公开的用法不提供 attention mask，向量因此取决于同一批中最长的文本；要得到那样的数值，请在 "
        "config.json 中设置 text_attends_to_padding。",
    ),
)

WITH_HEAD = (
    *towers.bert("bert."),
    *towers.bert_pooler("bert."),
    rename("classifier.*", "text_projection.*"),
)
"""102M and 326M: a BertForSequenceClassification whose logits are the embedding."""

WITHOUT_HEAD = (*towers.bert(""), *towers.bert_pooler(""))
"""102M-ViT-L and 326M-ViT-H: a BertModel whose tanh pooler is the embedding."""

HEAD_SIZES = (512, 768), (768, 1024)
"""The shapes of the published classifiers."""

TEXT_SIZES = ("vocab_size", "max_position_embeddings", "hidden_size", "num_hidden_layers", "intermediate_size")
IMAGE_SIZES = ("hidden_size", "num_hidden_layers", "intermediate_size", "patch_size", "image_size")

PAIRS = {
    ("linear_bias", 512, 21128, 512, 768, 12, 3072, 768, 12, 3072, 32, 224): "Taiyi-CLIP-Roberta-102M",
    ("linear_bias", 768, 21128, 512, 1024, 24, 4096, 1024, 24, 4096, 14, 224): "Taiyi-CLIP-Roberta-large-326M",
    ("none", 768, 21128, 512, 768, 12, 3072, 1024, 24, 4096, 14, 224): "Taiyi-CLIP-RoBERTa-102M-ViT-L",
    ("none", 1024, 21128, 512, 1024, 24, 4096, 1280, 32, 5120, 14, 224): "Taiyi-CLIP-RoBERTa-326M-ViT-H",
}
"""By the text projection, the embedding width of both towers, and the sizes of the text and image towers."""


def has_head(keys: Collection[str]) -> bool:
    return "classifier.weight" in keys


def rules(keys: Collection[str]) -> tuple[Rule, ...]:
    """The table with the classifier head, or the table of a plain BertModel."""
    return WITH_HEAD if has_head(keys) else WITHOUT_HEAD


def describe(checkpoint: Checkpoint, config: Mapping[str, Any]) -> TextSide:
    """Reads the text tower from the folder's config.json, checked against the shapes."""
    check_there(config)
    shapes = checkpoint.shapes
    prefix = "bert." if has_head(shapes) else ""
    text = tower_config("bert", [config], bert_shapes(shapes, prefix), "text part")
    if has_head(shapes):
        tower = Tower(text, "pooler", "linear_bias", shapes["classifier.weight"][0])
    else:
        tower = Tower(text, "pooler", "none", text["hidden_size"])
    return TextSide(
        architecture=f"Taiyi-CLIP text {text['hidden_size']}x{text['num_hidden_layers']}",
        text=tower,
        # The models with a head were published with CLIPProcessor, the others with open_clip's transform.
        image_order="rgb_then_crop" if has_head(shapes) else "crop_then_rgb",
        context_length=text["max_position_embeddings"],
        limits=LIMITS,
    )


def pair_name(text: Tower, vision: Tower) -> str | None:
    """The published name of a pair whose text and image tower have the published shapes."""
    sizes = *(text.config[field] for field in TEXT_SIZES), *(vision.config.get(field) for field in IMAGE_SIZES)
    return PAIRS.get((text.projection, text.width, *sizes)) if text.width == vision.width else None


def tokenizer(vocabulary: Path | None, context_length: int) -> Any:
    """The folder's own BERT tokenizer."""
    from ..tokenizers.builders import bert_tokenizer

    return bert_tokenizer(vocabulary, context_length)


LOAD = """\
from transformers import {name}, BertTokenizer

text_model = {name}.from_pretrained(folder).eval()
tokenizer = BertTokenizer.from_pretrained(folder)"""
CLASSES = {"linear_bias": "BertForSequenceClassification", "none": "BertModel"}

FILES = Files(
    weights=("model.safetensors", "pytorch_model.bin"),
    config="config.json",
    own_vocabulary=True,
    load=lambda config, stated: LOAD.format(name=CLASSES[config["text_projection_type"]]),
)

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
            sizes={"classifier.weight": HEAD_SIZES},
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
    files=FILES,
    vocabulary=OWN_WORDPIECE,
    limits=LIMITS,
    pair_name=pair_name,
)
