"""A bare BertModel taken out of a BertCLIP (YeungNLP/bert-from-clip-chinese-1M): a text tower alone."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ..layouts import towers
from ..layouts.hf_config import bert_shapes, check_there, tower_config
from ..mapping import Rule
from ..reading.read import Checkpoint
from ..source import BareTower, Files, Signature, Source, TextAlone
from ..tokenizers.vocabularies import OWN_WORDPIECE
from ..words import Words

RULES = (*towers.bert(""), *towers.bert_pooler(""))
"""CLIP-Chinese's save_bert_checkpoint.py saves `BertCLIPTextModel.text_model`, without the projection."""

LIMITS = (
    Words(
        "It holds no text projection and no image tower, so its vectors cannot be compared with image vectors, also "
        "not with the image vectors of its original CLIP. Use it as a BERT: for fine-tuning, or as the start of a "
        "text tower.",
        "它没有文本投影层，也没有图像塔：它的向量与图片不在同一个空间里，拿来与图像向量（包括它所出自的 CLIP 的图像向"
        "量）比较没有意义。它可以当作 BERT 使用：用来微调，或作为文本塔的初始权重。",
    ),
    Words(
        "Its pooled output (the tanh of a layer over the state of [CLS]) was trained as the input of a projection, "
        "not as an embedding of sentences.",
        "它池化的结果（[CLS] 的状态经过一层线性变换再取 tanh）在训练中是要再经过投影的，不是句向量。",
    ),
)


def rules(keys: Collection[str]) -> tuple[Rule, ...]:
    """One table serves every BertModel."""
    return RULES


def describe(checkpoint: Checkpoint, config: Mapping[str, Any]) -> TextAlone:
    """Reads the tower from the folder's config.json, checked against the shapes."""
    check_there(config)
    text = tower_config("bert", [config], bert_shapes(checkpoint.shapes, ""), "text part")
    return TextAlone(
        architecture=f"bare BERT {text['hidden_size']}x{text['num_hidden_layers']}",
        text=BareTower(text, "pooler"),
        context_length=text["max_position_embeddings"],
        limits=LIMITS,
    )


def tokenizer(vocabulary: Path | None, context_length: int) -> Any:
    """The folder's own BERT tokenizer."""
    from ..tokenizers.builders import bert_tokenizer

    return bert_tokenizer(vocabulary, context_length)


LOAD = """\
from transformers import BertModel, BertTokenizer

model = BertModel.from_pretrained(folder).eval()
tokenizer = BertTokenizer.from_pretrained(folder)"""

FILES = Files(
    weights=("model.safetensors", "pytorch_model.bin"),
    config="config.json",
    own_vocabulary=True,
    load=lambda config, stated: LOAD,
)

SOURCE = Source(
    name="bert_from_clip",
    title="a BERT taken out of a CLIP (YeungNLP/bert-from-clip-chinese-1M)",
    part="alone",
    signatures=(
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
    home=lambda config: RULES,
    tokenizer=tokenizer,
    files=FILES,
    vocabulary=OWN_WORDPIECE,
    limits=LIMITS,
)
