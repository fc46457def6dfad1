"""Hugging Face CLIPModel repos (openai/clip-vit-*, laion/CLIP-*), whole or as the image part of a pair."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..layouts import towers
from ..layouts.hf_config import check_there, clip_text_shapes, clip_vision_shapes, tower_config
from ..layouts.hf_folder import pictures
from ..mapping import Rule, drop, rename
from ..reading.read import Checkpoint
from ..source import Files, ImageSide, Signature, Source, Tower, Whole
from ..tokenizers.builders import clip_tokenizer
from ..tokenizers.vocabularies import BPE
from ..words import Words

TEXT = (*towers.HF_CLIP_TEXT, rename("text_projection.weight", "text_projection.weight"))
SCALE = (rename("logit_scale", "logit_scale"),)
OTHER_TEXT = drop("text_model.*"), drop("text_projection.weight")
ORDER = "rgb_then_crop"
LAYERS = "text_model.encoder.layers."
"""The key prefix that only CLIP's own text tower has."""

LIMITS = (
    Words(
        "Texts are lower-cased and otherwise unchanged. OpenAI's own code first repairs badly decoded characters and "
        "HTML entities (ftfy, html.unescape), but the tokenizer of the Hugging Face repositories does not.",
        "文本会转成小写，此外保持原样：OpenAI 自己的代码会先修复乱码和 HTML 实体（ftfy、html.unescape），Hugging "
        "Face 仓库的分词器不做这一步。",
    ),
)


def rules(keys: Collection[str]) -> tuple[Rule, ...]:
    """Both towers and the scale; another text tower is dropped, and an image tower alone may lack the scale."""
    text = _has_text(keys)
    scale = SCALE if text or "logit_scale" in keys else ()
    return (*(TEXT if text else OTHER_TEXT), *towers.HF_CLIP_VISION, *scale)


def _has_text(keys: Iterable[str]) -> bool:
    return any(key.startswith(LAYERS) for key in keys)


def describe(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Whole:
    """Reads both towers from the folder's config.json, checked against the shapes."""
    shapes = checkpoint.shapes
    image = describe_image(checkpoint, config)
    text = tower_config("clip_text_model", _stated(config, "text_config"), clip_text_shapes(shapes), "text_config")
    return Whole(
        architecture=f"{image.architecture} with CLIP text {text['hidden_size']}x{text['num_hidden_layers']}",
        text=Tower(text, "eos", "linear", shapes["text_projection.weight"][0]),
        vision=image.vision,
        image_order=ORDER,
        context_length=text["max_position_embeddings"],
        image_size=image.image_size,
        limits=LIMITS,
    )


def describe_image(checkpoint: Checkpoint, config: Mapping[str, Any]) -> ImageSide:
    """Reads the image tower alone from the folder's config.json, checked against the shapes."""
    check_there(config)
    shapes = checkpoint.shapes
    stated = _stated(config, "vision_config")
    vision = tower_config("clip_vision_model", stated, clip_vision_shapes(shapes), "vision_config")
    return ImageSide(
        architecture=f"CLIP ViT {vision['hidden_size']}x{vision['num_hidden_layers']}/{vision['patch_size']}",
        vision=Tower(vision, "pooler", "linear", shapes["visual_projection.weight"][0]),
        image_size=vision["image_size"],
    )


def _stated(config: Mapping[str, Any], tower: str) -> list[Mapping[str, Any]]:
    """A tower's config as transformers reads it (models/clip/configuration_clip.py).

    Repos of 2022 have `<tower>_dict`, which replaces the tower's config field by field; the class's defaults replace
    fields that it lacks. A folder of an image tower alone states the tower's config at the top.
    """
    if (override := config.get(f"{tower}_dict")) is not None:
        return [override]
    if config.get("model_type") == "clip_vision_model" and tower == "vision_config":
        return [config]
    return [config[tower]] if config.get(tower) is not None else []


def tokenizer(vocabulary: Path | None, context_length: int) -> Any:
    """The folder's own CLIP tokenizer."""
    return clip_tokenizer(vocabulary, context_length)


VISION_KEYS = (
    "vision_model.encoder.layers.{}.mlp.fc1.weight",
    "vision_model.embeddings.patch_embedding.weight",
    "visual_projection.weight",
)
CLASSES = ("CLIPModel", "clip", "CLIPVisionModelWithProjection", "clip_vision_model")
OTHER_FAMILIES = "text_model.encoder.layer.{}.intermediate.dense.weight", "text_model.roberta.*"

LOAD = """\
from transformers import CLIPModel, CLIPProcessor

model = CLIPModel.from_pretrained(folder).eval()
processor = CLIPProcessor.from_pretrained(folder)"""

LOAD_IMAGE = """\
from safetensors.torch import load_file
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

image_model = CLIPVisionModelWithProjection.from_pretrained(folder, projection_dim={width}).eval()
image_processor = CLIPImageProcessor.from_pretrained(folder)
logit_scale = load_file(f"{{folder}}/model.safetensors")["logit_scale"]"""
"""The tower alone reads the width from its own config, where some files state another."""

FILES = Files(
    weights=("model.safetensors",),
    config="config.json",
    own_vocabulary=True,
    made=lambda config: pictures("CLIPImageProcessor", ORDER, config),
    load=lambda config, stated: LOAD,
    load_image=lambda config: LOAD_IMAGE.format(width=config["projection_dim"]),
)

SOURCE = Source(
    name="hf_clip",
    title="Hugging Face CLIPModel (openai/clip-vit-*)",
    part="dual",
    signatures=(
        Signature(
            required=(
                "text_model.embeddings.token_embedding.weight",
                LAYERS + "{}.mlp.fc1.weight",
                "text_projection.weight",
                *VISION_KEYS,
                "logit_scale",
            ),
            architectures=CLASSES,
        ),
        # Image parts: a model whose text tower is dropped, or a CLIPVisionModelWithProjection.
        Signature(required=(*VISION_KEYS, "logit_scale"), absent=OTHER_FAMILIES, architectures=CLASSES),
        Signature(
            required=VISION_KEYS,
            absent=("text_model.*", "clip_model.*"),
            decides="architectures",
            architectures=("CLIPVisionModelWithProjection",),
        ),
    ),
    describe=describe,
    rules=rules,
    home=lambda config: (*TEXT, *towers.HF_CLIP_VISION, *SCALE),
    tokenizer=tokenizer,
    files=FILES,
    limits=LIMITS,
    vocabulary=BPE,
    languages=("en",),
    describe_image=describe_image,
)
