"""Fengshen's fine-tune of Taiyi-CLIP on Flickr30k-CNA (IDEA-CCNL/Fengshenbang-LM, fengshen/examples/clip_finetune).

A Lightning checkpoint of two whole models: an OpenAI CLIP, whose text tower is not used, and Taiyi's classifier.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ..layouts import towers
from ..layouts.hf_config import bert_shapes, clip_vision_shapes
from ..layouts.unstated import Published, tower_facts
from ..mapping import Rule, drop, rename
from ..reading.read import Checkpoint
from ..source import Files, Signature, Source, Tower, Whole
from ..words import Words

LENGTH = 77
"""data/clip_dataloader/flickr.py cuts and pads texts to this length, and uses only the ids, without a mask."""

ATTRIBUTE = "model."
"""The prefix if the LightningModule was an attribute of another module, or if its keys were saved so."""

CLIP = "clip_model."
BERT = "text_encoder.bert."
CLASSIFIER = "text_encoder.classifier."

TABLE = (
    *towers.bert(BERT),
    *towers.bert_pooler(BERT),
    rename(f"{CLASSIFIER}*", "text_projection.*"),
    *towers.prefixed(CLIP, (*towers.HF_CLIP_VISION, rename("logit_scale", "logit_scale"))),
)
ENGLISH = drop(f"{CLIP}text_model.*"), drop(f"{CLIP}text_projection.weight")
"""The CLIP's text tower; no embedding passes through it."""

LIMITS = (
    Words(
        "Every text is padded to 77 tokens, and the text tower attends to the padding, as in its training. The model "
        "itself pads the texts (text_padded_length in config.json). It refuses longer texts and ignores masks.",
        "每条文本都填充到 77 个词元，文本塔会注意到填充，与训练时相同。填充由模型自己完成（config.json 中的 "
        "text_padded_length），超过这个长度的文本不被接受，attention mask 不起作用。",
    ),
    Words(
        "A checkpoint of this training does not hold the heads, activation and eps of its towers. The values are "
        "taken from OpenAI's CLIP and from chinese-roberta-wwm-ext, with which the example starts. If a training "
        "started with other models of the same sizes, state the values of these models with --config.",
        "这种训练的检查点里没有两个塔的注意力头数、激活函数和 eps。这里取 OpenAI 的 CLIP 和 chinese-roberta-wwm-ext "
        "的值，示例就是从它们开始训练的；如果训练是从同样大小的其他模型开始的，请用 --config 写明。",
    ),
)

# Facts that no weight file holds, from the config.json of openai/clip-vit-* and of hfl/chinese-roberta-wwm-ext*.
OPENAI = {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
ROBERTA = {"hidden_act": "gelu", "layer_norm_eps": 1e-12}
PUBLISHED: Mapping[str, Published] = {
    "text_config": {
        ("chinese-roberta-wwm-ext", 768, 12, 3072): {"num_attention_heads": 12, **ROBERTA},
        ("chinese-roberta-wwm-ext-large", 1024, 24, 4096): {"num_attention_heads": 16, **ROBERTA},
    },
    "vision_config": {
        ("ViT-B/32", 768, 12, 3072, 32): {"num_attention_heads": 12, **OPENAI},
        ("ViT-B/16", 768, 12, 3072, 16): {"num_attention_heads": 12, **OPENAI},
        ("ViT-L/14", 1024, 24, 4096, 14): {"num_attention_heads": 16, **OPENAI},
    },
}

KEYS = (
    f"{CLIP}vision_model.encoder.layers.{{}}.mlp.fc1.weight",
    f"{CLIP}visual_projection.weight",
    f"{CLIP}logit_scale",
    f"{BERT}embeddings.word_embeddings.weight",
    f"{BERT}encoder.layer.{{}}.intermediate.dense.weight",
    f"{BERT}pooler.dense.weight",
    f"{CLASSIFIER}weight",
    f"{CLASSIFIER}bias",
)


def rules(keys: Collection[str]) -> tuple[Rule, ...]:
    """The table, under the prefix if these keys have it."""
    table = (*TABLE, *ENGLISH)
    return towers.prefixed(ATTRIBUTE, table) if f"{ATTRIBUTE}{CLIP}logit_scale" in keys else table


def describe(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Whole:
    """Reads the sizes from shapes; heads, activation and eps are published, or stated in `config`.

    `config` has the two objects `text_config` and `vision_config`, each with transformers' field names.
    """
    shapes = {key.removeprefix(ATTRIBUTE): shape for key, shape in checkpoint.shapes.items()}
    clip = {key.removeprefix(CLIP): shape for key, shape in shapes.items() if key.startswith(CLIP)}
    found = {"text_config": bert_shapes(shapes, BERT), "vision_config": clip_vision_shapes(clip)}
    names, facts = tower_facts(config, found, PUBLISHED)
    text = {"model_type": "bert", **found["text_config"], **facts["text_config"], "pad_token_id": 0}
    vision = {"model_type": "clip_vision_model", **found["vision_config"], **facts["vision_config"]}
    return Whole(
        architecture=f"Taiyi-CLIP fine-tune {names['vision_config']}@{names['text_config']}",
        text=Tower(text, "pooler", "linear_bias", shapes[f"{CLASSIFIER}weight"][0]),
        vision=Tower(vision, "pooler", "linear", clip["visual_projection.weight"][0]),
        # torchvision's transform in validation and test; the training crops at random instead.
        image_order="crop_then_rgb",
        context_length=LENGTH,
        image_size=vision["image_size"],
        limits=LIMITS,
        text_attends_to_padding=True,
        text_padded_length=LENGTH,
    )


def tokenizer(vocabulary: Path | None, context_length: int) -> Any:
    """BertTokenizer on chinese-roberta-wwm-ext's vocabulary, which is the packaged vocabulary, or on the user's."""
    from ..tokenizers.builders import bert_tokenizer
    from ..tokenizers.vocabularies import default_vocab

    return bert_tokenizer(vocabulary or default_vocab(), context_length)


# The LightningModule loads strictly, and a repo has lost the CLIP's text tower: it does not go back.
FILES = Files(weights=("last.ckpt",), under="state_dict", load=lambda config, stated: "")

SOURCE = Source(
    name="taiyi_finetune",
    title="a Lightning fine-tune of Taiyi-CLIP (Fengshen's clip_finetune)",
    part="dual",
    signatures=(Signature(required=KEYS), Signature(required=tuple(ATTRIBUTE + key for key in KEYS))),
    describe=describe,
    describe_image=describe,
    rules=rules,
    home=lambda config: TABLE,
    tokenizer=tokenizer,
    files=FILES,
    limits=LIMITS,
    reads_config_json=False,
)
