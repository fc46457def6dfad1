"""Classes of plain transformers that can hold a converted model exactly: their demands and their differences.

Each class is a row in `NATIVES`, each image order a row in `PIXELS`. A family that another class can hold adds a row.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from hf_zhclip.image_processing_zhclip import IMAGE_ORDERS, ImageStep, crop_rounded, crop_up, shorten, to_rgb

from ..errors import InputError
from ..layouts.hf_config import BERT_DEFAULTS, CLIP_TEXT_DEFAULTS, CLIP_VISION_DEFAULTS
from ..mapping import Rule, rename
from ..words import Words

NAMED = Words("{field} {value}: the class can only hold {wanted}", "{field} 为 {value}（那里只能是 {wanted}）")
"""The words for a value without a sentence of its own."""


@dataclass(frozen=True)
class Demand:
    """A field of a repo's config.json (dots lead into towers), the values that a class can hold, and the losses.

    `lost` says what would be lost with a refused value; a value without a sentence is named directly.
    """

    field: str
    allowed: tuple[Any, ...]
    lost: Mapping[Any, Words]

    def loss(self, config: Mapping[str, Any]) -> Words | None:
        """What would be lost from this config, or None."""
        value: Any = config
        for name in self.field.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        if value in self.allowed:
            return None
        wanted = " or ".join(map(repr, self.allowed))
        # Compared, not looked up: a foreign config may hold a list or an object, which has no hash.
        known = (words for each, words in self.lost.items() if each == value)
        return next(known, NAMED.filled(field=self.field, value=repr(value), wanted=wanted))


@dataclass(frozen=True)
class Native:
    """A class of plain transformers that computes the same as a repo if the repo's config meets every demand.

    `rules` map target keys to the class's keys, under names that transformers 4 and 5 both read. `text_fields` are
    fields of its text tower's config. `in_pipeline` says whether pipeline("zero-shot-image-classification") accepts
    the class without a warning. `zeroes_padding` says whether loading overwrites the padding token's word embedding.
    """

    name: str
    model_type: str
    text_model_type: str
    text_fields: Collection[str]
    vision_model_type: str
    processor: str
    image_processor: str
    holds: str
    demands: tuple[Demand, ...]
    rules: tuple[Rule, ...]
    in_pipeline: bool
    zeroes_padding: bool = False

    def losses(self, config: Mapping[str, Any]) -> tuple[Words, ...]:
        """Everything in a repo's config.json that this class cannot hold."""
        return tuple(loss for demand in self.demands if (loss := demand.loss(config)) is not None)

    def config(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of the class's own config.json, including towers."""
        # A tower loaded alone uses its own projection_dim; some files state another size there.
        stated = {"projection_dim": config["projection_dim"]}
        text = {field: ({**config["text_config"], **stated})[field] for field in self.text_fields}
        vision = {field: ({**config["vision_config"], **stated})[field] for field in CLIP_VISION_DEFAULTS}
        return {
            "text_config": {"model_type": self.text_model_type, **text},
            "vision_config": {"model_type": self.vision_model_type, **vision},
            "projection_dim": config["projection_dim"],
            "logit_scale_init_value": config["logit_scale_init_value"],
        }


BERT = Demand("text_config.model_type", ("bert",), {})
CLIP_TEXT = Demand("text_config.model_type", ("clip_text_model",), {})
NOT_CAUSAL = Demand(
    "text_config.is_decoder",
    (False,),
    {
        True: Words(
            "the causal mask of the text tower: in the class, every token sees all other tokens",
            "文本塔的因果掩码（那里每个词元都能看到其他词元）",
        )
    },
)
CLIP_VIT = Demand(
    "vision_config.model_type",
    ("clip_vision_model",),
    {
        "hf_zhclip_resnet": Words(
            "the image tower: CLIP's modified ResNet, which no class of transformers has",
            "图像塔：它是 CLIP 的改版 ResNet，transformers 没有这样的类",
        )
    },
)
POST_LAYERNORM = Demand(
    "vision_pooling",
    ("pooler",),
    {
        "cls": Words(
            "the raw class token: the class applies a layer norm to the class token",
            "未经归一化的 class token（那里会再做一次 layer norm）",
        )
    },
)
# No class pads texts by itself either: text_padded_length is never stated without this field.
NO_PADDING = Demand(
    "text_attends_to_padding",
    (False,),
    {
        True: Words(
            "the attention of the text tower to padding, with any mask",
            "文本塔不论有无掩码都会注意到填充",
        )
    },
)


def _pooling(wanted: str) -> Demand:
    lost = {
        "cls": Words(
            "the pooling of texts: the repo takes the state of [CLS], and the class applies a tanh pooler",
            "文本的池化：这里直接取 [CLS] 的状态，那里还要经过 tanh pooler",
        ),
        "pooler": Words(
            "the tanh pooler of texts: the class takes the state of [CLS] without a pooler",
            "文本的 tanh pooler（那里直接取 [CLS] 的状态）",
        ),
        "mean": Words(
            "the pooling of texts: the repo takes the mean of all tokens, and the class takes a single token",
            "文本的池化：这里对所有词元取平均，那里只取一个词元",
        ),
    }
    return Demand("text_pooling", (wanted,), lost)


TEXT_SIDE, IMAGE_SIDE = Words("text", "文本"), Words("image", "图像")


def beyond_a_matrix(side: Words) -> dict[str, Words]:
    """What each type of projection has in addition to a matrix without bias."""
    return {
        "linear_bias": Words("the bias of the {side} projection", "{side}投影的偏置").filled(side=side),
        "mlp": Words(
            "the second layer of the {side} projection and the GELU between the two layers",
            "{side}投影的第二层以及两层之间的 GELU",
        ).filled(side=side),
    }


# A missing projection is written as an identity matrix: multiplying by it changes no bit.
MATRICES = (
    Demand("text_projection_type", ("linear", "none"), beyond_a_matrix(TEXT_SIDE)),
    Demand("visual_projection_type", ("linear", "none"), beyond_a_matrix(IMAGE_SIDE)),
)
COMMON = (*MATRICES, CLIP_VIT, POST_LAYERNORM, NO_PADDING)
SHARED = (BERT, NOT_CAUSAL, *COMMON)

HEADS = (
    rename("text_model.*", "text_model.*"),
    rename("text_projection.weight", "text_projection.weight"),
    rename("visual_projection.weight", "visual_projection.weight"),
    rename("logit_scale", "logit_scale"),
)

NATIVES = (
    Native(
        name="ChineseCLIPModel",
        model_type="chinese_clip",
        text_model_type="chinese_clip_text_model",
        text_fields=BERT_DEFAULTS,
        vision_model_type="chinese_clip_vision_model",
        processor="ChineseCLIPProcessor",
        image_processor="ChineseCLIPImageProcessor",
        holds="a BERT whose [CLS] state is the text, a CLIP ViT, and a matrix without bias after each",
        demands=(_pooling("cls"), *SHARED),
        rules=(rename("vision_model.*", "vision_model.*"), *HEADS),
        in_pipeline=True,
        zeroes_padding=True,  # transformers 5.24: its _init_weights zeroes a row of loaded weights, too
    ),
    Native(
        name="VisionTextDualEncoderModel",
        model_type="vision-text-dual-encoder",
        text_model_type="bert",
        text_fields=BERT_DEFAULTS,
        vision_model_type="clip_vision_model",
        processor="VisionTextDualEncoderProcessor",
        image_processor="CLIPImageProcessor",
        holds="a BERT with its tanh pooler, a CLIP ViT, and a matrix without bias after each",
        demands=(_pooling("pooler"), *SHARED),
        # transformers 4 has the tower under this doubled prefix; transformers 5 reads both.
        rules=(rename("vision_model.*", "vision_model.vision_model.*"), *HEADS),
        in_pipeline=False,
    ),
    Native(
        name="CLIPModel",
        model_type="clip",
        text_model_type="clip_text_model",
        text_fields=CLIP_TEXT_DEFAULTS,
        vision_model_type="clip_vision_model",
        processor="CLIPProcessor",
        image_processor="CLIPImageProcessor",
        holds="a causal text tower whose end token is the text, a CLIP ViT, and a matrix without bias after each",
        demands=(_pooling("eos"), CLIP_TEXT, *COMMON),
        rules=(rename("vision_model.*", "vision_model.*"), *HEADS),
        in_pipeline=True,
    ),
)
"""The classes, in the order in which they are tried."""


@dataclass(frozen=True)
class Fit:
    """How a class fits a repo: exactly if nothing is lost."""

    native: Native
    lost: tuple[Words, ...]


def fits(config: Mapping[str, Any]) -> tuple[Fit, ...]:
    """Every class with its losses from a repo's config.json, the best fit first."""
    found = (Fit(native, native.losses(config)) for native in NATIVES)
    return tuple(sorted(found, key=lambda fit: len(fit.lost)))


def native_for(config: Mapping[str, Any]) -> Native:
    """The class of plain transformers that holds a repo exactly; the config.json must state every field.

    Raises:
        InputError: no class does; for the best fits, the message names everything that would be lost.
    """
    return exact(
        fits(config),
        "No class of transformers computes what this model computes, and nothing was written.",
        "Use the repo itself, with `import hf_zhclip`, or with `trust_remote_code=True` and the code in the repo.",
    )


def exact(found: Sequence[Fit], refusal: str, way_out: str) -> Native:
    """The class of the best fit, which comes first, if nothing is lost.

    Raises:
        InputError: something is lost; the message is the refusal, what the best fits would lose, and the way out.
    """
    nearest, *others = found
    if not nearest.lost:
        return nearest.native
    near = [nearest, *(fit for fit in others if len(fit.lost) == len(nearest.lost))]
    lines = [f"  {fit.native.name} would lose:\n" + "\n".join(f"    {loss.en}" for loss in fit.lost) for fit in near]
    raise InputError("\n".join([refusal, *lines, way_out]))


# Image processors


@dataclass(frozen=True)
class Pixels:
    """An image order as settings of transformers' own image processors, and when the pixels differ."""

    crops: bool
    same_modes: tuple[str, ...] | None
    same_crop: Callable[[Image.Image, int], bool]
    differs: tuple[str, ...]

    def settings(self, size: int) -> dict[str, Any]:
        """Settings of CLIP's image processors for a square of `size` pixels."""
        square = {"height": size, "width": size}
        resized = {"shortest_edge": size} if self.crops else square
        return {"size": resized, "crop_size": square, "do_center_crop": self.crops}

    def same(self, image: Image.Image, size: int) -> bool:
        """Whether transformers' image processor, with Pillow, gives the same pixels as this package's."""
        if "A" in image.getbands() or image.info.get("transparency") is not None:
            return False
        return (self.same_modes is None or image.mode in self.same_modes) and self.same_crop(image, size)


def _any_crop(image: Image.Image, size: int) -> bool:
    return True


def _crop_is_rounded_alike(image: Image.Image, size: int) -> bool:
    """Whether half of the cut-off pixels rounds the same: down in transformers, half to even in torchvision."""
    short, long = sorted(image.size)
    return (int(size * long / short) - size) % 4 != 3


def _crop_is_even(image: Image.Image, size: int) -> bool:
    """Whether the cut-off pixels have two equal halves: transformers rounds the offset down, EasyNLP rounds it up."""
    short, long = sorted(image.size)
    return (int(size * long / short) - size) % 2 == 0


TRANSPARENT = (
    "Pictures with transparency (RGBA, LA, a palette with a transparent colour): transformers 5.23 puts them on a "
    "white background. transformers 5.18 and 4.57 drop the transparency before resizing"
)
RGB_FIRST = (
    "Pictures of other modes (P, 1, I;16, I, CMYK, YCbCr, HSV): transformers makes them RGB before resizing, and this "
    "model's own processor makes them RGB after resizing. RGB and L give identical pixels."
)
DROPPED_LAST = f"{TRANSPARENT}, and this model's own processor drops the transparency after resizing."
DROPPED_FIRST = f"{TRANSPARENT}, as this model's own processor does. All other modes give identical pixels."
CROPS: Mapping[ImageStep, tuple[Callable[[Image.Image, int], bool], str]] = {
    crop_rounded: (
        _crop_is_rounded_alike,
        "The crop is shifted by one pixel against this model's own crop if, after resizing, the long side is 3, 7, "
        "11 … pixels longer than the short side (227 x 224, 640 x 427): transformers rounds down, torchvision rounds "
        "half to even.",
    ),
    crop_up: (
        _crop_is_even,
        "The crop is shifted by one pixel against this model's own crop if, after resizing, the long side is an odd "
        "number of pixels longer than the short side (227 x 224): transformers rounds down, EasyNLP rounds up.",
    ),
}
"""Crops that do not round as transformers does: when both agree, and what users are told if they do not."""


def _pixels(steps: Sequence[ImageStep]) -> Pixels:
    """An image order in transformers, which makes RGB first and rounds a crop down."""
    rgb_first = steps[0] is to_rgb
    same_crop, *beside = next((CROPS[step] for step in steps if step in CROPS), (_any_crop,))
    return Pixels(
        crops=shorten in steps,
        same_modes=None if rgb_first else ("RGB", "L"),
        same_crop=same_crop,
        differs=(DROPPED_FIRST,) if rgb_first else (*beside, RGB_FIRST, DROPPED_LAST),
    )


PIXELS = {order: _pixels(steps) for order, steps in IMAGE_ORDERS.items()}
"""By image order; measured with transformers 5.18 and 5.24 on pictures of every mode (test_natives.py)."""

TORCHVISION = (
    "If torchvision is installed, transformers resizes with torchvision: normalised values differ by up to 0.015. "
    'AutoProcessor.from_pretrained(..., backend="pil") resizes with Pillow.'
)


PAD_IN_TEXTS = (
    "Texts that hold the padding token's own word ([PAD] in BERT's vocabularies): this model masks that token, and "
    'the mask of the tokenizer does not. For the same embedding: inputs["attention_mask"] = '
    '(inputs["input_ids"] != model.config.text_config.pad_token_id).long()'
)
"""For a repo whose config sets `text_masks_pad_token`; classes of transformers take the mask that they are given."""

ZEROED_PADDING = (
    "Texts that hold the padding token's own word ([PAD] in BERT's vocabularies): transformers 5 sets that token's "
    "word embedding to zeros when it loads {name}, so that such a text gets another embedding."
)


def about_padding(native: Native, masks_pad_token: bool) -> str | None:
    """What differs in texts that hold the padding token's own word; None if nothing does."""
    if masks_pad_token:
        return PAD_IN_TEXTS
    return ZEROED_PADDING.format(name=native.name) if native.zeroes_padding else None


def differences(native: Native, image_order: str, padding: str | None = None) -> tuple[str, ...]:
    """Sentences: what differs for a user of the class from a user of the repo, or what the user must do.

    `padding` is the sentence of `about_padding`, if a text of the repo's tokenizer can hold the padding token.
    """
    mask = (
        f"{native.name} does not derive a mask from padding: pass the attention_mask that the processor returns. "
        "Without the mask, an embedding depends on the length to which its text was padded."
    )
    sentences = (
        *(() if native.text_model_type == "clip_text_model" else (mask,)),
        *((padding,) if padding else ()),
        "The processor does not pad or cut texts by default: call processor(..., padding=True, truncation=True).",
        *PIXELS[image_order].differs,
        TORCHVISION,
        'pipeline("zero-shot-image-classification") pads the labels but never cuts them.',
    )
    if native.in_pipeline:
        return sentences
    return (
        *sentences,
        f"This pipeline logs that {native.name} is not supported, but its scores are right.",
    )
