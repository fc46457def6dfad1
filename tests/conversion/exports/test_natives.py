import copy
import json

import numpy as np
import pytest
from transformers.models.auto.image_processing_auto import get_image_processor_class_from_name

from hf_zhclip import ZhCLIPImageProcessor
from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.exports.natives import NATIVES, PIXELS, differences, fits, native_for

from tests.image_modes import PICTURES, rgb

SIZE = 224
# Long sides that put the middle of what is cut off on a whole pixel, a half that rounds alike, and one that doesn't.
CROPS = {f"RGB {w}x{h}": lambda w=w, h=h: rgb(w, h) for w, h in ((226, 224), (225, 224), (224, 227), (300, 200))}


@pytest.fixture
def config(repo):
    """Gives a family's config.json, to be changed freely."""

    def read(family: str, **changes: object) -> dict:
        found = json.loads((repo(family).path / "config.json").read_text(encoding="utf-8"))
        for field, value in changes.items():
            side, _, name = field.partition("__")
            (found[side] if name else found)[name or side] = value
        return found

    return read


# Which class


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("cn_clip_vit", "ChineseCLIPModel"),
        ("cn_clip_flash", "ChineseCLIPModel"),
        ("bert_clip", "VisionTextDualEncoderModel"),
        ("taiyi_plain", "VisionTextDualEncoderModel"),
        ("hf_clip", "CLIPModel"),
        ("openai_clip", "CLIPModel"),
    ],
)
def test_a_family_has_its_class(family, name, config):
    native = native_for(config(family))

    assert native.name == name
    assert native.losses(config(family)) == ()


@pytest.mark.parametrize(
    ("family", "lines"),
    [
        (
            "cn_clip_resnet",
            [
                "  ChineseCLIPModel would lose:",
                "    the image tower: CLIP's modified ResNet, which no class of transformers has",
            ],
        ),
        (
            "taiyi_head",
            ["  VisionTextDualEncoderModel would lose:", "    the bias of the text projection"],
        ),
        (
            "taiyi_finetune",
            [
                "  VisionTextDualEncoderModel would lose:",
                "    the bias of the text projection",
                "    the attention of the text tower to padding, with any mask",
            ],
        ),
    ],
)
def test_a_family_without_a_class_is_told_what_the_nearest_would_lose(family, lines, config):
    with pytest.raises(InputError) as error:
        native_for(config(family))

    first, *middle, last = str(error.value).splitlines()
    assert first == "No class of transformers computes what this model computes, and nothing was written."
    assert middle == lines
    assert last.startswith("Use the repo itself, with")


def test_everything_that_would_be_lost_is_named_for_every_class_that_is_nearest(config):
    broken = config("cn_clip_vit", text_pooling="mean", text_attends_to_padding=True, vision_pooling="cls")

    with pytest.raises(InputError) as error:
        native_for(broken)

    losses = """\
    the pooling of texts: the repo takes the mean of all tokens, and the class takes a single token
    the raw class token: the class applies a layer norm to the class token
    the attention of the text tower to padding, with any mask"""
    text = str(error.value)
    assert f"  ChineseCLIPModel would lose:\n{losses}\n  VisionTextDualEncoderModel would lose:\n{losses}\n" in text


@pytest.mark.parametrize(
    ("change", "loss"),
    [
        ({"text_pooling": "pooler"}, "the tanh pooler of texts: the class takes the state of [CLS] without a pooler"),
        ({"text_projection_type": "linear_bias"}, "the bias of the text projection"),
        ({"visual_projection_type": "linear_bias"}, "the bias of the image projection"),
        (
            {"text_projection_type": "mlp"},
            "the second layer of the text projection and the GELU between the two layers",
        ),
        (
            {"text_config__model_type": "xlm-roberta"},
            "text_config.model_type 'xlm-roberta': the class can only hold 'bert'",
        ),
        (
            {"text_config__is_decoder": True},
            "the causal mask of the text tower: in the class, every token sees all other tokens",
        ),
        (
            {"vision_config__model_type": "swin"},
            "vision_config.model_type 'swin': the class can only hold 'clip_vision_model'",
        ),
        ({"text_pooling": "eos"}, "text_pooling 'eos': the class can only hold 'cls'"),
    ],
    ids=str,
)
def test_each_loss_has_a_sentence(change, loss, config):
    chinese_clip = NATIVES[0]
    assert [each.en for each in chinese_clip.losses(config("cn_clip_vit", **change))] == [loss]


def test_a_projection_that_is_not_there_can_be_held_as_an_identity(config):
    found = config("cn_clip_vit", text_projection_type="none", visual_projection_type="none")
    assert native_for(found).name == "ChineseCLIPModel"


def test_every_field_that_a_class_demands_is_one_that_a_repo_states(config):
    found = config("cn_clip_vit")
    for native in NATIVES:
        for demand in native.demands:
            without = copy.deepcopy(found)
            *towers, name = demand.field.split(".")
            del (without[towers[0]] if towers else without)[name]
            assert demand.loss(without) is not None, demand.field


def test_the_nearest_class_comes_first(config):
    order = ["VisionTextDualEncoderModel", "ChineseCLIPModel", "CLIPModel"]
    assert [fit.native.name for fit in fits(config("bert_clip"))] == order


# Pixels


@pytest.mark.quick(2)
@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize(
    ("order", "native"),
    [(order, NATIVES["crop" in order]) for order in PIXELS] + [("squash_then_rgb", NATIVES[1])],
    ids=lambda each: getattr(each, "name", each),
)
def test_the_modes_that_are_said_to_give_the_same_pixels_do_and_the_others_do_not(order, native):
    ours = ZhCLIPImageProcessor(image_order=order, size=SIZE)
    theirs = get_image_processor_class_from_name(f"{native.image_processor}Pil")(**PIXELS[order].settings(SIZE))
    same = []
    for name, draw in (PICTURES | CROPS).items():
        expected, found = ours(draw()).pixel_values[0], np.asarray(theirs(draw()).pixel_values[0])
        if PIXELS[order].same(draw(), SIZE):
            assert np.array_equal(expected, found), name
            same.append(name)
        elif "A" not in name and "," not in name:  # transparency is handled in different ways by different versions
            assert not np.array_equal(expected, found), name

    assert {"RGB 97x61", "RGB 224x224", "RGB 1x1", "RGB 2000x20", "RGB on its side", "L", "RGB 300x200"} <= {*same}


def test_no_picture_with_transparency_is_said_to_be_the_same():
    transparent = ("RGBA", "LA", "P, one colour transparent", "P, alpha for each colour")
    assert not any(pixels.same(PICTURES[name](), SIZE) for pixels in PIXELS.values() for name in transparent)


def test_what_is_not_the_same_is_said_by_image_order_and_class():
    chinese_clip, dual_encoder, clip = NATIVES
    told = differences(chinese_clip, "squash_then_rgb")
    assert any("pass the attention_mask" in sentence for sentence in told)
    assert any("P, 1, I;16, I, CMYK, YCbCr, HSV" in sentence for sentence in told)
    assert not any("not supported" in sentence or "The crop" in sentence for sentence in told)
    told = differences(dual_encoder, "crop_then_rgb")
    assert any("The crop is shifted by one pixel" in sentence for sentence in told)
    assert any("logs that VisionTextDualEncoderModel is not supported" in sentence for sentence in told)
    told = differences(dual_encoder, "rgb_then_crop")
    assert not any("P, 1, I;16" in sentence for sentence in told)
    told = differences(clip, "rgb_then_crop")
    assert not any("attention_mask" in sentence or "not supported" in sentence for sentence in told)
