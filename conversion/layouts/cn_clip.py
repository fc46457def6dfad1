"""cn_clip's model in every packaging: its tables, what its keys and config fields say, and its own class.

Packagings differ in the keys' prefix, in the files beside the weights, and in how they prepare pictures and texts.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from hf_zhclip.json_files import parse_json

from ..errors import InputError
from ..mapping import Rule, Shape, drop, matches, rename, transpose
from ..source import ImageSide, Signature, Tower, Whole
from ..words import Words
from . import towers
from .hf_config import bert_shapes, check_activation, count_layers
from .openai import RESNET_WIDENING, VIT_FC, is_resnet, resnet_sizes, resnet_tower, vit_sizes, vit_tower

Value = TypeVar("Value")

ORDER = "squash_then_rgb"
"""cn_clip/clip/utils.py, `image_transform`."""

CONTEXT_LENGTH = 52
"""cn_clip/clip/utils.py: "all baseline models use 52 as the context length"."""

HEADS = transpose("text_projection", "text_projection.weight"), rename("logit_scale", "logit_scale")
LIMITS = (
    Words(
        "Texts are lower-cased and accents are removed, as in cn_clip's public tokenize. Curly quotes are unknown. "
        "cn_clip's training and evaluation replace curly quotes first "
        "(hf_zhclip.processing_zhclip.normalize_evaluation_text).",
        "文本会转成小写并去掉重音符号，弯引号不在词表里，与 cn_clip 公开的 tokenize 相同；它的训练和评测会先替换弯引"
        "号（hf_zhclip.processing_zhclip.normalize_evaluation_text）。",
    ),
    Words(
        "Characters that Unicode added or reclassified recently: cn_clip's own ids for these characters depend on the "
        "version of Python. Compared with Python 3.11 (Unicode 14), U+1171E is the only assigned character that "
        "differs.",
        "Unicode 近期新增或重新归类的字符：cn_clip 自己给出的 id 也随所用的 Python 版本而变。与 Python 3.11（Unicode "
        "14）相比，已分配的字符中只有 U+1171E 不同。",
    ),
    Words(
        "Lone surrogates (halves of characters in badly cut text): cn_clip gives [UNK], and the converted tokenizer "
        "refuses the text.",
        "孤立的代理项（文本被错误截断后留下的半个字符）：cn_clip 给出 [UNK]，转换后的分词器会拒绝这样的文本。",
    ),
)
"""The card's sentences about texts: when the ids can differ from those of cn_clip's own tokenizer."""

PREFIXES = ("clip_model.", "chinese_clip.")
"""The prefixes of ModelScope and EasyNLP; a file with and without a prefix is a mixture of two models."""

POOLER = drop("bert.pooler.dense.*")  # in releases before November 2022; no embedding passes through it

# Facts that no weight file holds, from cn_clip/clip/model_configs: (name, width, layers, patch) -> width of one head.
VISION_HEAD_WIDTH = {
    ("ViT-B-16", 768, 12, 16): 64,
    ("ViT-B-32", 768, 12, 32): 64,
    ("ViT-L-14", 1024, 24, 14): 64,
    ("ViT-H-14", 1280, 32, 14): 80,
}
RESNET_HEAD_WIDTH = {("RN50", 64, (3, 4, 6, 3)): 64}
# (name, hidden size, layers, intermediate size) -> heads; all of them use the exact (erf) GELU.
TEXT_HEADS = {
    ("RoBERTa-wwm-ext-base-chinese", 768, 12, 3072): 12,
    ("RoBERTa-wwm-ext-large-chinese", 1024, 24, 4096): 16,
    ("RBT3-chinese", 768, 3, 3072): 12,
}
TEXT_ACTIVATION = "gelu"

UPSTREAM_HEAD_WIDTH = 64
"""cn_clip's own value if a vision config does not state vision_head_width (cn_clip/clip/model.py)."""

FIELDS = frozenset(
    ("embed_dim", "image_resolution", "vocab_size")
    + tuple(f"vision_{field}" for field in ("layers", "width", "patch_size", "head_width"))
    + tuple(f"text_{field}" for field in ("attention_probs_dropout_prob", "hidden_act", "hidden_dropout_prob"))
    + tuple(f"text_{field}" for field in ("hidden_size", "initializer_range", "intermediate_size"))
    + tuple(f"text_{field}" for field in ("max_position_embeddings", "num_attention_heads", "num_hidden_layers"))
    + ("text_type_vocab_size",)
)
"""The fields of cn_clip/clip/model_configs; a user's file may state any of them."""


