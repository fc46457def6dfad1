"""The catalogue: every published checkpoint, read strictly, with the facts and figures that were published."""

import json
import math
import re
from pathlib import Path

import pytest

from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.reading import catalogue
from hf_zhclip.conversion.source import TextAlone
from hf_zhclip.conversion.sources import SOURCES

from tests.published import KEYS, part

LARGE, WIDE, HUGE = "chinese-clip-vit-large-patch14", "chinese-clip-vit-large-patch14-336px", "ViT-H-14"
BASE = "chinese-clip-vit-base-patch16"
TAIYI = "Taiyi-CLIP-Roberta-102M-Chinese"
MODELSCOPE = "multi-modal_clip-vit-large-patch14_336_zh"

# cn_clip/clip/utils.py and the usage that each project publishes: name -> what convert takes.
PUBLISHED = {
    "CLIP-ViT-B-32-xlm-roberta-base-laion5B-s13B-b90k": (
        "laion/CLIP-ViT-B-32-xlm-roberta-base-laion5B-s13B-b90k",
        None,
    ),
    "CLIP-ViT-H-14-frozen-xlm-roberta-large-laion5B-s13B-b90k": (
        "laion/CLIP-ViT-H-14-frozen-xlm-roberta-large-laion5B-s13B-b90k",
        None,
    ),
    "chinese-clip-vit-base-patch16": ("OFA-Sys/chinese-clip-vit-base-patch16:clip_cn_vit-b-16.pt", None),
    "chinese-clip-vit-large-patch14": ("OFA-Sys/chinese-clip-vit-large-patch14:clip_cn_vit-l-14.pt", None),
    "chinese-clip-vit-large-patch14-336px": (
        "OFA-Sys/chinese-clip-vit-large-patch14-336px:clip_cn_vit-l-14-336.pt",
        None,
    ),
    "chinese-clip-vit-huge-patch14": ("OFA-Sys/chinese-clip-vit-huge-patch14:clip_cn_vit-h-14.pt", None),
    "chinese-clip-rn50": ("OFA-Sys/chinese-clip-rn50:clip_cn_rn50.pt", None),
    "chinese-clip-vit-base-patch16-hf": ("OFA-Sys/chinese-clip-vit-base-patch16", None),
    "chinese-clip-vit-large-patch14-hf": ("OFA-Sys/chinese-clip-vit-large-patch14", None),
    "chinese-clip-vit-large-patch14-336px-hf": ("OFA-Sys/chinese-clip-vit-large-patch14-336px", None),
    "chinese-clip-vit-huge-patch14-hf": ("OFA-Sys/chinese-clip-vit-huge-patch14", None),
    "QA-CLIP-RN50": ("TencentARC/QA-CLIP:QA-CLIP-RN50.pt", None),
    "QA-CLIP-ViT-B-16": ("TencentARC/QA-CLIP:QA-CLIP-base.pt", None),
    "QA-CLIP-ViT-L-14": ("TencentARC/QA-CLIP:QA-CLIP-large.pt", None),
    "QA-CLIP-ViT-L-14-336": ("TencentARC/QA-CLIP:QA-CLIP-large-336.pt", None),
    "multi-modal_clip-vit-base-patch16_zh": ("modelscope:damo/multi-modal_clip-vit-base-patch16_zh", None),
    "multi-modal_clip-vit-large-patch14_zh": ("modelscope:damo/multi-modal_clip-vit-large-patch14_zh", None),
    "multi-modal_clip-vit-large-patch14_336_zh": ("modelscope:damo/multi-modal_clip-vit-large-patch14_336_zh", None),
    "multi-modal_clip-vit-huge-patch14_zh": ("modelscope:damo/multi-modal_clip-vit-huge-patch14_zh", None),
    "bert-from-clip-chinese-1M": ("YeungNLP/bert-from-clip-chinese-1M", None),
    "clip-vit-bert-chinese-1M": ("YeungNLP/clip-vit-bert-chinese-1M", None),
    "openai-RN50": ("RN50.pt", None),
    "openai-RN101": ("RN101.pt", None),
    "openai-RN50x4": ("RN50x4.pt", None),
    "openai-RN50x16": ("RN50x16.pt", None),
    "openai-RN50x64": ("RN50x64.pt", None),
    "openai-ViT-B-32": ("ViT-B-32.pt", None),
    "openai-ViT-B-16": ("ViT-B-16.pt", None),
    "openai-ViT-L-14": ("ViT-L-14.pt", None),
    "openai-ViT-L-14-336px": ("ViT-L-14-336px.pt", None),
    "prd2_pretrain_250m": ("prd2_pretrain_250m.pth", None),
    "zh-clip-vit-roberta-large-patch14": ("thu-ml/zh-clip-vit-roberta-large-patch14", None),
    "r2d2_pretrain_250m": ("r2d2_pretrain_250m.pth", None),
    "clip-vit-base-patch32": ("openai/clip-vit-base-patch32", None),
    "clip-vit-base-patch16": ("openai/clip-vit-base-patch16", None),
    "clip-vit-large-patch14": ("openai/clip-vit-large-patch14", None),
    "clip-vit-large-patch14-336": ("openai/clip-vit-large-patch14-336", None),
    "clip-ViT-B-32-multilingual-v1": (
        "sentence-transformers/clip-ViT-B-32-multilingual-v1",
        "sentence-transformers/clip-ViT-B-32",
    ),
    "LABSE-Vit-L-14": ("M-CLIP/LABSE-Vit-L-14", "openai/clip-vit-large-patch14"),
    "XLM-Roberta-Large-Vit-B-32": ("M-CLIP/XLM-Roberta-Large-Vit-B-32", "openai/clip-vit-base-patch32"),
    "XLM-Roberta-Large-Vit-L-14": ("M-CLIP/XLM-Roberta-Large-Vit-L-14", "openai/clip-vit-large-patch14"),
    "XLM-Roberta-Large-Vit-B-16Plus": ("M-CLIP/XLM-Roberta-Large-Vit-B-16Plus", None),
    "Taiyi-CLIP-Roberta-102M-Chinese": (
        "IDEA-CCNL/Taiyi-CLIP-Roberta-102M-Chinese",
        "openai/clip-vit-base-patch32",
    ),
    "Taiyi-CLIP-Roberta-large-326M-Chinese": (
        "IDEA-CCNL/Taiyi-CLIP-Roberta-large-326M-Chinese",
        "openai/clip-vit-large-patch14",
    ),
    "Taiyi-CLIP-RoBERTa-102M-ViT-L-Chinese": (
        "IDEA-CCNL/Taiyi-CLIP-RoBERTa-102M-ViT-L-Chinese",
        "openai/clip-vit-large-patch14",
    ),
    "Taiyi-CLIP-RoBERTa-326M-ViT-H-Chinese": (
        "IDEA-CCNL/Taiyi-CLIP-RoBERTa-326M-ViT-H-Chinese",
        "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
    ),
}

