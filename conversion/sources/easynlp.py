"""EasyNLP's CLIPApp (alibaba/EasyNLP) where it holds cn_clip's model: its keys, under a prefix of its own.

Its config.json says model_type chinese_clip, which is not Hugging Face's. Pictures and texts go in as EasyNLP does it.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..layouts import cn_clip as cn_clip_model
from ..layouts import towers
from ..mapping import Rule, Shape
from ..reading.read import Checkpoint
from ..source import ImageSide, Source, Whole
from ..words import Words

PREFIX = "chinese_clip."
HEAD_WIDTH = 64
"""Of every image tower, also of the one that cn_clip gives another (modelzoo/models/clip/modeling_chineseclip.py)."""

LIMITS = (
    Words(
        "EasyNLP cuts texts at the sequence_length that its user passes, which no file keeps; here they are cut at "
        "52 tokens, with which Chinese-CLIP was trained. `zhclip convert --context-length` changes it.",
        "EasyNLP 在使用者传入的 sequence_length 处截断文本，任何文件都不保存这个值；这里在 52 个词元处截断，这是 "
        "Chinese-CLIP 训练时的长度。可以用 `zhclip convert --context-length` 修改。",
    ),
    Words(
        "EasyNLP resizes every picture to 224 pixels, whatever its model was made for; here to the model's own size.",
        "EasyNLP 把所有图片都缩放到 224 像素，不管模型是为什么尺寸做的；这里缩放到模型自己的尺寸。",
    ),
    Words(
        "EasyNLP gives every image tower heads of width 64, and so does this; Chinese-CLIP's own ViT-H has heads of "
        "80.",
        "EasyNLP 的图像塔一律采用宽度为 64 的注意力头，这里也是如此；Chinese-CLIP 自己的 ViT-H 训练时用的是 80。",
    ),
)


def rules(keys: Collection[str]) -> tuple[Rule, ...]:
    """cn_clip's tables under the prefix."""
    return towers.prefixed(PREFIX, cn_clip_model.rules(cn_clip_model.bare(dict.fromkeys(keys), PREFIX)))


def home(config: Mapping[str, Any]) -> tuple[Rule, ...]:
    """The same for a converted config."""
    return towers.prefixed(PREFIX, cn_clip_model.home(config))


def describe(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Whole:
    """Reads the architecture from config.json, which has the fields of cn_clip's model_configs, and from shapes."""
    described = cn_clip_model.describe(*_given(checkpoint, config))
    # easynlp/appzoo/clip/data.py: the short side, the centre, then RGB; and transformers' BertTokenizer.
    return replace(described, image_order="crop_up_then_rgb", limits=LIMITS)


def describe_image(checkpoint: Checkpoint, config: Mapping[str, Any]) -> ImageSide:
    """The same of the image tower alone."""
    return cn_clip_model.describe_image(*_given(checkpoint, config))


def _given(checkpoint: Checkpoint, config: Mapping[str, Any]) -> tuple[Mapping[str, Shape], Mapping[str, Any], str]:
    """The shapes under cn_clip's names, what is stated and what is always so, and by what."""
    shapes = cn_clip_model.bare(checkpoint.shapes, PREFIX)
    by = "config.json" if checkpoint.config else "--config"
    return shapes, {**config, "vision_head_width": HEAD_WIDTH}, by


def tokenizer(vocabulary: Path | None, context_length: int) -> Any:
    """The BERT tokenizer over the folder's vocabulary, or over the packaged one, which Chinese-CLIP's models have."""
    from ..tokenizers.builders import bert_tokenizer
    from ..tokenizers.vocabularies import default_vocab

    return bert_tokenizer(vocabulary or default_vocab(), context_length)


SOURCE = Source(
    name="easynlp",
    title="EasyNLP's Chinese CLIP (chinese_clip.)",
    part="dual",
    signatures=cn_clip_model.signatures(PREFIX),
    describe=describe,
    rules=rules,
    home=home,
    tokenizer=tokenizer,
    limits=LIMITS,
    describe_image=describe_image,
)
