"""Fengshen's TaiyiCLIPModel (IDEA-CCNL/Fengshenbang-LM): BertCLIP's keys, but texts are pooled at [CLS]'s state."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ..layouts import towers
from ..layouts.hf_folder import dual_towers, pictures, text_limit
from ..mapping import Rule, drop, rename
from ..reading.read import Checkpoint
from ..source import Files, Signature, Source, Tower, Whole
from ..tokenizers.vocabularies import OWN_WORDPIECE
from ..words import Words

CONTEXT_LENGTH = 77
"""--seq_length in fengshen/examples/pretrain_taiyi_clip/pretrain.py."""

ORDER = "rgb_then_crop"
"""The class's processor is CLIP's (processing_taiyi_clip.py); its training crops at random instead."""

LIGHTNING = "model."
"""The model's name in the training's LightningModule (pretrain_taiyi_clip/pretrain.py)."""

LIMITS = (
    Words(
        "The text embedding is the projected state of [CLS], as in TaiyiCLIPModel.get_text_features and in the "
        "training. TaiyiCLIPModel's own forward takes the tanh pooler, so its logits differ.",
        "文本向量是 [CLS] 的状态经过投影，与 TaiyiCLIPModel.get_text_features 及其训练相同；该类自己的 forward 却取 "
        "tanh pooler，因此它给出的 logit 不同。",
    ),
    Words(
        "Texts are cut at 77 tokens, the default of its training, unless the source's tokenizer states another limit. "
        "`zhclip convert --context-length` raises the limit.",
        "文本在 77 个词元处截断，这是其训练的默认长度；源仓库的分词器写明其他上限时以它为准。`zhclip convert "
        "--context-length` 可以放宽。",
    ),
)

TABLE = (
    *towers.bert("text_model."),
    *towers.HF_CLIP_VISION,
    rename("text_projection.weight", "text_projection.weight"),
    rename("logit_scale", "logit_scale"),
)
POOLER = drop("text_model.pooler.dense.*")  # get_text_features does not use it

TYPES = ("clip",)
KEYS = (
    "text_model.embeddings.word_embeddings.weight",
    "text_model.encoder.layer.{}.intermediate.dense.weight",
    "text_model.pooler.dense.weight",
    "text_projection.weight",
    "vision_model.encoder.layers.{}.mlp.fc1.weight",
    "visual_projection.weight",
    "logit_scale",
)


def rules(keys: Collection[str]) -> tuple[Rule, ...]:
    """The table, under the training's prefix if these keys have it."""
    table = (*TABLE, POOLER)
    return towers.prefixed(LIGHTNING, table) if f"{LIGHTNING}logit_scale" in keys else table


def describe(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Whole:
    """Reads the architecture from the folder's config.json, checked against the shapes and the other files."""
    shapes = {key.removeprefix(LIGHTNING): shape for key, shape in checkpoint.shapes.items()}
    text, vision = dual_towers(shapes, config)
    return Whole(
        architecture="TaiyiCLIP",
        text=Tower(text, "cls", "linear", shapes["text_projection.weight"][0]),
        vision=Tower(vision, "pooler", "linear", shapes["visual_projection.weight"][0]),
        image_order=ORDER,
        context_length=min(text_limit(checkpoint.folder, CONTEXT_LENGTH), text["max_position_embeddings"]),
        image_size=vision["image_size"],
        limits=LIMITS,
    )


def tokenizer(vocabulary: Path | None, context_length: int) -> Any:
    """The folder's own BERT tokenizer."""
    from ..tokenizers.builders import bert_tokenizer

    return bert_tokenizer(vocabulary, context_length)


LOAD = """\
from fengshen.models.clip import TaiyiCLIPModel, TaiyiCLIPProcessor  # of IDEA-CCNL/Fengshenbang-LM

model = TaiyiCLIPModel.from_pretrained(folder).eval()
processor = TaiyiCLIPProcessor.from_pretrained(folder)"""

# The class's own forward passes texts through the pooler: a repo, which has lost it, does not go back.
FILES = Files(
    weights=("pytorch_model.bin", "model.safetensors"),
    config="config.json",
    own_vocabulary=True,
    made=lambda config: pictures("CLIPImageProcessor", ORDER, config),
    load=lambda config, stated: LOAD,
)

SOURCE = Source(
    name="taiyi_clip",
    title="Fengshen TaiyiCLIPModel (IDEA-CCNL/Fengshenbang-LM)",
    part="dual",
    signatures=(
        Signature(required=KEYS, decides="architectures", architectures=("TaiyiCLIPModel",), types=TYPES),
        # Any LightningModule may use this name for its model, and its file has no config.json.
        Signature(required=tuple(LIGHTNING + key for key in KEYS), decides="format", types=TYPES),
    ),
    describe=describe,
    describe_image=describe,
    rules=rules,
    home=lambda config: TABLE,
    tokenizer=tokenizer,
    files=FILES,
    vocabulary=OWN_WORDPIECE,
    limits=LIMITS,
)