# Keys and shapes as the originals' own classes have them, text and image part.
SHAPES = {
    "CLIP-ViT-B-32-xlm-roberta-base-laion5B-s13B-b90k": ("open_clip-xlm-roberta-base-vit-b-32",),
    "CLIP-ViT-H-14-frozen-xlm-roberta-large-laion5B-s13B-b90k": ("open_clip-xlm-roberta-large-vit-h-14",),
    "chinese-clip-vit-base-patch16": ("cn_clip-vit-b-16",),
    "chinese-clip-vit-large-patch14": ("cn_clip-vit-l-14",),
    "chinese-clip-vit-large-patch14-336px": ("cn_clip-vit-l-14-336",),
    "chinese-clip-vit-huge-patch14": ("cn_clip-vit-h-14",),
    "chinese-clip-rn50": ("cn_clip-rn50",),
    "chinese-clip-vit-base-patch16-hf": ("chinese_clip-vit-base-patch16",),
    "chinese-clip-vit-large-patch14-hf": ("chinese_clip-vit-large-patch14",),
    "chinese-clip-vit-large-patch14-336px-hf": ("chinese_clip-vit-large-patch14-336px",),
    "chinese-clip-vit-huge-patch14-hf": ("chinese_clip-vit-huge-patch14",),
    "QA-CLIP-RN50": ("cn_clip-rn50",),
    "QA-CLIP-ViT-B-16": ("cn_clip-vit-b-16",),
    "QA-CLIP-ViT-L-14": ("cn_clip-vit-l-14",),
    "QA-CLIP-ViT-L-14-336": ("cn_clip-vit-l-14-336",),
    "multi-modal_clip-vit-base-patch16_zh": ("modelscope-vit-b-16",),
    "multi-modal_clip-vit-large-patch14_zh": ("modelscope-vit-l-14",),
    "multi-modal_clip-vit-large-patch14_336_zh": ("modelscope-vit-l-14-336",),
    "multi-modal_clip-vit-huge-patch14_zh": ("modelscope-vit-h-14",),
    "bert-from-clip-chinese-1M": ("bert_from_clip",),
    "clip-vit-bert-chinese-1M": ("bert_clip",),
    "openai-RN50": ("openai_clip-rn50",),
    "openai-RN101": ("openai_clip-rn101",),
    "openai-RN50x4": ("openai_clip-rn50x4",),
    "openai-RN50x16": ("openai_clip-rn50x16",),
    "openai-RN50x64": ("openai_clip-rn50x64",),
    "openai-ViT-B-32": ("openai_clip-vit-b-32",),
    "openai-ViT-B-16": ("openai_clip-vit-b-16",),
    "openai-ViT-L-14": ("openai_clip-vit-l-14",),
    "openai-ViT-L-14-336px": ("openai_clip-vit-l-14-336",),
    "prd2_pretrain_250m": ("prd2",),
    "zh-clip-vit-roberta-large-patch14": ("zh_clip",),
    "r2d2_pretrain_250m": ("r2d2",),
    "clip-vit-base-patch32": ("hf_clip-vit-base-patch32",),
    "clip-vit-base-patch16": ("hf_clip-vit-base-patch16",),
    "clip-vit-large-patch14": ("hf_clip-vit-large-patch14",),
    "clip-vit-large-patch14-336": ("hf_clip-vit-large-patch14-336",),
    "clip-ViT-B-32-multilingual-v1": ("sentence_transformers-multilingual", "hf_clip-vit-base-patch32"),
    "LABSE-Vit-L-14": ("multilingual_clip-labse-vit-l-14", "hf_clip-vit-large-patch14"),
    "XLM-Roberta-Large-Vit-B-32": ("multilingual_clip-xlm-r-vit-b-32", "hf_clip-vit-base-patch32"),
    "XLM-Roberta-Large-Vit-L-14": ("multilingual_clip-xlm-r-vit-l-14", "hf_clip-vit-large-patch14"),
    "XLM-Roberta-Large-Vit-B-16Plus": ("multilingual_clip-xlm-r-vit-b-16-plus", "open_clip-vit-b-16-plus-240"),
    "Taiyi-CLIP-Roberta-102M-Chinese": ("taiyi-102m", "hf_clip-vit-base-patch32"),
    "Taiyi-CLIP-Roberta-large-326M-Chinese": ("taiyi-326m", "hf_clip-vit-large-patch14"),
    "Taiyi-CLIP-RoBERTa-102M-ViT-L-Chinese": ("taiyi-102m-vit-l", "hf_clip-vit-large-patch14"),
    "Taiyi-CLIP-RoBERTa-326M-ViT-H-Chinese": ("taiyi-326m-vit-h", "hf_clip-vit-huge-patch14"),
}
IMAGE = ("visual.", "vision_model.", "visual_projection.", "visual_encoder.", "vision_proj.")
# Text towers whose tokenizer keeps capitals; do_lower_case of RoBERTa-wwm-ext, RBT3 and mengzi is true.
CASED = {
    "LaBSE",
    "bert-base-multilingual-cased",
    "distilbert-base-multilingual-cased",
    "xlm-roberta-base",
    "xlm-roberta-large",
}
# What lies in the files and is in no embedding: format -> how the keys begin.
LEFT_OUT = {
    "multilingual_clip": ("transformer.pooler.",),
    "modelscope": ("bert.pooler.",),
    "zh_clip": ("text_model.pooler.",),
    "openai_clip": ("input_resolution", "context_length", "vocab_size"),
    "prd2": (
        *("text_encoder.pooler.", "visual_encoder.post_layernorm."),
        *("text_joint_layer.", "img_joint_layer.", "img_joint_proj.", "itm_head"),
    ),
}
NOT_TRAINED = ("running_mean", "running_var", "num_batches_tracked", "position_ids")

