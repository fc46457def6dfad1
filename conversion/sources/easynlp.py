"""EasyNLP's CLIPApp (alibaba/EasyNLP) with cn_clip's model: cn_clip's keys under EasyNLP's own prefix.

Its config.json says model_type chinese_clip, but this is not Hugging Face's model. Pictures and texts are prepared as
in EasyNLP.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..layouts import cn_clip as cn_clip_model
from ..layouts import towers, unused
from ..mapping import Rule, Shape
from ..reading.read import Checkpoint
from ..source import Files, ImageSide, Relative, Source, Whole
from ..words import Words

PREFIX = "chinese_clip."
HEAD_WIDTH = 64
"""Every image tower's head width, even if cn_clip has another (modelzoo/models/clip/modeling_chineseclip.py)."""

LIMITS = (
    Words(
        "EasyNLP cuts texts at the sequence_length that its user passes, and no file holds this value. Here, texts "
        "are cut at 52 tokens, the length of Chinese-CLIP's training. `zhclip convert --context-length` changes it.",
        "EasyNLP 在使用者传入的 sequence_length 处截断文本，任何文件都不保存这个值；这里在 52 个词元处截断，这是 "
        "Chinese-CLIP 训练时的长度。可以用 `zhclip convert --context-length` 修改。",
    ),
    Words(
        "EasyNLP resizes every picture to 224 pixels, for every model. Here, pictures are resized to the model's own "
        "size.",
        "EasyNLP 把所有图片都缩放到 224 像素，不管模型是为什么尺寸做的；这里缩放到模型自己的尺寸。",
    ),
    Words(
        "EasyNLP gives every image tower heads of width 64, and the converted model does the same. Chinese-CLIP's own "
        "ViT-H has heads of width 80.",
        "EasyNLP 的图像塔一律采用宽度为 64 的注意力头，这里也是如此；Chinese-CLIP 自己的 ViT-H 训练时用的是 80。",
    ),
)


def rules(keys: Collection[str]) -> tuple[Rule, ...]:
    """cn_clip's tables under the prefix."""
    return towers.prefixed(PREFIX, cn_clip_model.rules(cn_clip_model.bare(dict.fromkeys(keys), PREFIX)))


def home(config: Mapping[str, Any]) -> tuple[Rule, ...]:
    """cn_clip's tables under the prefix, from a converted config."""
    return towers.prefixed(PREFIX, cn_clip_model.home(config))


def describe(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Whole:
    """Reads the architecture from shapes and from config.json, which has the fields of cn_clip's model_configs."""
    described = cn_clip_model.describe(*_given(checkpoint, config))
    # easynlp/appzoo/clip/data.py: resizes the short side, crops the centre, then makes RGB; uses BertTokenizer.
    # modeling_chineseclip.py makes its mask from the ids: the BertTokenizer's [PAD] inside a text is masked, too.
    return replace(described, image_order="crop_up_then_rgb", limits=LIMITS, text_masks_pad_token=True)


def describe_image(checkpoint: Checkpoint, config: Mapping[str, Any]) -> ImageSide:
    """Like `describe`, for the image tower alone."""
    return cn_clip_model.describe_image(*_given(checkpoint, config))


def _given(checkpoint: Checkpoint, config: Mapping[str, Any]) -> tuple[Mapping[str, Shape], Mapping[str, Any], str]:
    """The shapes under cn_clip's names, the stated and fixed facts, and the name of what states them."""
    shapes = cn_clip_model.bare(checkpoint.shapes, PREFIX)
    by = "config.json" if checkpoint.config else "--config"
    return shapes, {**config, "vision_head_width": HEAD_WIDTH}, by


def tokenizer(vocabulary: Path | None, context_length: int) -> Any:
    """The BERT tokenizer on the folder's vocabulary, or on the packaged one, which Chinese-CLIP's models use."""
    from ..tokenizers.builders import bert_tokenizer
    from ..tokenizers.vocabularies import default_vocab

    return bert_tokenizer(vocabulary or default_vocab(), context_length)


LOAD = """\
from easynlp.appzoo.clip.model import CLIPApp

model = CLIPApp(folder).eval()"""

BERT = f"{PREFIX}bert."
FILES = Files(
    weights=("pytorch_model.bin",),
    config="config.json",
    own_vocabulary=True,
    unused=lambda tensors: {
        **unused.position_ids(tensors, unused.bert_positions(BERT)),
        **unused.bert_pooler(BERT, tensors),
    },
    load=lambda config, stated: LOAD,
)


RELATIVES = (
    Relative(
        "EasyNLP's Wukong",
        ("model.visual_encoder.*", "model.text_encoder.*", "model.logit_scale"),
        "It is not converted, because it computes with another epsilon than the published Wukong. Convert the "
        "published Wukong.",
    ),
    Relative(
        "EasyNLP's CLIP (huggingface_clip)",
        ("vision_encoder.*", "vision_projection.*", "text_encoder.*"),
        "It is not converted, because its projections follow the poolers of RoBERTa and of EasyNLP's own CLIP model.",
    ),
    Relative(
        "EasyNLP's open_clip",
        ("open_clip.visual.*", "open_clip.*"),
        "It is an English CLIP under EasyNLP's prefix, and is not converted. Convert the original open_clip model.",
    ),
)


SOURCE = Source(
    name="easynlp",
    title="EasyNLP's Chinese CLIP (chinese_clip.)",
    part="dual",
    signatures=cn_clip_model.signatures(PREFIX),
    describe=describe,
    rules=rules,
    home=home,
    tokenizer=tokenizer,
    files=FILES,
    limits=LIMITS,
    describe_image=describe_image,
    relatives=RELATIVES,
)
