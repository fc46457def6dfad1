"""Hugging Face's ChineseCLIPModel (OFA-Sys/chinese-clip-vit-*): cn_clip's ViT models under transformers' names."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from .. import towers
from ..hf_config import BERT_DEFAULTS, CLIP_VISION_DEFAULTS
from ..hf_folder import check_pictures, dual_towers, text_limit
from ..mapping import Rule, drop, rename
from ..read import Checkpoint
from ..source import Description, Facts, Signature, Source, Tower, Witness

CONTEXT_LENGTH = 52
"""What these models were trained with (cn_clip/clip/utils.py); the repos' own tokenizers state no limit."""

ORDER = "rgb_then_squash"
LIMITS = (
    "Texts are cut at 52 tokens, with which these models were trained, unless the tokenizer of the source states "
    "another limit; the published repos state none. `zhclip convert --context-length` raises it.",
    "Transparency is dropped, as transformers 4 did for these models; transformers 5.23 lays transparent pictures on "
    "white.",
)

TABLE = (
    *towers.bert("text_model."),
    *towers.HF_CLIP_VISION,
    rename("text_projection.weight", "text_projection.weight"),
    rename("logit_scale", "logit_scale"),
)
POOLER = drop("text_model.pooler.*")  # of early conversions; no embedding passes through it

KEYS = (
    "text_model.embeddings.word_embeddings.weight",
    "text_model.encoder.layer.{}.intermediate.dense.weight",
    "text_projection.weight",
    "vision_model.encoder.layers.{}.mlp.fc1.weight",
    "visual_projection.weight",
    "logit_scale",
)


def rules(keys: Collection[str]) -> tuple[Rule, ...]:
    """The table, with the norms under the names that they have in these keys."""
    return towers.with_old_norms((*TABLE, POOLER), keys)


def describe(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Description:
    """Reads the architecture from the folder's config.json, held against the shapes and the other files."""
    shapes = checkpoint.shapes
    text, vision = dual_towers(shapes, config)
    check_pictures(checkpoint.folder, ORDER, vision["image_size"])
    size = f"{vision['hidden_size']}x{vision['num_hidden_layers']}/{vision['patch_size']}"
    return Description(
        architecture=f"ChineseCLIP ViT {size}@BERT {text['hidden_size']}x{text['num_hidden_layers']}",
        facts={"text_config": text, "vision_config": vision},
        text=Tower(text, "cls", "linear", shapes["text_projection.weight"][0]),
        vision=Tower(vision, "pooler", "linear", shapes["visual_projection.weight"][0]),
        image_order=ORDER,
        context_length=min(text_limit(checkpoint.folder, CONTEXT_LENGTH), text["max_position_embeddings"]),
        image_size=vision["image_size"],
        limits=LIMITS,
    )


def tokenizer(vocabulary: Path | None, context_length: int) -> Any:
    """The folder's own BERT tokenizer."""
    from ..tokenizer import bert_tokenizer

    return bert_tokenizer(vocabulary, context_length)


def original(tensors: Mapping[str, torch.Tensor], facts: Facts) -> Witness:
    """The witness from transformers' own ChineseCLIPModel, with the attention mask that its processor gives."""
    import transformers

    text, vision = facts.config["text_config"], facts.config["vision_config"]
    config = transformers.ChineseCLIPConfig(
        text_config={key: text[key] for key in BERT_DEFAULTS},
        vision_config={key: vision[key] for key in CLIP_VISION_DEFAULTS},
        projection_dim=len(tensors["text_projection.weight"]),
    )
    model = transformers.ChineseCLIPModel(config).eval()
    model.load_state_dict(_state_dict(tensors), strict=True)
    tokenizer = transformers.BertTokenizer(vocab={line: number for number, line in enumerate(facts.vocab)})
    square = {"height": facts.image_size, "width": facts.image_size}
    # The published processor's transformers converted with Pillow; today's would lay transparent pictures on white.
    processor = transformers.ChineseCLIPImageProcessorPil(size=square, do_center_crop=False, do_convert_rgb=False)

    def encode_text(ids: torch.Tensor) -> torch.Tensor:
        output = model.get_text_features(input_ids=ids, attention_mask=(ids != 0).long())
        return torch.nn.functional.normalize(output.pooler_output, dim=-1)

    def encode_image(pixels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(model.get_image_features(pixel_values=pixels).pooler_output, dim=-1)

    def token_ids(texts: Sequence[str]) -> list[list[int]]:
        return tokenizer(list(texts), truncation=True, max_length=facts.context_length)["input_ids"]

    def preprocess(image: Image.Image) -> torch.Tensor:
        return processor(image.convert("RGB"), return_tensors="pt")["pixel_values"][0]

    return Witness(
        name=f"transformers {transformers.__version__}",
        level="peer",
        encode_text=encode_text,
        encode_image=encode_image,
        token_ids=token_ids,
        pixels=preprocess,
        logit_scale=lambda: model.logit_scale.item(),
    )


def _state_dict(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What from_pretrained makes of the keys: gamma and beta renamed, what the class does not have left out."""
    names = {"gamma": "weight", "beta": "bias"}
    kept = {key: value for key, value in tensors.items() if ".pooler." not in key and "position_ids" not in key}
    split = {key: key.rpartition(".") for key in kept}
    return {f"{stem}{dot}{names.get(last, last)}": kept[key] for key, (stem, dot, last) in split.items()}


CLASSES = ("ChineseCLIPModel", "chinese_clip")

SOURCE = Source(
    name="chinese_clip",
    title="Hugging Face ChineseCLIPModel (OFA-Sys/chinese-clip-vit-*)",
    part="dual",
    signatures=(
        Signature(required=KEYS, absent=("text_model.pooler.*",), architectures=CLASSES),
        Signature(required=(*KEYS, "text_model.pooler.dense.weight"), decides="architectures", architectures=CLASSES),
    ),
    describe=describe,
    rules=rules,
    home=lambda config: TABLE,
    original=original,
    tokenizer=tokenizer,
    limits=LIMITS,
)