T2I, I2T, ZERO, TUNED = "text-to-image retrieval", "image-to-text retrieval", "zero-shot", "fine-tuned"
CLASSIFIED = "CIFAR10 CIFAR100 DTD EuroSAT FER FGVC KITTI MNIST PC VOC ImageNet".split()


def classified(values: str) -> dict[tuple[str, str, str], str]:
    """The row of a model in the table of classification of Chinese-CLIP's Results.md."""
    pairs = zip(CLASSIFIED, values.split(), strict=True)
    return {("zero-shot image classification", dataset, ZERO): f"Top1 {value}" for dataset, value in pairs}


# The tables as their authors printed them: (task, dataset, setup) -> values.
FIGURES = {
    "chinese-clip-rn50": {
        (T2I, "MUGE", ZERO): "R@1 42.6 R@5 68.6 R@10 77.9 MR 63.0",
        (T2I, "MUGE", TUNED): "R@1 48.6 R@5 75.1 R@10 84.0 MR 69.2",
        (T2I, "Flickr30K-CN", ZERO): "R@1 48.8 R@5 76.0 R@10 84.6",
        (T2I, "Flickr30K-CN", TUNED): "R@1 66.7 R@5 89.4 R@10 94.1",
        (I2T, "Flickr30K-CN", ZERO): "R@1 60.0 R@5 85.9 R@10 92.0",
        (I2T, "Flickr30K-CN", TUNED): "R@1 84.2 R@5 96.7 R@10 98.0",
        (T2I, "COCO-CN", ZERO): "R@1 48.1 R@5 81.3 R@10 90.5",
        (T2I, "COCO-CN", TUNED): "R@1 66.8 R@5 91.1 R@10 97.0",
        (I2T, "COCO-CN", ZERO): "R@1 51.6 R@5 81.2 R@10 90.5",
        (I2T, "COCO-CN", TUNED): "R@1 68.4 R@5 93.3 R@10 97.8",
        **classified("72.7 40.6 36.9 27.0 21.9 5.4 30.2 50.2 47.7 82.1 33.5"),
    },
    BASE: {
        (T2I, "MUGE", ZERO): "R@1 52.1 R@5 76.7 R@10 84.4 MR 71.1",
        (T2I, "MUGE", TUNED): "R@1 58.4 R@5 83.6 R@10 90.0 MR 77.4",
        (T2I, "Flickr30K-CN", ZERO): "R@1 62.7 R@5 86.9 R@10 92.8",
        (T2I, "Flickr30K-CN", TUNED): "R@1 79.1 R@5 94.8 R@10 97.4",
        (I2T, "Flickr30K-CN", ZERO): "R@1 74.6 R@5 93.5 R@10 97.1",
        (I2T, "Flickr30K-CN", TUNED): "R@1 93.5 R@5 99.0 R@10 99.5",
        (T2I, "COCO-CN", ZERO): "R@1 62.2 R@5 86.6 R@10 94.9",
        (T2I, "COCO-CN", TUNED): "R@1 77.0 R@5 97.1 R@10 99.0",
        (I2T, "COCO-CN", ZERO): "R@1 57.0 R@5 84.1 R@10 93.6",
        (I2T, "COCO-CN", TUNED): "R@1 77.4 R@5 96.2 R@10 98.9",
        **classified("92.0 64.4 43.6 46.9 47.2 12.8 33.5 67.6 54.0 83.3 48.3"),
    },
    "chinese-clip-vit-huge-patch14": {
        (T2I, "MUGE", ZERO): "R@1 63.0 R@5 84.1 R@10 89.2 MR 78.8",
        (T2I, "MUGE", TUNED): "R@1 68.9 R@5 88.7 R@10 93.1 MR 83.6",
        (T2I, "Flickr30K-CN", ZERO): "R@1 71.2 R@5 91.4 R@10 95.5",
        (T2I, "Flickr30K-CN", TUNED): "R@1 83.8 R@5 96.9 R@10 98.6",
        (I2T, "Flickr30K-CN", ZERO): "R@1 81.6 R@5 97.5 R@10 98.8",
        (I2T, "Flickr30K-CN", TUNED): "R@1 95.3 R@5 99.7 R@10 100.0",
        (T2I, "COCO-CN", ZERO): "R@1 69.2 R@5 89.9 R@10 96.1",
        (T2I, "COCO-CN", TUNED): "R@1 81.5 R@5 96.9 R@10 99.1",
        (I2T, "COCO-CN", ZERO): "R@1 63.0 R@5 86.6 R@10 92.9",
        (I2T, "COCO-CN", TUNED): "R@1 83.5 R@5 97.3 R@10 99.2",
        **classified("96.0 79.7 51.2 52.0 49.2 26.2 39.1 79.4 52.4 84.9 59.6"),
    },
    LARGE: {
        (T2I, "MUGE", ZERO): "R@1 56.3 R@5 79.8 R@10 86.2 MR 74.1",
        (T2I, "MUGE", TUNED): "R@1 63.3 R@5 85.6 R@10 91.3 MR 80.1",
        (T2I, "Flickr30K-CN", ZERO): "R@1 68.0 R@5 89.7 R@10 94.4",
        (T2I, "Flickr30K-CN", TUNED): "R@1 82.7 R@5 96.7 R@10 98.6",
        (I2T, "Flickr30K-CN", ZERO): "R@1 80.2 R@5 96.6 R@10 98.2",
        (I2T, "Flickr30K-CN", TUNED): "R@1 96.1 R@5 99.5 R@10 99.9",
        (T2I, "COCO-CN", ZERO): "R@1 64.0 R@5 89.2 R@10 94.4",
        (T2I, "COCO-CN", TUNED): "R@1 78.9 R@5 96.3 R@10 99.0",
        (I2T, "COCO-CN", ZERO): "R@1 60.4 R@5 84.2 R@10 92.9",
        (I2T, "COCO-CN", TUNED): "R@1 80.2 R@5 96.7 R@10 99.2",
        **classified("94.9 75.1 44.2 56.9 54.6 16.0 49.9 69.8 63.5 84.5 54.7"),
    },
    WIDE: {
        (T2I, "MUGE", ZERO): "R@1 59.0 R@5 81.4 R@10 87.8 MR 76.1",
        (T2I, "MUGE", TUNED): "R@1 65.3 R@5 86.7 R@10 92.1 MR 81.3",
        (T2I, "Flickr30K-CN", ZERO): "R@1 69.0 R@5 90.7 R@10 95.4",
        (T2I, "Flickr30K-CN", TUNED): "R@1 84.4 R@5 97.1 R@10 98.7",
        (I2T, "Flickr30K-CN", ZERO): "R@1 83.3 R@5 97.2 R@10 98.5",
        (I2T, "Flickr30K-CN", TUNED): "R@1 96.6 R@5 99.8 R@10 100.0",
        (T2I, "COCO-CN", ZERO): "R@1 64.7 R@5 89.6 R@10 94.6",
        (T2I, "COCO-CN", TUNED): "R@1 80.1 R@5 96.7 R@10 99.2",
        (I2T, "COCO-CN", ZERO): "R@1 63.4 R@5 87.2 R@10 94.4",
        (I2T, "COCO-CN", TUNED): "R@1 81.2 R@5 97.2 R@10 99.1",
        **classified("94.1 73.5 43.8 50.7 55.1 17.1 49.8 65.0 62.9 84.9 56.7"),
    },
    "QA-CLIP-RN50": {
        (T2I, "Flickr30K-CN", ZERO): "R@1 50.5 R@5 77.4 R@10 86.1",
        (I2T, "Flickr30K-CN", ZERO): "R@1 67.1 R@5 87.9 R@10 93.2",
        (T2I, "MUGE", ZERO): "R@1 44.0 R@5 69.9 R@10 79.5",
        (I2T, "MUGE", ZERO): "R@1 32.4 R@5 59.5 R@10 70.3",
        (T2I, "COCO-CN", ZERO): "R@1 50.1 R@5 82.5 R@10 91.7",
        (I2T, "COCO-CN", ZERO): "R@1 56.7 R@5 85.2 R@10 92.9",
        ("zero-shot image classification", "ImageNet", ZERO): "Top1 35.5",
    },
    "QA-CLIP-ViT-B-16": {
        (T2I, "Flickr30K-CN", ZERO): "R@1 63.8 R@5 88.0 R@10 93.2",
        (I2T, "Flickr30K-CN", ZERO): "R@1 78.4 R@5 96.1 R@10 98.5",
        (T2I, "MUGE", ZERO): "R@1 53.2 R@5 77.7 R@10 85.1",
        (I2T, "MUGE", ZERO): "R@1 40.7 R@5 68.2 R@10 77.2",
        (T2I, "COCO-CN", ZERO): "R@1 62.9 R@5 87.7 R@10 94.7",
        (I2T, "COCO-CN", ZERO): "R@1 61.5 R@5 87.6 R@10 94.8",
        ("zero-shot image classification", "ImageNet", ZERO): "Top1 49.7",
    },
    "QA-CLIP-ViT-L-14": {
        (T2I, "Flickr30K-CN", ZERO): "R@1 69.3 R@5 90.3 R@10 94.7",
        (I2T, "Flickr30K-CN", ZERO): "R@1 85.3 R@5 97.9 R@10 99.2",
        (T2I, "MUGE", ZERO): "R@1 57.4 R@5 81.0 R@10 87.7",
        (I2T, "MUGE", ZERO): "R@1 45.5 R@5 73.0 R@10 81.4",
        (T2I, "COCO-CN", ZERO): "R@1 65.7 R@5 90.2 R@10 95.0",
        (I2T, "COCO-CN", ZERO): "R@1 64.5 R@5 88.3 R@10 95.1",
        ("zero-shot image classification", "ImageNet", ZERO): "Top1 55.8",
    },
    "QA-CLIP-ViT-L-14-336": {
        (T2I, "Flickr30K-CN", ZERO): "R@1 71.1 R@5 91.5 R@10 95.8",
        (I2T, "Flickr30K-CN", ZERO): "R@1 87.2 R@5 98.1 R@10 99.1",
        (T2I, "MUGE", ZERO): "R@1 59.6 R@5 81.9 R@10 88.1",
        (I2T, "MUGE", ZERO): "R@1 47.5 R@5 74.7 R@10 83.1",
        (T2I, "COCO-CN", ZERO): "R@1 65.9 R@5 90.2 R@10 94.9",
        (I2T, "COCO-CN", ZERO): "R@1 66.2 R@5 88.3 R@10 95.7",
        ("zero-shot image classification", "ImageNet", ZERO): "Top1 58.1",
    },
    "LABSE-Vit-L-14": {
        (
            T2I,
            "MS-COCO",
            ZERO,
        ): "En 91.6 De 89.6 Es 89.5 Fr 89.9 Zh 88.9 It 90.1 Pl 89.8 Ko 80.8 Ru 85.5 Tr 89.8 Jp 73.9"
    },
    "XLM-Roberta-Large-Vit-B-32": {
        (
            T2I,
            "MS-COCO",
            ZERO,
        ): "En 91.8 De 88.7 Es 89.1 Fr 89.4 Zh 89.3 It 89.8 Pl 91.4 Ko 82.1 Ru 86.1 Tr 88.8 Jp 81.0"
    },
    "XLM-Roberta-Large-Vit-L-14": {
        (
            T2I,
            "MS-COCO",
            ZERO,
        ): "En 92.4 De 90.6 Es 91.0 Fr 90.0 Zh 89.7 It 91.1 Pl 91.3 Ko 85.2 Ru 85.8 Tr 90.3 Jp 81.9"
    },
    "XLM-Roberta-Large-Vit-B-16Plus": {
        (
            T2I,
            "MS-COCO",
            ZERO,
        ): "En 95.0 De 93.0 Es 93.6 Fr 93.1 Zh 94.0 It 93.1 Pl 94.4 Ko 89.0 Ru 90.0 Tr 93.0 Jp 84.2"
    },
    "zh-clip-vit-roberta-large-patch14": {
        (T2I, "COCO-CN", ZERO): "R@1 68.00 R@5 89.46 R@10 95.44 Mean 84.30",
        (I2T, "COCO-CN", ZERO): "R@1 68.50 R@5 90.10 R@10 96.50 Mean 85.03",
        (T2I, "Flickr30K-CN", ZERO): "R@1 69.64 R@5 90.14 R@10 94.3 Mean 84.69",
        (I2T, "Flickr30K-CN", ZERO): "R@1 86.6 R@5 97.6 R@10 98.8 Mean 94.33",
        (T2I, "MUGE", ZERO): "R@1 56.75 R@5 79.75 R@10 86.66 Mean 74.38",
        ("zero-shot image classification", "ImageNet", ZERO): "ACC1 56.87",
    },
    TAIYI: {
        ("zero-shot image classification", "ImageNet1k-CN", ZERO): "Top1 42.85% Top5 71.48%",
        (T2I, "Flickr30k-CNA", ZERO): "Top1 46.32% Top5 74.58% Top10 83.44%",
        (T2I, "COCO-CN", ZERO): "Top1 47.10% Top5 78.53% Top10 87.84%",
        (T2I, "wukong50k", ZERO): "Top1 49.18% Top5 81.94% Top10 90.27%",
    },
    "Taiyi-CLIP-Roberta-large-326M-Chinese": {
        ("zero-shot image classification", "ImageNet1k-CN", ZERO): "Top1 53.05% Top5 79.55%",
        (T2I, "Flickr30k-CNA", ZERO): "Top1 54.36% Top5 80.56% Top10 87.90%",
        (T2I, "COCO-CN", ZERO): "Top1 51.47% Top5 81.00% Top10 90.40%",
        (T2I, "wukong50k", ZERO): "Top1 61.18% Top5 90.46% Top10 95.74%",
    },
    "Taiyi-CLIP-RoBERTa-102M-ViT-L-Chinese": {
        ("zero-shot image classification", "ImageNet1k-CN", ZERO): "Top1 55.04% Top5 81.75%",
        (T2I, "Flickr30k-CNA", ZERO): "Top1 58.32% Top5 82.96% Top10 89.40%",
        (T2I, "COCO-CN", ZERO): "Top1 55.27% Top5 81.10% Top10 90.78%",
        (T2I, "wukong50k", ZERO): "Top1 64.95% Top5 91.77% Top10 96.28%",
    },
    "Taiyi-CLIP-RoBERTa-326M-ViT-H-Chinese": {
        ("zero-shot image classification", "ImageNet1k-CN", ZERO): "Top1 54.35% Top5 80.64%",
        (T2I, "Flickr30k-CNA", ZERO): "Top1 60.82% Top5 85.00% Top10 91.04%",
        (T2I, "COCO-CN", ZERO): "Top1 60.02% Top5 83.95% Top10 93.26%",
        (T2I, "wukong50k", ZERO): "Top1 66.85% Top5 92.81% Top10 96.69%",
    },
}
# The same weights in other files.
SAME_WEIGHTS = {
    BASE: ("chinese-clip-vit-base-patch16-hf", "multi-modal_clip-vit-base-patch16_zh"),
    LARGE: ("chinese-clip-vit-large-patch14-hf", "multi-modal_clip-vit-large-patch14_zh"),
    WIDE: ("chinese-clip-vit-large-patch14-336px-hf", MODELSCOPE),
    "chinese-clip-vit-huge-patch14": ("chinese-clip-vit-huge-patch14-hf", "multi-modal_clip-vit-huge-patch14_zh"),
}
# The README of ZH-CLIP, which measured other models for comparison.
MEASURED_BY_ZH_CLIP = {
    "clip-vit-bert-chinese-1M": {
        (T2I, "MUGE", ZERO): "R@1 15.06 R@5 34.96 R@10 46.21",
        (T2I, "COCO-CN", ZERO): "R@1 22.60 R@5 50.04 R@10 65.24",
        (I2T, "COCO-CN", ZERO): "R@1 22.8 R@5 49.8 R@10 64.1",
        (T2I, "Flickr30K-CN", ZERO): "R@1 17.76 R@5 40.34 R@10 51.88",
        (I2T, "Flickr30K-CN", ZERO): "R@1 30.4 R@5 55.3 R@10 67.1",
        ("zero-shot image classification", "ImageNet", ZERO): "ACC1 22.22",
    },
    "XLM-Roberta-Large-Vit-L-14": {
        (T2I, "MUGE", ZERO): "R@1 22.34 R@5 41.15 R@10 50.26",
        (T2I, "COCO-CN", ZERO): "R@1 56.51 R@5 83.57 R@10 90.79",
        (I2T, "COCO-CN", ZERO): "R@1 59.9 R@5 87.3 R@10 94.1",
        (T2I, "Flickr30K-CN", ZERO): "R@1 62.3 R@5 86.42 R@10 92.58",
        (I2T, "Flickr30K-CN", ZERO): "R@1 84.4 R@5 97.3 R@10 98.9",
        ("zero-shot image classification", "ImageNet", ZERO): "ACC1 42.99",
    },
}


