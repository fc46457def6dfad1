"""open_clip's CLIP and CustomTextCLIP with its own text transformer, whole or as the image part of a pair."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..layouts import open_clip as open_clip_model
from ..layouts import towers
from ..layouts.open_clip import SCALE, Allowed, check_fields, check_inner, check_sizes
from ..layouts.openai import text_sizes, text_tower
from ..mapping import Rule, Shape
from ..reading.read import OPEN_CLIP_CONFIG, Checkpoint
from ..source import Files, ImageSide, Relative, Signature, Source, Tower, Whole
from ..tokenizers.builders import openai_clip_tokenizer
from ..tokenizers.vocabularies import OPENAI_BPE

CUSTOM = "text."
"""CustomTextCLIP's prefix for its text tower's keys."""

DEFAULTS = {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12, "mlp_ratio": 4.0}
"""CLIPTextCfg's defaults for fields that a config does not state (open_clip 3.2.0, model.py)."""


def _no_tokenizer(value: Any) -> bool:
    return not value or value == {"clean": "lower"}


TEXT: dict[str, Allowed] = {
    **open_clip_model.BLOCKS,
    "context_length": open_clip_model.anything,
    "vocab_size": open_clip_model.anything,
    "heads": open_clip_model.anything,
    "hf_tokenizer_name": open_clip_model.unset,
    "tokenizer_mode": open_clip_model.unset,
    "tokenizer_kwargs": _no_tokenizer,
    "embed_cls": open_clip_model.unset,
    # Only a token behind the text, or a mask of the padding, would use it.
    "pad_id": open_clip_model.anything,
    "eos_id": open_clip_model.anything,
    "no_causal_mask": open_clip_model.unset,
    "final_ln_after_pool": open_clip_model.anything,
    "pool_type": open_clip_model.only("argmax", "eos"),
    "proj_bias": open_clip_model.unset,
    "proj_type": open_clip_model.only("linear"),
    "hf_model_name": open_clip_model.unset,
    **dict.fromkeys(("hf_model_pretrained", "hf_proj_type", "hf_pooler_type"), open_clip_model.anything),
}


def prefix(keys: Collection[str]) -> str:
    """The text tower's key prefix."""
    return CUSTOM if CUSTOM + "positional_embedding" in keys else ""


def rules(keys: Collection[str]) -> tuple[Rule, ...]:
    """Both towers and the scale."""
    return _tables(prefix(keys), open_clip_model.image_rules(keys))


def home(config: Mapping[str, Any]) -> tuple[Rule, ...]:
    """The tables of open_clip's CLIP, from a converted config."""
    return _tables("", open_clip_model.home_image_rules(config))


def _tables(text: str, image: tuple[Rule, ...]) -> tuple[Rule, ...]:
    return (
        *towers.openai_text(text, f"{text}transformer.resblocks."),
        open_clip_model.masks(text),
        *image,
        SCALE,
    )


