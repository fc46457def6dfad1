"""PRD2, and the dual encoder inside R2D2 (yuxie11/R2D2): `.pth` files from pre-training and fine-tuning."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from ..layouts import towers, unused
from ..layouts.hf_config import bert_shapes, count_layers, vit_shapes
from ..layouts.unstated import PUBLISHED, tower_facts
from ..mapping import Rule, drop, log_inverse, rename
from ..reading.read import Checkpoint
from ..source import Files, Signature, Source, Tower, Whole
from ..tokenizers import limits
from ..words import Words

CONTEXT_LENGTH = 64
"""models/prd2.py and r2d2.py: `tokenize_text` pads and cuts texts to this length."""

CROSS_ENCODER = ("text_joint_layer.*", "img_joint_layer.*", "img_joint_proj.*", "itm_head.*", "itm_head_i.*")
"""models/r2d2.py: the layers that score a picture and a text together; no embedding passes through them."""

RULES = (
    *towers.bert("text_encoder."),
    drop("text_encoder.pooler.dense.*"),
    *towers.hf_clip_vit("visual_encoder."),
    # The feature is last_hidden_state[:, 0], which transformers takes before this norm.
    drop("visual_encoder.post_layernorm.*"),
    rename("vision_proj.*", "visual_projection.*"),
    rename("text_proj.*", "text_projection.*"),
    log_inverse("temp", "logit_scale"),
    *map(drop, CROSS_ENCODER),
)

LIMITS = (
    limits.RECENT_CHARACTERS.filled(owner="R2D2"),
    limits.LONE_SURROGATES.filled(owner="R2D2"),
)
"""The card's sentences about texts: when the ids can differ from those of R2D2's own tokenizer."""

CROSS_ENCODER_LIMIT = Words(
    "R2D2's cross-encoder scores a picture and a text together. It is left out, because a dual encoder has no "
    "cross-encoder. R2D2's published figures rank with the cross-encoder's score, or with the sum of this score and "
    "the cosine. Embeddings alone do not reach these figures.",
    "R2D2 的交叉编码器（对一张图片和一段文本联合打分的部分）没有转换：双塔模型里没有它的位置。R2D2 公布的指标使用交叉"
    "编码器的分数，或该分数与余弦相似度之和来排序，只用向量达不到那些数值。",
)
"""The card's sentences about R2D2: train_r2d2_retrieval.py adds both scores, r2d2_inference_demo.py uses the first."""

# Facts that no weight file holds: checkpoints/r2d2_config/vision_config{,_base}.json and hfl_roberta/config.json.
# (name, width, layers, intermediate size, patch) -> the facts that shapes do not show.
VISION = {
    ("ViT-L-14", 1024, 24, 4096, 14): {
        "num_attention_heads": 16,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
    },
    ("ViT-B-16", 768, 12, 3072, 16): {
        "num_attention_heads": 12,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
    },
}
# (name, width, layers, intermediate size) -> the same facts.
TEXT = {
    ("chinese-roberta-wwm-ext", 768, 12, 3072): {
        "num_attention_heads": 12,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
    },
}

FC1 = "visual_encoder.encoder.layers.{}.mlp.fc1.weight"


def rules(keys: Collection[str]) -> tuple[Rule, ...]:
    """One table serves PRD2 and R2D2, because a drop may find no key."""
    return RULES


def describe(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Whole:
    """Reads the sizes from shapes; heads, activation and eps are published, or stated in `config`.

    `config` has the two objects `text_config` and `vision_config`, each with transformers' field names.
    """
    shapes = checkpoint.shapes
    text = bert_shapes(shapes, "text_encoder.")
    vision = vit_shapes(
        patch=shapes["visual_encoder.embeddings.patch_embedding.weight"],
        positions=shapes["visual_encoder.embeddings.position_embedding.weight"][0],
        layers=count_layers(shapes, FC1),
        intermediate=shapes.get(FC1.format(0), (0,))[0],
    )
    names, facts = tower_facts(
        config, {"text_config": text, "vision_config": vision}, {"text_config": TEXT, "vision_config": VISION}
    )
    cross_encoder = "itm_head.weight" in shapes
    return Whole(
        architecture=f"{'R2D2' if cross_encoder else 'PRD2'} {names['vision_config']}@{names['text_config']}",
        text=Tower(
            {"model_type": "bert", **text, **facts["text_config"], "pad_token_id": 0},
            pooling="cls",
            projection="linear_bias",
            width=shapes["text_proj.weight"][0],
        ),
        vision=Tower(
            {"model_type": "clip_vision_model", **vision, **facts["vision_config"]},
            pooling="cls",
            projection="linear_bias",
            width=shapes["vision_proj.weight"][0],
        ),
        image_order="rgb_then_squash",
        context_length=min(CONTEXT_LENGTH, text["max_position_embeddings"]),
        image_size=vision["image_size"],
        limits=(
            *((CROSS_ENCODER_LIMIT,) if cross_encoder else ()),
            *LIMITS,
            *(() if {"text_config", "vision_config"} <= config.keys() else (PUBLISHED,)),
        ),
    )


def tokenizer(vocabulary: Path | None, context_length: int) -> Any:
    """transformers' slow BertTokenizer, which upstream uses; its vocabulary ships with this package."""
    from ..tokenizers.builders import slow_bert_tokenizer
    from ..tokenizers.vocabularies import default_vocab, read_vocab

    return slow_bert_tokenizer(default_vocab() if vocabulary is None else read_vocab(vocabulary), context_length)


LOAD = """\
from models.prd2 import prd2  # of yuxie11/R2D2
from prd2_inference_demo import preprocess

model = prd2(pretrained=f"{folder}/checkpoint_best.pth").eval()"""


def _unused(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What PRD2's towers hold and its features do not pass through; R2D2's cross-encoder is lost for good."""
    norm = {f"visual_encoder.post_layernorm.{each}": f"visual_encoder.pre_layrnorm.{each}" for each in ENDS}
    positions = unused.bert_positions("text_encoder."), unused.clip_positions("visual_encoder.")
    return {
        **unused.position_ids(tensors, *positions),
        **unused.bert_pooler("text_encoder.", tensors),
        **unused.zeros(tensors, norm),
    }


ENDS = ("weight", "bias")

FILES = Files(
    weights=("checkpoint_best.pth",),
    under="model",
    beside={"epoch": 0},
    unused=_unused,
    load=lambda config, stated: LOAD,
)

SOURCE = Source(
    name="prd2",
    title="PRD2 / R2D2 (yuxie11/R2D2)",
    part="dual",
    signatures=(
        Signature(
            required=(
                "visual_encoder.embeddings.patch_embedding.weight",
                "visual_encoder.encoder.layers.{}.mlp.fc1.weight",
                "text_encoder.embeddings.word_embeddings.weight",
                "text_encoder.encoder.layer.{}.intermediate.dense.weight",
                "vision_proj.weight",
                "text_proj.weight",
                "temp",
            )
        ),
    ),
    describe=describe,
    describe_image=describe,
    rules=rules,
    home=lambda config: RULES,
    tokenizer=tokenizer,
    files=FILES,
    limits=(*LIMITS, PUBLISHED),
    limits_of_some=(CROSS_ENCODER_LIMIT,),
    reads_config_json=False,
)