def recorded(name: str) -> dict[str, tuple[int, ...]]:
    left_out = LEFT_OUT.get(KEYS[name]["format"], ())
    return {key: tuple(shape) for key, shape in KEYS[name]["keys"].items() if not key.startswith(left_out)}


def text_of(name: str) -> str:
    return (Path(__file__).parents[3] / "model_cards" / f"{name}.yaml").read_text(encoding="utf-8")


def test_every_published_checkpoint_has_an_entry_that_convert_can_take():
    assert {each.name: (each.source, each.vision) for each in catalogue.entries()} == PUBLISHED
    assert {each.format for each in catalogue.entries()} <= set(SOURCES)


@pytest.mark.parametrize("alias", ["ViT-B-16", "vit-b-16", "CHINESE-CLIP-VIT-BASE-PATCH16"])
def test_a_name_is_found_in_whatever_case_and_by_cn_clips_own_name(alias):
    assert catalogue.find(alias).name == "chinese-clip-vit-base-patch16"


def test_every_name_of_cn_clips_available_models_is_known_and_a_foreign_one_is_not():
    known = {name: catalogue.find(name).image.tower for name in ("ViT-B-16", "ViT-L-14", "ViT-L-14-336", HUGE, "RN50")}
    assert known == {name: name for name in known}
    assert catalogue.find("ViT-B-32") is None


