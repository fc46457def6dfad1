"""open_clip's CustomTextCLIP with Hugging Face's XLM-R as text tower (xlm-roberta-base-ViT-B-32 and similar)."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..layouts import open_clip as open_clip_model
from ..layouts import towers
from ..layouts.hf_config import XLM_ROBERTA_DEFAULTS, bert_shapes, check_activation
from ..layouts.open_clip import SCALE, Allowed, check_fields, check_sizes
from ..mapping import Rule, Shape, rename
from ..reading.read import OPEN_CLIP_CONFIG, Checkpoint
from ..source import Files, ImageSide, Relative, Signature, Source, Tower, Whole
from ..tokenizers.builders import xlm_roberta_tokenizer
from ..tokenizers.mending import with_mending
from ..tokenizers.vocabularies import XLM_ROBERTA

BODY, PROJECTION = "text.transformer.", "text.proj."
CONTEXT_LENGTH = 77
"""open_clip's maximum text length if its config states no context_length (factory.py, get_tokenizer)."""

# The config.json of each published body: fields that the weights do not hold, and fields checked against them.
COMMON = {
    "vocab_size": 250002,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
}
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
BODIES: dict[str, dict[str, Any]] = {
    organisation + name: {**COMMON, **sizes}
    for name, sizes in (("xlm-roberta-base", BASE), ("xlm-roberta-large", LARGE))
    for organisation in ("", "FacebookAI/")
}

POOLINGS = {
    "mean_pooler": "mean",
    "cls_pooler": "pooler",
    "cls_last_hidden_state_pooler": "cls",
    # open_clip's hf_configs.py names mean pooling for this architecture.
    None: "mean",
}
PROJECTIONS = {"mlp": "mlp", "linear": "linear", None: "none"}
PROJECTION_KEYS = {
    "mlp": {PROJECTION + "0.weight", PROJECTION + "2.weight"},
    "linear": {PROJECTION + "weight"},
    "none": set[str](),
}


def _no_tokenizer(value: Any) -> bool:
    return not value or value == {"clean": "whitespace"}


TEXT: dict[str, Allowed] = {
    "hf_model_name": open_clip_model.only(*BODIES),
    "hf_model_config": open_clip_model.anything,
    "hf_pooler_type": open_clip_model.only(*POOLINGS),
    "hf_proj_type": open_clip_model.only(*PROJECTIONS),
    "hf_model_pretrained": open_clip_model.anything,
    "hf_tokenizer_name": open_clip_model.anything,
    "tokenizer_mode": open_clip_model.unset,
    "tokenizer_kwargs": _no_tokenizer,
    "context_length": open_clip_model.anything,
    "output_tokens": open_clip_model.unset,
    # With a Hugging Face text tower, open_clip does not read these fields.
    **dict.fromkeys(("vocab_size", "width", "heads", "layers", "mlp_ratio"), open_clip_model.anything),
}


def rules(keys: Collection[str]) -> tuple[Rule, ...]:
    """Both towers and the scale, with the text's pooler and projection if they exist."""
    pooler = any(key.startswith(BODY + "pooler.") for key in keys)
    projection = any(key.startswith(PROJECTION) for key in keys)
    return _tables(pooler, projection, open_clip_model.image_rules(keys))


def home(config: Mapping[str, Any]) -> tuple[Rule, ...]:
    """The same tables, from a converted config."""
    pooler, projection = config["text_pooling"] == "pooler", config["text_projection_type"] != "none"
    return _tables(pooler, projection, open_clip_model.home_image_rules(config))


def _tables(pooler: bool, projection: bool, image: tuple[Rule, ...]) -> tuple[Rule, ...]:
    return (
        *towers.bert(BODY),
        *(towers.bert_pooler(BODY) if pooler else ()),
        *((rename(PROJECTION + "*", "text_projection.*"),) if projection else ()),
        *image,
        SCALE,
    )


