"""ZH-CLIP (thu-ml/zh-clip): a mean-pooled BERT followed by a perceptron, and a CLIP ViT, in one folder."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..layouts import towers, unused
from ..layouts.hf_config import bert_shapes, check_there, clip_vision_shapes, tower_config
from ..layouts.hf_folder import pictures
from ..mapping import Rule, drop, rename, zero
from ..reading.read import Checkpoint
from ..source import Files, Signature, Source, Tower, Whole
from ..tokenizers import limits
from ..tokenizers.vocabularies import OWN_WORDPIECE
from ..words import Words

ORDER = "rgb_then_crop"
"""models/zhclip/processing_zhclip.py: transformers' CLIPImageProcessor of version 4."""

CONTEXT_LENGTH = 77
"""inference.py: `max_length=77`, whatever the folder's tokenizer states."""

WHOLE_CLIP = "clip"
"""In `vision_config`, this type means the image tower inside a CLIP (models/zhclip/configuration_zhclip.py)."""

RULES = (
    *towers.bert("text_model."),
    # modeling_zhclip.py pools the last states itself.
    drop("text_model.pooler.dense.*"),
    rename("text_projection.{}.weight", "text_projection.{}.weight"),
    *towers.hf_clip_vit("vision_model."),
    rename("vision_model.post_layernorm.*", "vision_model.post_layernorm.*"),
    rename("visual_projection.*", "visual_projection.*"),
    # ZhCLIPModel has no scale: it does not multiply its towers' output.
    zero("logit_scale"),
)

LIMITS = (
    Words(
        "ZH-CLIP has no logit_scale, and no value is made up for it. The converted model has the value 0, a factor of "
        "1, so logits_per_image are the cosines themselves, and a softmax over them is nearly flat.",
        "ZH-CLIP 没有 logit_scale，这里也不编造：写入的值是 0，即系数为 1，因此 logits_per_image 就是余弦本身，对它们"
        "做 softmax 得到的概率几乎是均匀的。",
    ),
    Words(
        "ZH-CLIP's own inference takes the softmax of products of vectors that are not normalised. Here, "
        "get_text_features and get_image_features give the same vectors. ZH-CLIP's probabilities are the softmax of "
        "their products, and differ from logits_per_image and from a zero-shot pipeline. ZH-CLIP's repository does "
        "not say by which score its published figures rank.",
        "ZH-CLIP 自己的推理代码对未归一化向量的内积做 softmax。这里的 get_text_features 和 get_image_features 给出的"
        "正是这些向量：它的概率是这些向量内积的 softmax，不是 logits_per_image 或 zero-shot pipeline 给出的结果。它公"
        "布的指标按什么排序，在其代码仓库中没有找到说明。",
    ),
    limits.RECENT_CHARACTERS.filled(owner="ZH-CLIP"),
    limits.LONE_SURROGATES.filled(owner="ZH-CLIP"),
)
"""The card's sentences about scores and texts."""


def rules(keys: Collection[str]) -> tuple[Rule, ...]:
    """The only table; a drop may find no key."""
    return RULES


def describe(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Whole:
    """Reads both towers from the folder's config.json, checked against the shapes."""
    check_there(config)
    shapes = checkpoint.shapes
    text = tower_config(
        "bert", [_stated(config, "text_config", "bert")], bert_shapes(shapes, "text_model."), "text_config"
    )
    vision = tower_config("clip_vision_model", _image_configs(config), clip_vision_shapes(shapes), "vision_config")
    return Whole(
        architecture="ZH-CLIP",
        text=Tower(text, "mean", "mlp", shapes["text_projection.2.weight"][0]),
        vision=Tower(vision, "pooler", "linear_bias", shapes["visual_projection.weight"][0]),
        image_order=ORDER,
        context_length=min(CONTEXT_LENGTH, text["max_position_embeddings"]),
        image_size=vision["image_size"],
        limits=LIMITS,
    )


def _image_configs(config: Mapping[str, Any]) -> list[Any]:
    """The stated configs of the image tower; a whole CLIP's `vision_config_dict` comes first, as in CLIPConfig."""
    vision = _stated(config, "vision_config", "clip_vision_model", WHOLE_CLIP)
    if vision["model_type"] != WHOLE_CLIP:
        return [vision]
    return [vision[key] for key in ("vision_config_dict", "vision_config") if vision.get(key)]


def _stated(config: Mapping[str, Any], where: str, *known: str) -> Mapping[str, Any]:
    """One tower's own config; ZhCLIPConfig builds whatever tower the model type names."""
    tower = config.get(where)
    kind = tower.get("model_type") if isinstance(tower, Mapping) else None
    if not isinstance(tower, Mapping) or kind not in known:
        raise InputError(
            f"The {where} of config.json names the model type {kind!r}; wanted {' or '.join(known)}, as in the "
            "published ZH-CLIP. Other towers are not converted."
        )
    return tower


def tokenizer(vocabulary: Path | None, context_length: int) -> Any:
    """transformers' slow BertTokenizer on the folder's own vocabulary (processing_zhclip.py)."""
    from ..tokenizers.builders import slow_bert_tokenizer

    return slow_bert_tokenizer(vocabulary, context_length)


LOAD = """\
from models.zhclip import ZhCLIPModel, ZhCLIPProcessor  # of thu-ml/zh-clip

model = ZhCLIPModel.from_pretrained(folder).eval()
processor = ZhCLIPProcessor.from_pretrained(folder)"""


def _unused(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The pooler, and the buffers that the class has with transformers 4.26, for which it was written."""
    positions = unused.bert_positions("text_model."), unused.clip_positions("vision_model.")
    return {**unused.position_ids(tensors, *positions), **unused.bert_pooler("text_model.", tensors)}


FILES = Files(
    weights=("pytorch_model.bin", "model.safetensors"),
    config="config.json",
    own_vocabulary=True,
    made=lambda config: pictures("CLIPImageProcessor", ORDER, config),
    unused=_unused,
    load=lambda config, stated: LOAD,
)

SOURCE = Source(
    name="zh_clip",
    title="ZH-CLIP (thu-ml/zh-clip)",
    part="dual",
    signatures=(
        Signature(
            required=(
                "text_model.embeddings.word_embeddings.weight",
                "text_model.encoder.layer.{}.intermediate.dense.weight",
                "text_projection.0.weight",
                "text_projection.2.weight",
                "vision_model.embeddings.class_embedding",
                "visual_projection.weight",
                "visual_projection.bias",
            ),
            absent=("logit_scale",),
            architectures=("ZhCLIPModel", "zhclip"),
        ),
    ),
    describe=describe,
    describe_image=describe,
    rules=rules,
    home=lambda config: RULES,
    tokenizer=tokenizer,
    files=FILES,
    vocabulary=OWN_WORDPIECE,
    limits=LIMITS,
)