def test_a_place_on_the_hub_is_known_with_its_file_alone():
    repo, file = "OFA-Sys/chinese-clip-rn50", "clip_cn_rn50.pt"
    assert catalogue.find_by_hub(repo, file).name == "chinese-clip-rn50"
    assert catalogue.find_by_hub(repo, None) is None  # the whole repo is another format
    assert catalogue.find_by_hub("YeungNLP/clip-vit-bert-chinese-1M", None).format == "bert_clip"
    assert catalogue.find_by_hub("YeungNLP/bert-from-clip-chinese-1M", None).format == "bert_from_clip"
    both = "OFA-Sys/chinese-clip-vit-base-patch16"  # cn_clip's file and transformers' files lie in one repo
    assert catalogue.find_by_hub(both, "clip_cn_vit-b-16.pt").format == "cn_clip"
    assert catalogue.find_by_hub(both, None).format == "chinese_clip"


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_the_parameters_are_those_of_the_originals_own_classes(name):
    text, *image = SHAPES[name]
    # Of a CLIP beside a text tower, its own English text tower is left out.
    shapes = recorded(text) | {
        key: shape for part in image for key, shape in recorded(part).items() if key.startswith((*IMAGE, "logit_"))
    }
    counts = {key: math.prod(shape) for key, shape in shapes.items() if not key.endswith(NOT_TRAINED)}
    found = catalogue.find(name).parameters
    assert found.total == sum(counts.values())
    assert found.image == sum(count for key, count in counts.items() if key.startswith(IMAGE))


