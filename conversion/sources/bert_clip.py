"""BertCLIP (yangjianxin1/CLIP-Chinese): a BERT with its tanh pooler and a CLIP ViT in one Hugging Face folder.

transformers' VisionTextDualEncoderModel of a BERT and a CLIP ViT is the same model under another class.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..layouts import towers
from ..layouts.hf_folder import dual_towers, pictures, text_limit
from ..mapping import Rule, rename
from ..reading.read import Checkpoint
from ..source import Files, Signature, Source, Tower, Whole
from ..tokenizers.vocabularies import OWN_WORDPIECE

ORDER = "rgb_then_crop"
"""component/dataset.py: convert("RGB"), then CLIPFeatureExtractor."""

DUAL_ENCODER = "vision-text-dual-encoder"
"""The model type of transformers' class."""

TOWERS = {"text_config": ("bert",), "vision_config": ("clip_vision_model", "clip", "chinese_clip_vision_model")}
"""Towers of a dual encoder that compute the same as BertCLIP's; RoBERTa has BERT's keys, but computes otherwise."""

DOUBLED = "vision_model.vision_model."
"""The key prefix of a dual encoder's image tower in transformers 4."""

HEADS = (
    rename("visual_projection.weight", "visual_projection.weight"),
    rename("text_projection.weight", "text_projection.weight"),
    rename("logit_scale", "logit_scale"),
)
TEXT = (*towers.bert("text_model."), *towers.bert_pooler("text_model."))


def rules(keys: Collection[str]) -> tuple[Rule, ...]:
    """The table, with the image tower under the prefix that these keys have."""
    return _table(DOUBLED if any(key.startswith(DOUBLED) for key in keys) else "vision_model.")


def _table(vision: str) -> tuple[Rule, ...]:
    norm = rename(f"{vision}post_layernorm.*", "vision_model.post_layernorm.*")
    return (*TEXT, *towers.hf_clip_vit(vision), norm, *HEADS)


def describe(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Whole:
    """Reads the architecture from the folder's config.json, checked against the shapes."""
    shapes = {key.replace(DOUBLED, "vision_model."): shape for key, shape in checkpoint.shapes.items()}
    dual_encoder = config.get("model_type") == DUAL_ENCODER
    if dual_encoder:
        _check_towers(config)
    text, vision = dual_towers(shapes, config)
    positions = text["max_position_embeddings"]
    return Whole(
        architecture="VisionTextDualEncoder of BERT and CLIP ViT" if dual_encoder else "BertCLIP",
        text=Tower(text, "pooler", "linear", shapes["text_projection.weight"][0]),
        vision=Tower(vision, "pooler", "linear", shapes["visual_projection.weight"][0]),
        image_order=ORDER,
        context_length=min(text_limit(checkpoint.folder, positions), positions),
        image_size=vision["image_size"],
    )


def _check_towers(config: Mapping[str, Any]) -> None:
    """Refuses a dual encoder whose towers have these keys and compute something else."""
    for where, known in TOWERS.items():
        tower = config.get(where)
        kind = tower.get("model_type") if isinstance(tower, Mapping) else None
        if kind not in known:
            raise InputError(
                f"The {where} of config.json names the model type {kind!r}. A VisionTextDualEncoderModel is converted "
                f"only with towers of type {' and '.join(each[0] for each in TOWERS.values())}."
            )


def tokenizer(vocabulary: Path | None, context_length: int) -> Any:
    """The folder's own BERT tokenizer."""
    from ..tokenizers.builders import bert_tokenizer

    return bert_tokenizer(vocabulary, context_length)


def _signature(vision: str, architectures: tuple[str, ...]) -> Signature:
    required = (
        "text_model.embeddings.word_embeddings.weight",
        "text_model.encoder.layer.{}.intermediate.dense.weight",
        "text_model.pooler.dense.weight",
        "text_projection.weight",
        f"{vision}encoder.layers.{{}}.mlp.fc1.weight",
        "visual_projection.weight",
        "logit_scale",
    )
    return Signature(
        required=required, decides="architectures", architectures=architectures, types=("clip", DUAL_ENCODER)
    )


DUAL_ENCODERS = "VisionTextDualEncoderModel", DUAL_ENCODER

LOAD = """\
from component.model import BertCLIPModel  # of yangjianxin1/CLIP-Chinese
from transformers import CLIPProcessor

CLIPProcessor.tokenizer_class = "BertTokenizerFast"
model = BertCLIPModel.from_pretrained(folder).eval()
processor = CLIPProcessor.from_pretrained(folder)"""

LOAD_DUAL_ENCODER = """\
from transformers import CLIPImageProcessor, BertTokenizerFast
from transformers import VisionTextDualEncoderModel, VisionTextDualEncoderProcessor

model = VisionTextDualEncoderModel.from_pretrained(folder).eval()
parts = CLIPImageProcessor.from_pretrained(folder), BertTokenizerFast.from_pretrained(folder)
processor = VisionTextDualEncoderProcessor(*parts)"""


def named(key: str, stated: Mapping[str, Any]) -> str:
    """A key in the weight file; transformers 4 reads a dual encoder's image tower under the doubled prefix alone."""
    doubled = stated.get("model_type") == DUAL_ENCODER and key.startswith("vision_model.")
    return f"vision_model.{key}" if doubled else key


# CLIP-Chinese demands transformers 4.18, which reads no safetensors, and one number for a size.
FILES = Files(
    weights=("pytorch_model.bin", "model.safetensors"),
    config="config.json",
    named=named,
    own_vocabulary=True,
    made=lambda config: pictures("CLIPFeatureExtractor", ORDER, config, one_number=True),
    load=lambda config, stated: LOAD_DUAL_ENCODER if stated.get("model_type") == DUAL_ENCODER else LOAD,
)

SOURCE = Source(
    name="bert_clip",
    title="BertCLIP (yangjianxin1/CLIP-Chinese), VisionTextDualEncoderModel",
    part="dual",
    signatures=(
        _signature("vision_model.", ("BertCLIPModel", "TextCLIPModel", *DUAL_ENCODERS)),
        _signature(DOUBLED, DUAL_ENCODERS),
    ),
    describe=describe,
    describe_image=describe,
    rules=rules,
    home=lambda config: _table("vision_model."),
    tokenizer=tokenizer,
    files=FILES,
    vocabulary=OWN_WORDPIECE,
)
