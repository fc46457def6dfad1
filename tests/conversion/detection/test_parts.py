"""Every key missing and every shape wrong, one at a time: always words, never a traceback."""

import re
from pathlib import Path

import pytest
import torch

from hf_zhclip.conversion.detection.parts import OF_ROLE, describe
from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.mapping import check
from hf_zhclip.conversion.pipeline import build
from hf_zhclip.conversion.reading.read import Checkpoint
from hf_zhclip.conversion.sources import SOURCES

from tests import checkpoints as c

BERT_CLIP_CONFIG = {"text_config": c.common.BERT_CONFIG, "vision_config": c.common.VISION_CONFIG}
FAMILIES = {
    "cn_clip ViT": ("cn_clip", c.cn_clip.cn_clip_vit(), c.cn_clip.CN_CLIP_FACTS),
    "cn_clip flash": ("cn_clip", c.cn_clip.cn_clip_vit(flash=True), c.cn_clip.CN_CLIP_FACTS),
    "cn_clip RN50": ("cn_clip", c.cn_clip.cn_clip_resnet(), c.cn_clip.CN_CLIP_FACTS),
    "ChineseCLIP": ("chinese_clip", c.chinese_clip.chinese_clip(), BERT_CLIP_CONFIG),
    "BertCLIP": ("bert_clip", c.bert_clip.bert_clip(), BERT_CLIP_CONFIG),
    "Taiyi": ("taiyi", c.taiyi.taiyi(head=True), c.common.BERT_CONFIG),
    "CLIP": (
        "hf_clip",
        c.hf_clip.hf_clip(),
        {"text_config": c.hf_clip.CLIP_TEXT_CONFIG, "vision_config": c.common.VISION_CONFIG},
    ),
    "OpenAI's CLIP": ("openai_clip", c.openai_clip.openai_clip(), {}),
    "CLIP's image side": ("hf_clip", c.common.hf_clip_vision(), {"vision_config": c.common.VISION_CONFIG}),
}
PARTNERS = {"Taiyi": "CLIP's image side", "CLIP's image side": "Taiyi"}


def part(family, shapes=None):
    source, own, config = FAMILIES[family]
    tensors = {key: torch.empty(shape, device="meta") for key, shape in (shapes or own).items()}
    role = "image" if "image side" in family else "whole"
    return OF_ROLE[role](SOURCES[source], Checkpoint(Path("x.pt"), (), "zip", tensors), config, "stated")


@pytest.fixture(scope="module")
def refused():
    """Gives the refusal of a family's checkpoint with these shapes, or None."""
    built = {}

    def build_once(description):
        if repr(description) not in built:
            built[repr(description)] = build(description)[1]
        return built[repr(description)]

    def refuse(family, shapes):
        parts = [part(family, shapes), *([part(PARTNERS[family])] if family in PARTNERS else [])]
        parts.sort(key=lambda each: each.role == "image")
        try:
            check([each.plan for each in parts], build_once(describe(parts)))
        except InputError as error:
            return str(error)
        return None

    return refuse


def one_of_each(shapes):
    """The last key of those that differ in numbers alone."""
    return {re.sub(r"\d+", "#", key): key for key in shapes}.values()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_untouched_checkpoint_passes(family, refused):
    assert refused(family, FAMILIES[family][1]) is None


@pytest.mark.quick(3)
@pytest.mark.parametrize("family", FAMILIES)
def test_each_key_is_missed(family, refused):
    shapes = FAMILIES[family][1]

    for key in one_of_each(shapes):
        assert refused(family, {other: shape for other, shape in shapes.items() if other != key}), key


@pytest.mark.quick(3)
@pytest.mark.parametrize("family", FAMILIES)
def test_each_shape_is_held_against_the_model(family, refused):
    shapes = FAMILIES[family][1]

    for key in one_of_each(shapes):
        for wrong in {(), (*shapes[key], 2), (*shapes[key][:-1], 13)} - {shapes[key]}:
            assert refused(family, shapes | {key: wrong}), (key, wrong)