@pytest.mark.quick(23)
@pytest.mark.parametrize("name", sorted(SHAPES))
def test_the_towers_are_described_as_the_conversion_describes_them(name, tmp_path):
    entry, (text, *image) = catalogue.find(name), SHAPES[name]
    assert entry.format == KEYS[text]["format"]
    described = part(text, tmp_path).describe()
    wanted = (described.text.pooling, getattr(described.text, "projection", None), described.context_length)
    assert (entry.text.pooling, entry.text.projection, entry.text.context_length) == wanted
    # XLM-R's positions begin behind its padding, whose id is 1.
    taken = 2 if entry.text.model_type == "xlm-roberta" else 0
    assert entry.text.positions == described.text.config["max_position_embeddings"] - taken
    assert entry.text.model_type == described.text.config["model_type"]
    assert entry.text.lower_case is (entry.text.tower not in CASED)
    if isinstance(described, TextAlone):
        assert (entry.image, entry.width) == (None, described.text.config["hidden_size"])
        return
    vision = part(image[0], tmp_path, "image").describe() if image else described
    stated = entry.image
    assert (stated.order, stated.model_type, stated.projection, stated.size, entry.width) == (
        described.image_order,
        vision.vision.config["model_type"],
        vision.vision.projection,
        vision.image_size,
        vision.vision.width,
    )


