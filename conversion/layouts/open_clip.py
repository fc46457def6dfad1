"""open_clip's models: their JSON, their image towers, and what does not depend on the text tower.

The JSON is an open_clip_config.json with `model_cfg`, which open_clip's model_configs list by name, and
`preprocess_cfg`.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from ..errors import InputError
from ..mapping import Rule, Shape, drop, rename
from ..source import Tower
from ..words import Words
from . import towers
from .hf_folder import MEAN, STD, TOLERANCE, crops
from .openai import RESNET_WIDENING, is_resnet, resnet_sizes, resnet_tower, vit_sizes, vit_tower

EPS = 1e-5
"""The eps of every LayerNorm if norm_kwargs states no other: the default of torch's class."""

VISION_DEFAULTS = {
    "layers": 12,
    "width": 768,
    "head_width": 64,
    "mlp_ratio": 4.0,
    "patch_size": 16,
    "image_size": 224,
}
"""CLIPVisionCfg's defaults for fields that a config does not state (open_clip 3.2.0, model.py)."""

ORDER = "crop_then_rgb"
"""The order for `resize_mode` "shortest", the only supported mode (open_clip, transform.py)."""

LIMITS = (
    Words(
        "Badly decoded characters and HTML entities stay unchanged: open_clip repairs them first (ftfy, "
        "html.unescape). ftfy's changes of single characters are made here, too: wide forms, curly quotes, ligatures.",
        "乱码和 HTML 实体保持原样：open_clip 会先修复它们（ftfy、html.unescape）。ftfy 对单个字符所做的事这里同样会"
        "做：全角字符、弯引号、连字。",
    ),
)
OWN_LIMITS = (
    *LIMITS,
    Words(
        "If a text itself holds <|startoftext|> or <|endoftext|>, they are read as special tokens, as in OpenAI's own "
        "code. In open_clip, these two tokens are called <start_of_text> and <end_of_text>.",
        "如果文本自身含有 <|startoftext|> 或 <|endoftext|>，会像 OpenAI 自己的代码那样把它们当作特殊标记；在 "
        "open_clip 中，这两个标记叫作 <start_of_text> 和 <end_of_text>。",
    ),
)
"""The card's sentences if the text tower is open_clip's own."""

SCALE = rename("logit_scale", "logit_scale")

VIT_KEYS = "visual.transformer.resblocks.{}.mlp.c_fc.weight", "visual.proj"
RESNET_KEYS = "visual.layer1.{}.conv1.weight", "visual.attnpool.positional_embedding"
NOT_CLIP = "logit_bias", "visual.trunk.*", "visual.attn_pool.*", "text_decoder.*"
"""Keys of other models that open_clip trains: SigLIP, timm's image towers, CoCa."""

Allowed = Callable[[Any], bool]


def anything(value: Any) -> bool:
    return True


def unset(value: Any) -> bool:
    return value in (None, False, "") or value == {}


def only(*values: Any) -> Allowed:
    return lambda value: value in values


def number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _only_eps(value: Any) -> bool:
    return unset(value) or (isinstance(value, Mapping) and set(value) == {"eps"} and number(value["eps"]))


# For each field of open_clip's dataclasses (3.2.0, model.py): the values that change no number here. Training fields
# accept any value. Size fields are checked against the shapes.
BLOCKS: dict[str, Allowed] = {
    **dict.fromkeys(("width", "layers"), anything),
    "mlp_ratio": number,
    "ls_init_value": unset,
    "act_kwargs": unset,
    "norm_kwargs": _only_eps,
    "block_type": only(None, "default"),
    **dict.fromkeys(
        ("qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc"), unset
    ),
    "output_tokens": unset,
}
VISION: dict[str, Allowed] = {
    **BLOCKS,
    "image_size": anything,
    "patch_size": anything,
    "head_width": anything,
    "patch_dropout": anything,
    "attentional_pool": unset,
    "attn_pooler_queries": anything,
    "attn_pooler_heads": anything,
    "no_ln_pre": unset,
    # Fixed positions are stored as learnt positions are; a norm of the class token is the same before and after
    # pooling.
    "pos_embed_type": only("learnable", "sin_cos_2d"),
    "final_ln_after_pool": anything,
    "pool_type": only("tok"),
    "timm_model_name": unset,
    **dict.fromkeys(
        ("timm_model_pretrained", "timm_pool", "timm_proj", "timm_proj_bias", "timm_drop", "timm_drop_path"), anything
    ),
}
MODEL: dict[str, Allowed] = {
    **dict.fromkeys(("embed_dim", "vision_cfg", "text_cfg"), anything),
    "quick_gelu": only(True, False, None),
    **dict.fromkeys(("custom_text", "init_logit_scale", "cast_dtype", "output_dict"), anything),
    "init_logit_bias": unset,
    # A vector with one element is the same number.
    "nonscalar_logit_scale": only(True, False, None),
}
PICTURES: dict[str, Allowed] = {
    "size": anything,
    "mode": only("RGB"),
    "mean": lambda value: _close(value, MEAN),
    "std": lambda value: _close(value, STD),
    # "random" is for training; inference uses bicubic.
    "interpolation": only("bicubic", "random"),
    "resize_mode": only("shortest"),
    "fill_color": anything,
}
NORMALISATION = ("mean", "std")
"""The picture fields that belong to the image tower; a pair takes the other fields from the text side's family."""


