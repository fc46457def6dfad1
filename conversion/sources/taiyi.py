"""Taiyi-CLIP (IDEA-CCNL): a BERT that was trained towards a published CLIP, which brings the image part."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from .. import towers
from ..hf_config import BERT_DEFAULTS, bert_shapes, check_there, tower_config
from ..mapping import Rule, rename
from ..peers import clip_pixels
from ..read import Checkpoint
from ..source import Description, Facts, Signature, Source, Tower, Witness

LIMITS = (
    "Padding is masked. The published usage gives no mask, so that there an embedding depends on the longest text of "
    "its batch; for those numbers set text_attends_to_padding in config.json.",
)

WITH_HEAD = (
    *towers.bert("bert."),
    *towers.bert_pooler("bert."),
    rename("classifier.*", "text_projection.*"),
)
"""102M and 326M: a BertForSequenceClassification whose logits are the embedding."""

WITHOUT_HEAD = (*towers.bert(""), *towers.bert_pooler(""))
"""102M-ViT-L and 326M-ViT-H: a BertModel whose tanh pooler is the embedding."""

HEAD_SIZES: dict[tuple[int, ...], str] = {
    (512, 768): "Taiyi-CLIP-Roberta-102M",
    (768, 1024): "Taiyi-CLIP-Roberta-large-326M",
}


def has_head(keys: Collection[str]) -> bool:
    return "classifier.weight" in keys


def rules(keys: Collection[str]) -> tuple[Rule, ...]:
    """The table with the classifier head, or that of a plain BertModel."""
    return WITH_HEAD if has_head(keys) else WITHOUT_HEAD


def describe(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Description:
    """Reads the text tower from the folder's config.json, held against the shapes."""
    check_there(config)
    shapes = checkpoint.shapes
    prefix = "bert." if has_head(shapes) else ""
    text = tower_config("bert", [config], bert_shapes(shapes, prefix), "text part")
    if has_head(shapes):
        tower = Tower(text, "pooler", "linear_bias", shapes["classifier.weight"][0])
    else:
        tower = Tower(text, "pooler", "none", text["hidden_size"])
    return Description(
        architecture=HEAD_SIZES.get(shapes.get("classifier.weight", ()), f"Taiyi-CLIP {text['hidden_size']}"),
        facts=text,
        text=tower,
        # The head's models were published with CLIPProcessor, the others with open_clip's transform.
        image_order="rgb_then_crop" if has_head(shapes) else "crop_then_rgb",
        context_length=text["max_position_embeddings"],
        limits=LIMITS,
    )


def tokenizer(vocabulary: Path | None, context_length: int) -> Any:
    """The folder's own BERT tokenizer."""
    from ..tokenizer import bert_tokenizer

    return bert_tokenizer(vocabulary, context_length)


def original(tensors: Mapping[str, torch.Tensor], facts: Facts) -> Witness:
    """The witness by the published recipe, whose package is transformers itself, with the attention mask given."""
    import transformers

    head = has_head(tensors)
    fields = {key: facts.config[key] for key in BERT_DEFAULTS}
    if head:
        config = transformers.BertConfig(**fields, num_labels=tensors["classifier.weight"].shape[0])
        model = transformers.BertForSequenceClassification(config).eval()
    else:
        model = transformers.BertModel(transformers.BertConfig(**fields)).eval()
    state_dict = {key: tensor for key, tensor in tensors.items() if not key.endswith("embeddings.position_ids")}
    model.load_state_dict(state_dict, strict=True)
    tokenizer = transformers.BertTokenizer(vocab={line: number for number, line in enumerate(facts.vocab)})

    def encode_text(ids: torch.Tensor) -> torch.Tensor:
        output = model(input_ids=ids, attention_mask=(ids != 0).long())
        return torch.nn.functional.normalize(output.logits if head else output.pooler_output, dim=-1)

    def token_ids(texts: Sequence[str]) -> list[list[int]]:
        return tokenizer(list(texts), truncation=True, max_length=facts.context_length)["input_ids"]

    return Witness(
        name=f"transformers {transformers.__version__}",
        level="peer",
        encode_text=encode_text,
        token_ids=token_ids,
        pixels=clip_pixels(facts.image_size) if head else None,
    )


SOURCE = Source(
    name="taiyi",
    title="Taiyi-CLIP (IDEA-CCNL)",
    part="text",
    signatures=(
        Signature(
            required=(
                "bert.embeddings.word_embeddings.weight",
                "bert.encoder.layer.{}.intermediate.dense.weight",
                "bert.pooler.dense.weight",
                "classifier.weight",
                "classifier.bias",
            ),
            absent=("visual.*", "vision_model.*"),
            sizes={"classifier.weight": tuple(HEAD_SIZES)},
        ),
        Signature(
            required=(
                "embeddings.word_embeddings.weight",
                "encoder.layer.{}.intermediate.dense.weight",
                "pooler.dense.weight",
            ),
            decides="format",
        ),
    ),
    describe=describe,
    rules=rules,
    home=lambda config: WITH_HEAD if config["text_projection_type"] == "linear_bias" else WITHOUT_HEAD,
    original=original,
    tokenizer=tokenizer,
    limits=LIMITS,
)