def describe(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Whole:
    """Reads both towers from the JSON beside the weights or from the user's, checked against the shapes."""
    shapes, stated = checkpoint.shapes, open_clip_model.facts(config, checkpoint.name)
    image = describe_image(checkpoint, config)
    text = _text(shapes, stated["model_cfg"])
    width, layers = text.config["hidden_size"], text.config["num_hidden_layers"]
    return Whole(
        architecture=f"{image.architecture} with CLIP text {width}x{layers}",
        text=text,
        vision=image.vision,
        image_order=open_clip_model.image_order(stated, image.image_size),
        context_length=text.config["max_position_embeddings"],
        image_size=image.image_size,
        limits=open_clip_model.OWN_LIMITS,
    )


def describe_image(checkpoint: Checkpoint, config: Mapping[str, Any]) -> ImageSide:
    """Reads the image tower alone."""
    stated = open_clip_model.facts(config, checkpoint.name)
    name, vision = open_clip_model.vision_tower(checkpoint.shapes, stated)
    return ImageSide(architecture=name, vision=vision, image_size=vision.config["image_size"])


def _text(shapes: Mapping[str, Shape], model: Mapping[str, Any]) -> Tower:
    stated, start = {**DEFAULTS, **model["text_cfg"]}, prefix(shapes)
    blocks, where = f"{start}transformer.resblocks.", "The text_cfg"
    check_fields(stated, TEXT, where)
    sizes = text_sizes(shapes, start, blocks)
    found = {"vocab_size": sizes["vocab_size"], "context_length": sizes["max_position_embeddings"]}
    found |= {"width": sizes["hidden_size"], "layers": sizes["num_hidden_layers"]}
    check_sizes(stated, found, where)
    check_inner(stated, sizes["hidden_size"], sizes["intermediate_size"], where)
    # "argmax" pools at the highest id; in the tokenizer, the start and end tokens follow all other words.
    end = sizes["vocab_size"] - 1
    if stated.get("pool_type") == "eos" and stated.get("eos_id") != end:
        raise InputError(
            f"The text_cfg of open_clip's config pools at eos_id {stated.get('eos_id')}. Only {end} is supported, the "
            "id of the last word, because open_clip's own tokenizer ends a text with this word."
        )
    return text_tower(
        shapes,
        start,
        blocks,
        heads=open_clip_model.heads(stated["heads"], sizes["hidden_size"], "heads"),
        activation=open_clip_model.activation(model),
        eps=open_clip_model.eps(stated),
        ends=(end - 1, end),
        pad=end,
    )


def tokenizer(vocabulary: Path | None, context_length: int) -> Any:
    """open_clip's SimpleTokenizer, on OpenAI's merges or on the user's own."""
    return openai_clip_tokenizer(vocabulary, context_length)


def _signatures() -> tuple[Signature, ...]:
    text = (
        "token_embedding.weight",
        "positional_embedding",
        "transformer.resblocks.{}.mlp.c_fc.weight",
        "ln_final.weight",
        "text_projection",
    )
    # Excludes keys of OpenAI's own archives, which imply their activation, and of other models that open_clip trains.
    absent = ("input_resolution", "context_length", "vocab_size", *open_clip_model.NOT_CLIP)
    custom, plain = (
        tuple(
            Signature(required=(*(start + key for key in text), *image, "logit_scale"), absent=absent)
            for image in (open_clip_model.VIT_KEYS, open_clip_model.RESNET_KEYS)
        )
        for start in (CUSTOM, "")
    )
    # A plain state dict has the same keys as OpenAI's models, which have another activation.
    beside = tuple(replace(each, beside=(OPEN_CLIP_CONFIG,)) for each in plain)
    return *custom, *beside, *(replace(each, decides="format") for each in plain)


FILES = Files(
    weights=("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
    config=OPEN_CLIP_CONFIG,
    own_vocabulary=True,
    left_out=("attn_mask", f"{CUSTOM}attn_mask"),
    load=lambda config, stated: open_clip_model.LOAD,
)


RELATIVES = (
    Relative(
        "SigLIP in open_clip's format",
        ("visual.*", "logit_bias"),
        "It is not converted, because its logits have a bias beside the scale, and the converted model has no bias.",
    ),
    Relative(
        "CoCa in open_clip's format",
        ("visual.attn_pool.*", "text_decoder.*"),
        "It is not converted, because it pools pictures with an attention layer and also generates texts.",
    ),
    Relative(
        "open_clip with an image tower of timm",
        ("visual.trunk.*",),
        "It is not converted, because its image tower is no CLIP ViT.",
    ),
)

UNDECIDED = (
    "For a model that was trained with open_clip, pass --format open_clip --config FILE. FILE is the model's "
    "open_clip_config.json; its model_cfg is the JSON with the model's name in open_clip's model_configs."
)


SOURCE = Source(
    name="open_clip",
    title="open_clip's CLIP",
    part="dual",
    signatures=_signatures(),
    describe=describe,
    rules=rules,
    home=home,
    tokenizer=tokenizer,
    files=FILES,
    limits=open_clip_model.OWN_LIMITS,
    vocabulary=OPENAI_BPE,
    languages=("en",),
    describe_image=describe_image,
    relatives=RELATIVES,
    undecided={"token_embedding.weight": UNDECIDED},
)