WRITTEN = '{"model_cfg": {...}, "preprocess_cfg": {"resize_mode": "shortest"}}'
"""What a user writes if no open_clip_config.json was published."""


def facts(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A config's `model_cfg` and `preprocess_cfg`.

    Raises:
        InputError: nothing states them, or they are no JSON objects.
    """
    if not config:
        raise InputError(
            f"No file states the activation, heads and pooling of {name}, and open_clip's weights do not show these "
            "facts. Pass --config FILE with the open_clip_config.json of the model's repository, or with "
            f"{WRITTEN}. Its model_cfg is the model's file in open_clip's model_configs (ViT-B-32.json has erf "
            "GELU; ViT-B-32-quickgelu.json has QuickGELU, which OpenAI's own weights were trained with)."
        )
    found = {"model_cfg": config.get("model_cfg", config), "preprocess_cfg": config.get("preprocess_cfg") or {}}
    model = found["model_cfg"]
    parts = {**found, "vision_cfg": _get(model, "vision_cfg"), "text_cfg": _get(model, "text_cfg")}
    if wrong := [f"{key} {value!r}" for key, value in parts.items() if not isinstance(value, Mapping)]:
        raise InputError(
            f"The config of {name} states {', '.join(wrong)}; JSON objects were wanted, as in open_clip_config.json."
        )
    if not found["preprocess_cfg"]:
        raise InputError(
            f"The config of {name} does not say how pictures are prepared. Some of open_clip's models squash "
            "pictures, other models crop pictures, and the files of model_configs do not state the method. State "
            f"preprocess_cfg beside model_cfg: {WRITTEN}."
        )
    return found


def _get(model: Any, key: str) -> Any:
    return model.get(key) if isinstance(model, Mapping) else None


def check_fields(stated: Mapping[str, Any], known: Mapping[str, Allowed], where: str) -> None:
    """Refuses unknown fields, and fields whose values change a number and are not supported.

    Raises:
        InputError: a field is refused; the message lists each field with its value.
    """
    refused = [f"{key} {value!r}" for key, value in stated.items() if key in known and not known[key](value)]
    unknown = [f"{key} {value!r}" for key, value in stated.items() if key not in known]
    lines = [f"not supported: {', '.join(refused)}"] if refused else []
    lines += [f"not known here: {', '.join(unknown)}"] if unknown else []
    if lines:
        raise InputError(
            f"{where} of open_clip's config states fields that may change the embeddings. The model is not converted: "
            f"{'; '.join(lines)}."
        )


def check_sizes(stated: Mapping[str, Any], found: Mapping[str, Any], where: str) -> None:
    """Refuses a config of another model than the weights; the caller fills in the fields that the config leaves out.

    Raises:
        InputError: sizes differ; the message lists each field, stated and found.
    """
    wrong = [
        f"{key}: stated {stated.get(key)!r}, the shapes say {value!r}"
        for key, value in found.items()
        if _plain(stated.get(key)) != value
    ]
    if wrong:
        raise InputError(
            f"{where} of open_clip's config does not fit the weights: {'; '.join(wrong)}. Take weights and config "
            "from the same model. For a field that the config leaves out, open_clip's default counts."
        )


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        # A square's side can be stated twice.
        return value[0] if len(value) == 2 and value[0] == value[1] else list(value)
    return value


def eps(stated: Mapping[str, Any]) -> float:
    """The eps of a tower's LayerNorms."""
    return (stated.get("norm_kwargs") or {}).get("eps", EPS)


def inner_width(stated: Mapping[str, Any], width: int) -> int:
    """The inner width of a tower's perceptrons (open_clip, transformer.py)."""
    return int(width * stated["mlp_ratio"])


def activation(model: Mapping[str, Any]) -> str:
    """Erf GELU, unless the config sets quick_gelu (open_clip, model.py)."""
    return "quick_gelu" if model.get("quick_gelu") else "gelu"


def heads(value: Any, width: int, field: str) -> int:
    """The number of heads or the width of a head; it must divide the tower's width.

    Raises:
        InputError: the value is no whole number, or does not divide the width.
    """
    if type(value) is not int:
        raise InputError(f"open_clip's config states {field} {value!r}; a whole number was wanted.")
    if value < 1 or width % value:
        raise InputError(f"open_clip's config states {field} {value!r}; wanted a divisor of the width {width}.")
    return value


def image_rules(keys: Collection[str]) -> tuple[Rule, ...]:
    """The image tower's tables: a ViT with its projection, or a modified ResNet."""
    return towers.OPENAI_RESNET if "visual.attnpool.positional_embedding" in keys else towers.openai_vit("in_proj_")


def home_image_rules(config: Mapping[str, Any]) -> tuple[Rule, ...]:
    """The image tower's tables, from a converted model's config."""
    resnet = config["vision_config"]["model_type"] == "hf_zhclip_resnet"
    return towers.OPENAI_RESNET if resnet else towers.openai_vit("in_proj_")


LOAD = """\
import open_clip

model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
model.eval()"""
"""Code that loads a folder of open_clip's with open_clip."""


def masks(prefix: str) -> Rule:
    """Drops the causal mask, if a file holds it as a buffer."""
    return drop(prefix + "attn_mask")


def vision_tower(shapes: Mapping[str, Shape], stated: Mapping[str, Any]) -> tuple[str, Tower]:
    """The image tower's name and description, from the stated facts, checked against the shapes; without pictures.

    Raises:
        InputError: the config does not belong to these weights, or states something unsupported.
    """
    model = stated["model_cfg"]
    vision = {**VISION_DEFAULTS, **model["vision_cfg"]}
    check_fields(model, MODEL, "The model_cfg")
    check_pictures(stated["preprocess_cfg"], NORMALISATION)
    if is_resnet(shapes):
        # open_clip gives its ResNet only these fields.
        sizes = resnet_sizes(shapes)
        check_fields({"timm_model_name": vision.get("timm_model_name")}, VISION, "The vision_cfg")
        check_sizes(vision, {key: sizes[key] for key in ("layers", "width", "image_size")}, "The vision_cfg")
        check_sizes(model, {"embed_dim": sizes["output_dim"]}, "The model_cfg")
        width = sizes["width"] * RESNET_WIDENING
        tower = resnet_tower(shapes, width // heads(vision["head_width"], width, "head_width"))
        return f"ResNet {sizes['width']} {sizes['layers']}", tower
    check_fields(vision, VISION, "The vision_cfg")
    sizes = vit_sizes(shapes)
    width = sizes["hidden_size"]
    found = {"width": width, "layers": sizes["num_hidden_layers"]}
    found |= {key: sizes[key] for key in ("patch_size", "image_size")}
    check_sizes(vision, found, "The vision_cfg")
    check_inner(vision, width, sizes["intermediate_size"], "The vision_cfg")
    check_sizes(model, {"embed_dim": shapes["visual.proj"][-1]}, "The model_cfg")
    head_width = heads(vision["head_width"], width, "head_width")
    tower = vit_tower(shapes, width // head_width, activation(model), eps(vision))
    return f"ViT {width}x{found['layers']}/{sizes['patch_size']}", tower


def check_inner(stated: Mapping[str, Any], width: int, found: int, where: str) -> None:
    """Checks the perceptrons' width, which a config states as a ratio, against the shapes.

    Raises:
        InputError: the widths differ.
    """
    check_sizes({"mlp_ratio x width": inner_width(stated, width)}, {"mlp_ratio x width": found}, where)


def check_pictures(stated: Mapping[str, Any], fields: Iterable[str]) -> None:
    """Refuses an unsupported preparation of pictures in these fields of a preprocess_cfg.

    Raises:
        InputError: a field is refused; the message lists each field.
    """
    check_fields({key: stated[key] for key in fields if stated.get(key) is not None}, PICTURES, "The preprocess_cfg")


def image_order(stated: Mapping[str, Any], size: int) -> str:
    """The image order of a preprocess_cfg; checks all its fields.

    Raises:
        InputError: the preparation of pictures is not supported.
    """
    pictures = stated["preprocess_cfg"]
    check_pictures(pictures, pictures)
    if pictures.get("size") is not None:
        check_sizes(pictures, {"size": size}, "The preprocess_cfg")
    return ORDER


def check_order(stated: Mapping[str, Any], image_order: str, size: int) -> None:
    """Refuses a preprocess_cfg that differs from the pair's image order, which is the text side's.

    Raises:
        InputError: fields contradict; the message lists each field and the expected value.
    """
    resize, side = "shortest" if crops(image_order) else "squash", _plain(stated.get("size"))
    wrong = [f"size {side!r} ({size!r} was wanted)"] if side not in (None, size) else []
    if (found := stated.get("resize_mode") or "shortest") != resize:
        wrong.append(f"resize_mode {found!r} ({resize!r} was wanted)")
    if wrong:
        raise InputError(
            f"The preprocess_cfg of open_clip's config states {', '.join(wrong)}. The wanted values are from the text "
            "tower's family. If the image tower was not trained with the config's values, correct the config. If the "
            "image tower was trained with the config's values, the two towers are no pair."
        )
    rest = {key: value for key, value in stated.items() if key not in ("size", "resize_mode")}
    check_pictures(rest, rest)


def _close(value: Any, wanted: tuple[float, ...]) -> bool:
    try:
        return len(value) == 3 and all(abs(a - b) <= TOLERANCE for a, b in zip(value, wanted, strict=True))
    except TypeError:
        return False


# The original's own package
