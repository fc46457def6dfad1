"""Hugging Face's ChineseCLIPModel (OFA-Sys/chinese-clip-vit-*): cn_clip's ViT models under transformers' names."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ..layouts import towers
from ..layouts.hf_folder import dual_towers, pictures, text_limit
from ..mapping import Rule, drop, rename
from ..reading.read import Checkpoint
from ..source import Files, Signature, Source, Tower, Whole
from ..tokenizers.vocabularies import OWN_WORDPIECE
from ..words import Words

CONTEXT_LENGTH = 52
"""The context length in training (cn_clip/clip/utils.py); the repos' own tokenizers state no limit."""

ORDER = "rgb_then_squash"
LIMITS = (
    Words(
        "Texts are cut at 52 tokens, the length of the training, unless the source's tokenizer states another limit. "
        "The published repos state no limit. `zhclip convert --context-length` raises the limit.",
        "文本在 52 个词元处截断，这是这些模型训练时的长度；源仓库的分词器写明其他上限时以它为准，已发布的仓库都没有写"
        "明。`zhclip convert --context-length` 可以放宽。",
    ),
    Words(
        "Transparency is dropped, as in transformers 4 for these models; transformers 5.23 puts transparent pictures "
        "on a white background.",
        "透明通道会被丢弃，与 transformers 4 对这些模型的处理相同；transformers 5.23 会把透明图片铺在白底上。",
    ),
)

TABLE = (
    *towers.bert("text_model."),
    *towers.HF_CLIP_VISION,
    rename("text_projection.weight", "text_projection.weight"),
    rename("logit_scale", "logit_scale"),
)
POOLER = drop("text_model.pooler.*")  # from early conversions; no embedding passes through it

KEYS = (
    "text_model.embeddings.word_embeddings.weight",
    "text_model.encoder.layer.{}.intermediate.dense.weight",
    "text_projection.weight",
    "vision_model.encoder.layers.{}.mlp.fc1.weight",
    "visual_projection.weight",
    "logit_scale",
)


def rules(keys: Collection[str]) -> tuple[Rule, ...]:
    """The table, with the norms under the names in these keys."""
    return towers.with_old_norms((*TABLE, POOLER), keys)


def describe(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Whole:
    """Reads the architecture from the folder's config.json, checked against the shapes and the other files."""
    shapes = checkpoint.shapes
    text, vision = dual_towers(shapes, config)
    size = f"{vision['hidden_size']}x{vision['num_hidden_layers']}/{vision['patch_size']}"
    return Whole(
        architecture=f"ChineseCLIP ViT {size}@BERT {text['hidden_size']}x{text['num_hidden_layers']}",
        text=Tower(text, "cls", "linear", shapes["text_projection.weight"][0]),
        vision=Tower(vision, "pooler", "linear", shapes["visual_projection.weight"][0]),
        image_order=ORDER,
        context_length=min(text_limit(checkpoint.folder, CONTEXT_LENGTH), text["max_position_embeddings"]),
        image_size=vision["image_size"],
        limits=LIMITS,
    )


def tokenizer(vocabulary: Path | None, context_length: int) -> Any:
    """The folder's own BERT tokenizer."""
    from ..tokenizers.builders import bert_tokenizer

    return bert_tokenizer(vocabulary, context_length)


CLASSES = ("ChineseCLIPModel", "chinese_clip")
TYPES = ("chinese_clip", "clip")

LOAD = """\
from transformers import ChineseCLIPModel, ChineseCLIPProcessor

model = ChineseCLIPModel.from_pretrained(folder).eval()
processor = ChineseCLIPProcessor.from_pretrained(folder)"""

FILES = Files(
    weights=("model.safetensors", "pytorch_model.bin"),
    config="config.json",
    own_vocabulary=True,
    made=lambda config: pictures("ChineseCLIPImageProcessor", ORDER, config),
    left_out=("text_model.pooler.*",),
    load=lambda config, stated: LOAD,
)

SOURCE = Source(
    name="chinese_clip",
    title="Hugging Face ChineseCLIPModel (OFA-Sys/chinese-clip-vit-*)",
    part="dual",
    signatures=(
        Signature(required=KEYS, absent=("text_model.pooler.*",), architectures=CLASSES, types=TYPES),
        Signature(
            required=(*KEYS, "text_model.pooler.dense.weight"),
            decides="architectures",
            architectures=CLASSES,
            types=TYPES,
        ),
    ),
    describe=describe,
    describe_image=describe,
    rules=rules,
    home=lambda config: TABLE,
    tokenizer=tokenizer,
    files=FILES,
    vocabulary=OWN_WORDPIECE,
    limits=LIMITS,
)