def signatures(prefix: str = "", beside: tuple[str, ...] = ()) -> tuple[Signature, ...]:
    """ViT and ResNet: all keys start with `prefix`, and the files `beside` must lie beside the weights."""
    text = (
        "bert.embeddings.word_embeddings.weight",
        "bert.encoder.layer.{}.intermediate.dense.weight",
        "text_projection",
        "logit_scale",
    )
    vit = "visual.transformer.resblocks.{}.mlp.c_fc.weight", "visual.proj"
    resnet = "visual.layer1.{}.conv1.weight", "visual.attnpool.positional_embedding"
    bare = "bert.*", "visual.*", "text_projection", "logit_scale"
    absent = bare if prefix else tuple(f"{each}*" for each in PREFIXES)
    return tuple(
        Signature(required=tuple(prefix + key for key in (*text, *image)), absent=absent, beside=beside)
        for image in (vit, resnet)
    )


def bare(named: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    """The values whose keys have this prefix, under their keys without it."""
    return {key.removeprefix(prefix): value for key, value in named.items() if key.startswith(prefix)}


def rules(keys: Collection[str]) -> tuple[Rule, ...]:
    """The tables for these keys: ViT or ResNet, plain or flash-attention layout."""
    flash_text = any(matches("bert.encoder.layer.{}.attention.self.Wqkv.weight", key) for key in keys)
    flash_vision = any(matches("visual.transformer.resblocks.{}.attn.Wqkv.weight", key) for key in keys)
    resnet = any(key.startswith("visual.attnpool.") for key in keys)
    return _tables(resnet, flash_text, flash_vision)


def home(config: Mapping[str, Any]) -> tuple[Rule, ...]:
    """The tables of cn_clip's own plain layout, from a converted config."""
    return _tables(config["vision_config"]["model_type"] == "hf_zhclip_resnet", flash_text=False, flash_vision=False)


def _tables(resnet: bool, flash_text: bool, flash_vision: bool) -> tuple[Rule, ...]:
    attention = towers.flash_bert_attention if flash_text else towers.bert_attention
    vision = towers.OPENAI_RESNET if resnet else towers.openai_vit("Wqkv." if flash_vision else "in_proj_")
    return (
        *towers.bert_embeddings("bert."),
        *attention("bert."),
        *towers.bert_layers("bert."),
        POOLER,
        *HEADS,
        *vision,
    )


def describe(shapes: Mapping[str, Shape], config: Mapping[str, Any], by: str = "--config") -> Whole:
    """Reads the architecture from shapes, and the rest from `config`, which has fields of cn_clip's model_configs.

    `by` is the config's origin, for error messages.
    """
    stated = _stated(shapes, config)
    _refuse_unstated({**_unstated_text(shapes), **_unstated_vision(shapes)}, stated)
    text_name, text = _text(shapes, stated, by)
    vision_name, vision, size = _vision(shapes, stated, by)
    return Whole(
        architecture=f"{vision_name}@{text_name}",
        text=text,
        vision=vision,
        image_order=ORDER,
        context_length=CONTEXT_LENGTH,
        image_size=size,
        limits=LIMITS,
    )


def describe_image(shapes: Mapping[str, Shape], config: Mapping[str, Any], by: str = "--config") -> ImageSide:
    """Like `describe`, for the image tower alone, as a pair needs it."""
    stated = _stated(shapes, config)
    _refuse_unstated(_unstated_vision(shapes), stated)
    name, vision, size = _vision(shapes, stated, by)
    return ImageSide(architecture=name, vision=vision, image_size=size)


def _stated(shapes: Mapping[str, Shape], config: Mapping[str, Any]) -> dict[str, Any]:
    stated = {key: value for key, value in config.items() if value is not None and key in FIELDS}
    if "vision_width" in stated and not _published_vision(shapes):
        stated.setdefault("vision_head_width", UPSTREAM_HEAD_WIDTH)
    return stated


def check_fields(config: Mapping[str, Any]) -> None:
    """Refuses fields that cn_clip's model_configs do not have, because a misspelt field would be ignored."""
    if unknown := sorted(config.keys() - FIELDS):
        raise InputError(
            f"--config states unknown fields: {', '.join(unknown)}. The known fields are {', '.join(sorted(FIELDS))}. "
            "Correct the file."
        )


def _text(shapes: Mapping[str, Shape], stated: Mapping[str, Any], by: str) -> tuple[str, Tower]:
    sizes = bert_shapes(shapes, "bert.")
    width = shapes["text_projection"][-1]
    _refuse_contradictions(by, stated, {f"text_{key}": value for key, value in sizes.items() if key != "vocab_size"})
    _refuse_contradictions(by, stated, {"vocab_size": sizes["vocab_size"], "embed_dim": width})
    key = sizes["hidden_size"], sizes["num_hidden_layers"], sizes["intermediate_size"]
    name, heads = _published(TEXT_HEADS, key) or (f"BERT {key[0]}x{key[1]}", None)
    activation = stated.get("text_hidden_act", TEXT_ACTIVATION)
    check_activation(activation, by)
    config = {
        "model_type": "bert",
        **sizes,
        "num_attention_heads": _heads(by, stated, "text_num_attention_heads", heads, key[0]),
        "hidden_act": activation,
        "hidden_dropout_prob": stated.get("text_hidden_dropout_prob", 0.1),
        "attention_probs_dropout_prob": stated.get("text_attention_probs_dropout_prob", 0.1),
        "initializer_range": stated.get("text_initializer_range", 0.02),
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
    }
    return name, Tower(config, pooling="cls", projection="linear", width=width)


def _vision(shapes: Mapping[str, Shape], stated: Mapping[str, Any], by: str) -> tuple[str, Tower, int]:
    return (_resnet if is_resnet(shapes) else _vit)(shapes, stated, by)


def _vit(shapes: Mapping[str, Shape], stated: Mapping[str, Any], by: str) -> tuple[str, Tower, int]:
    sizes = vit_sizes(shapes)
    width, layers, patch, size = (
        sizes[key] for key in ("hidden_size", "num_hidden_layers", "patch_size", "image_size")
    )
    found = {"vision_width": width, "vision_layers": layers, "vision_patch_size": patch, "image_resolution": size}
    _refuse_contradictions(by, stated, found)
    name, head_width = _published_vision(shapes) or (f"ViT {width}x{layers}/{patch}", None)
    head_width = _heads(by, stated, "vision_head_width", head_width, width)
    name = f"{name}-{size}" if name.startswith("ViT-") and size != 224 else name
    return name, vit_tower(shapes, width // head_width, "quick_gelu", 1e-5), size


def _resnet(shapes: Mapping[str, Shape], stated: Mapping[str, Any], by: str) -> tuple[str, Tower, int]:
    sizes = resnet_sizes(shapes)
    width, layers, size = sizes["width"], sizes["layers"], sizes["image_size"]
    found = {"vision_width": width, "vision_layers": layers, "image_resolution": size}
    _refuse_contradictions(by, stated, {**found, "embed_dim": sizes["output_dim"]})
    name, head_width = _published_vision(shapes) or (f"ResNet {width} {layers}", None)
    head_width = _heads(by, stated, "vision_head_width", head_width, width * RESNET_WIDENING)
    return name, resnet_tower(shapes, width * RESNET_WIDENING // head_width), size


def _unstated_text(shapes: Mapping[str, Shape]) -> dict[str, str]:
    """The facts that a text tower's shapes do not show, with the candidates; empty for a published size."""
    sizes = bert_shapes(shapes, "bert.")
    key = sizes["hidden_size"], sizes["num_hidden_layers"], sizes["intermediate_size"]
    if _published(TEXT_HEADS, key):
        return {}
    return {
        "text_num_attention_heads": f"one of {_divisors(key[0])}",
        "text_hidden_act": f'"{TEXT_ACTIVATION}" in every published model',
    }


def _unstated_vision(shapes: Mapping[str, Shape]) -> dict[str, str]:
    """Like `_unstated_text`, for the image tower."""
    if _published_vision(shapes):
        return {}
    return {"vision_head_width": f"one of {_divisors(_vision_width(shapes))}"}


def _refuse_unstated(wanted: Mapping[str, str], stated: Mapping[str, Any]) -> None:
    """Refuses an unpublished size until the user states every fact that its shapes do not show."""
    if lines := [f"  {field}: {candidates}" for field, candidates in wanted.items() if field not in stated]:
        raise InputError(
            "A model of this size was never published, and the weights do not show the following facts. Every "
            "candidate would load, but only the value of the training gives right embeddings:\n"
            + "\n".join(lines)
            + "\nWrite these facts into a JSON file with the fields of cn_clip's model_configs. Pass --config FILE."
        )


def _published(table: Mapping[tuple, int], key: tuple) -> tuple[str, int] | None:
    return {row[1:]: (row[0], fact) for row, fact in table.items()}.get(key)


def _published_vision(shapes: Mapping[str, Shape]) -> tuple[str, int] | None:
    if is_resnet(shapes):
        sizes = resnet_sizes(shapes)
        return _published(RESNET_HEAD_WIDTH, (sizes["width"], tuple(sizes["layers"])))
    patch = shapes["visual.conv1.weight"]
    return _published(VISION_HEAD_WIDTH, (patch[0], count_layers(shapes, VIT_FC), patch[-1]))


def _vision_width(shapes: Mapping[str, Shape]) -> int:
    if is_resnet(shapes):
        return RESNET_WIDENING * resnet_sizes(shapes)["width"]
    return shapes["visual.conv1.weight"][0]


def _divisors(width: int) -> str:
    return ", ".join(str(number) for number in range(2, width) if width % number == 0)


def _heads(by: str, stated: Mapping[str, Any], field: str, published: int | None, width: int) -> int:
    value = stated.get(field, published)
    if type(value) is not int:
        raise InputError(f"{by} states {field} {value!r}; a whole number was wanted. Correct this field.")
    if value < 1 or width % value:
        raise InputError(f"{by} states {field} {value!r}; wanted a divisor of the width {width}. Correct this field.")
    return value


def _refuse_contradictions(by: str, stated: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    wrong = [
        f"{field}: stated {stated[field]!r}, the shapes say {value!r}"
        for field, value in found.items()
        if field in stated and _plain(stated[field]) != _plain(value)
    ]
    if wrong:
        raise InputError(f"{by} contradicts the weights: {'; '.join(wrong)}. Correct these fields or leave them out.")


def _plain(value: Any) -> Any:
    # Upstream's RN50 config writes its layers as the string "[3,4,6,3]".
    if isinstance(value, str) and re.fullmatch(r"\[\d+(, ?\d+)*\]", value):
        value = parse_json(value, "a list of layers")
    return list(value) if isinstance(value, (list, tuple)) else value


def tokenizer(vocabulary: Path | None, context_length: int) -> Any:
    """cn_clip's tokenizer on the packaged vocabulary, or on the user's own."""
    from ..tokenizers.builders import cn_clip_tokenizer
    from ..tokenizers.vocabularies import default_vocab, read_vocab

    return cn_clip_tokenizer(read_vocab(vocabulary) if vocabulary else default_vocab(), context_length)


def model_config(text: Mapping[str, Any], vision: Mapping[str, Any], embed_dim: int) -> dict[str, Any]:
    """The fields of cn_clip's model_configs, from the configs of the two towers."""
    resnet = vision["model_type"] == "hf_zhclip_resnet"
    width = vision["width"] if resnet else vision["hidden_size"]
    fields = (
        *("hidden_size", "intermediate_size", "max_position_embeddings", "num_attention_heads", "num_hidden_layers"),
        *("type_vocab_size", "hidden_act", "initializer_range"),
        *("hidden_dropout_prob", "attention_probs_dropout_prob"),
    )
    return {
        "embed_dim": embed_dim,
        "image_resolution": vision["image_size"],
        "vision_layers": list(vision["layers"]) if resnet else vision["num_hidden_layers"],
        "vision_width": width,
        "vision_patch_size": None if resnet else vision["patch_size"],
        "vision_head_width": width * (32 if resnet else 1) // vision["num_attention_heads"],
        "vocab_size": text["vocab_size"],
        **{f"text_{field}": text[field] for field in fields},
    }