def describe(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Whole:
    """Reads both towers from the JSON beside the weights or from the user's, checked against the shapes."""
    stated = open_clip_model.facts(config, checkpoint.name)
    image, text = describe_image(checkpoint, config), _text(checkpoint.shapes, stated["model_cfg"])
    positions = text.config["max_position_embeddings"] - text.config["pad_token_id"] - 1
    length = stated["model_cfg"]["text_cfg"].get("context_length", CONTEXT_LENGTH)
    if not isinstance(length, int) or not 3 <= length <= positions:
        raise InputError(
            f"open_clip's config states context_length {length!r}; wanted {positions}, the number of positions in the "
            "weights."
        )
    width, layers = text.config["hidden_size"], text.config["num_hidden_layers"]
    return Whole(
        architecture=f"{image.architecture} with XLM-R {width}x{layers}",
        text=text,
        vision=image.vision,
        image_order=open_clip_model.image_order(stated, image.image_size),
        context_length=length,
        image_size=image.image_size,
        limits=open_clip_model.LIMITS,
        text_masks_pad_token=True,  # open_clip/hf_model.py makes its mask from the ids, whatever the tokenizer gives
    )


def describe_image(checkpoint: Checkpoint, config: Mapping[str, Any]) -> ImageSide:
    """Reads the image tower alone."""
    stated = open_clip_model.facts(config, checkpoint.name)
    name, vision = open_clip_model.vision_tower(checkpoint.shapes, stated)
    return ImageSide(architecture=name, vision=vision, image_size=vision.config["image_size"])


def _text(shapes: Mapping[str, Shape], model: Mapping[str, Any]) -> Tower:
    stated, where = model["text_cfg"], "The text_cfg"
    check_fields({"hf_model_name": None, **stated}, TEXT, where)
    config = body_config(stated)
    check_sizes(config, bert_shapes(shapes, BODY), f"The body {stated['hf_model_name']}")
    check_activation(config["hidden_act"], "hf_model_config")
    open_clip_model.heads(config["num_attention_heads"], config["hidden_size"], "num_attention_heads")
    pooling = POOLINGS[stated.get("hf_pooler_type", "mean_pooler")]
    _check_pooler(pooling, shapes)
    projection = PROJECTIONS[stated.get("hf_proj_type", "mlp")]
    _check_projection(projection, shapes)
    return Tower(config, pooling, projection, model["embed_dim"])


def body_config(stated: Mapping[str, Any]) -> dict[str, Any]:
    """The body's own config.json: the config published under its name, changed by hf_model_config."""
    replaced = stated.get("hf_model_config") or {}
    if not isinstance(replaced, Mapping):
        raise InputError(f"open_clip's config states hf_model_config {replaced!r}; a JSON object was wanted.")
    fields = {**XLM_ROBERTA_DEFAULTS, **BODIES[stated["hf_model_name"]], **replaced}
    if unknown := sorted(fields.keys() - XLM_ROBERTA_DEFAULTS.keys()):
        raise InputError(f"hf_model_config of open_clip's config states unknown fields: {', '.join(unknown)}.")
    for key, default in XLM_ROBERTA_DEFAULTS.items():
        _check_kind(key, fields[key], default)
    return {"model_type": "xlm-roberta", **fields}


def _check_kind(key: str, value: Any, default: Any) -> None:
    wanted, kinds = ("a word", str) if isinstance(default, str) else ("a number", (type(default), int))
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise InputError(f"hf_model_config of open_clip's config states {key} {value!r}; {wanted} was wanted.")


def _check_pooler(pooling: str, shapes: Mapping[str, Shape]) -> None:
    found = any(key.startswith(BODY + "pooler.") for key in shapes)
    if found != (pooling == "pooler"):
        has = "has" if found else "has no"
        raise InputError(
            f"The text tower {has} {BODY}pooler.*, but open_clip's config pools by {pooling!r}. open_clip builds a "
            "pooler only for cls_pooler. State the hf_pooler_type of the training."
        )


def _check_projection(projection: str, shapes: Mapping[str, Shape]) -> None:
    found = {key for key in shapes if key.startswith(PROJECTION)}
    if found != PROJECTION_KEYS[projection]:
        raise InputError(
            f"The text tower ends in {', '.join(sorted(found)) or 'no projection'}, but with hf_proj_type "
            f"{projection!r} of open_clip's config it ends in "
            f"{', '.join(sorted(PROJECTION_KEYS[projection])) or 'no projection'}. Take weights and config from the "
            "same model."
        )


def tokenizer(vocabulary: Path | None, context_length: int) -> Any:
    """The folder's own XLM-R tokenizer, after ftfy's changes to single characters (HFTokenizer)."""
    return with_mending(xlm_roberta_tokenizer(vocabulary, context_length))


FILES = Files(
    weights=("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
    config=OPEN_CLIP_CONFIG,
    own_vocabulary=True,
    load=lambda config, stated: open_clip_model.LOAD,
)


RELATIVES = (
    Relative(
        "open_clip with a Hugging Face text tower other than XLM-R (mT5, m2m_100)",
        ("visual.*", "text.transformer.*", "text.proj.*"),
        "It is not converted: only xlm-roberta-base and xlm-roberta-large are converted.",
    ),
)


SOURCE = Source(
    name="open_clip_xlm_roberta",
    # The keys do not show more. The config names the body, and refuses another body than XLM-R.
    title="open_clip's CLIP with a BERT, RoBERTa or XLM-R of Hugging Face as its text tower",
    part="dual",
    signatures=tuple(
        Signature(
            required=(
                BODY + "embeddings.word_embeddings.weight",
                BODY + "encoder.layer.{}.intermediate.dense.weight",
                *image,
                "logit_scale",
            ),
            absent=open_clip_model.NOT_CLIP,
        )
        for image in (open_clip_model.VIT_KEYS, open_clip_model.RESNET_KEYS)
    ),
    describe=describe,
    rules=rules,
    home=home,
    tokenizer=tokenizer,
    files=FILES,
    limits=open_clip_model.LIMITS,
    vocabulary=XLM_ROBERTA,
    languages=("multilingual", "zh"),
    describe_image=describe_image,
    relatives=RELATIVES,
)