def test_a_config_in_the_catalogue_says_what_the_originals_own_config_says():
    # open_clip 3.2.0: _pcfg of pretrained.py, which both names are published with.
    pictures = {
        "mean": [0.48145466, 0.4578275, 0.40821073],
        "std": [0.26862954, 0.26130258, 0.27577711],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
    found = {entry.name: entry.config for entry in catalogue.entries() if entry.config is not None}
    assert found == {
        name: {"model_cfg": KEYS[SHAPES[name][0]]["config"]["model_cfg"], "preprocess_cfg": pictures}
        for name in PUBLISHED
        if name.startswith("CLIP-")
    }


def test_where_something_is_published_is_a_hub_modelscope_or_a_page_for_a_person():
    places = {name: catalogue.find(name).published for name in ("RN50", MODELSCOPE, "prd2_pretrain_250m")}
    assert {name: (place.on_hub, place.by_hand) for name, place in places.items()} == {
        "RN50": (True, False),
        MODELSCOPE: (False, False),
        "prd2_pretrain_250m": (False, True),
    }
    assert [place.url for place in places.values()] == [
        "https://huggingface.co/OFA-Sys/chinese-clip-rn50",
        f"https://www.modelscope.cn/models/damo/{MODELSCOPE}",
        "https://drive.google.com/file/d/15zDdam7_-YT0suA3Wc226vvxcyBxWZ_O/view",
    ]
    assert catalogue.find_by_hub(f"modelscope:damo/{MODELSCOPE}", None).name == MODELSCOPE


def test_the_figures_are_those_that_were_published_digit_by_digit():
    found = {
        (entry.name, figures.by): {
            (row.task, row.dataset, row.setup): " ".join(f"{key} {value}" for key, value in row.values.items())
            for row in figures.rows
        }
        for entry in catalogue.entries()
        for figures in entry.figures
    }
    packed = {(name, "authors"): FIGURES[of] for of, names in SAME_WEIGHTS.items() for name in names}
    others = {(name, "others"): rows for name, rows in MEASURED_BY_ZH_CLIP.items()}
    assert found == {**{(name, "authors"): rows for name, rows in FIGURES.items()}, **packed, **others}


def test_figures_name_their_page_its_date_and_who_measured():
    dated = {(each.url, each.date, each.by) for entry in catalogue.entries() for each in entry.figures}
    # The dates of the commits that a history shows for the pages.
    assert {date for url, date, _ in dated if "Results.md" in url} == {"2022-12-23"}
    assert {date for url, date, _ in dated if "14fe9d6" in url} == {"2022-09-22"}
    assert {date for url, date, _ in dated if "b9eadf5" in url} == {"2022-09-24"}
    assert {by for url, _, by in dated if "816c483" in url} == {"others"}


def test_what_is_not_known_is_said_to_be_unknown():
    for entry in catalogue.entries():
        assert entry.license.id is None or entry.license.id in entry.license.published
        assert entry.license.en and entry.license.zh and entry.license.read
    assert catalogue.find("BertCLIP").license.id is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("family: BertCLIP", "family: BertCLIP\ncolour: red", "unknown field colour"),
        ("family: BertCLIP\n", "", "field family is missing"),
        ("  size: 224", "  size: wide", "field image.size is 'wide'; wanted int"),
        ("  positions: 512\n", "", "field text.positions is missing"),
        ("  lower_case: true", "  lower_case: 1", "field text.lower_case is 1; wanted bool"),
        ("aliases: [BertCLIP]", "aliases: BertCLIP", "field aliases is 'BertCLIP'; wanted list"),
        ("name: clip-vit-bert-chinese-1M", "name: other", "field name is 'other'; wanted the name of the file"),
        ("family: BertCLIP", "family: [", "is no YAML"),
    ],
)
def test_a_file_that_is_no_entry_is_refused_by_file_and_field(old, new, message):
    text = text_of("clip-vit-bert-chinese-1M")
    assert old in text
    with pytest.raises(InputError) as caught:
        catalogue.parse(text.replace(old, new, 1), "clip-vit-bert-chinese-1M.yaml")
    assert message in str(caught.value) and "clip-vit-bert-chinese-1M.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("[1]", "field config is [1]; wanted dict"),
        ("{heads: {1: 2}}", "field config.heads is 1; wanted str"),
        ("{layers: [12, {since: 2021-01-01}]}", "field config.layers[1].since is datetime.date(2021, 1, 1); wanted a"),
    ],
)
def test_a_config_that_is_no_json_is_refused_by_its_field(config, message):
    text = text_of("clip-vit-bert-chinese-1M").replace("config: null", f"config: {config}")
    with pytest.raises(InputError) as caught:
        catalogue.parse(text, "clip-vit-bert-chinese-1M.yaml")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("task: text-to-image retrieval", "task: retrieval", "field figures.rows.task is 'retrieval'; wanted one of"),
        ("split: test", "split: dev", "field figures.rows.split is 'dev'; wanted one of validation, test"),
        ("setup: zero-shot", "setup: probed", "field figures.rows.setup is 'probed'; wanted one of zero-shot, fine-"),
        ("by: authors", "by: rivals", r"field figures\[0\].by is 'rivals'; wanted one of authors, others"),
        ('date: "2022-12-23"', 'date: "2022"', r"field figures\[0\].date is '2022'; wanted a date as 2022-12-31"),
        ("headline: R@1", "headline: R@2", r"field figures\[0\].headline is 'R@2'; wanted a value of the first row"),
    ],
)
def test_a_row_of_figures_says_nothing_that_has_no_chinese(old, new, message):
    name = catalogue.find("ViT-L-14").name
    text = text_of(name)
    assert old in text
    with pytest.raises(InputError, match=message):
        catalogue.parse(text.replace(old, new, 1), f"{name}.yaml")


def test_a_config_nests_as_json_does():
    text = text_of("clip-vit-bert-chinese-1M").replace(
        "config: null", "config: {a: {b: [1, 0.5, null, true, {c: d}]}}"
    )
    found = catalogue.parse(text, "clip-vit-bert-chinese-1M.yaml").config
    assert found == {"a": {"b": [1, 0.5, None, True, {"c": "d"}]}}


def test_a_page_without_the_name_of_its_file_is_refused():
    with pytest.raises(InputError, match="published.file is None; wanted the name of the file on the page"):
        catalogue.parse(
            text_of("prd2_pretrain_250m").replace("prd2_pretrain_250m.pth", "null"), "prd2_pretrain_250m.yaml"
        )


def test_a_row_of_figures_is_read_as_strictly():
    with pytest.raises(InputError, match=r"figures\[0\]\.rows\[0\]\.values\.R@1 is 56\.3; wanted str"):
        catalogue.parse(text_of(LARGE).replace('R@1: "56.3"', "R@1: 56.3", 1), f"{LARGE}.yaml")


def test_the_list_is_a_table_for_people_and_json_for_machines():
    table = catalogue.table().splitlines()
    assert table[0].split() == ["name", "family", "towers", "parameters", "licence", "source"]
    assert len(table) == len(PUBLISHED) + 1
    assert any(
        re.search("^bert-from-clip-chinese-1M +BertCLIP +mengzi-bert-base +102M +unknown", line) for line in table
    )
    assert any("ViT-B-16" in line and "188M" in line and "mit" in line for line in table)
    assert any("--vision openai/clip-vit-base-patch32" in line for line in table)
    assert any(line.startswith("prd2_pretrain_250m ") and "https://drive.google.com/" in line for line in table)
    value = json.loads(json.dumps([entry.to_json() for entry in catalogue.list()]))
    assert value[0]["license"].keys() == {"id", "published", "en", "zh", "read"}
    assert {each["name"]: (each["source"], each["vision"]) for each in value} == PUBLISHED
