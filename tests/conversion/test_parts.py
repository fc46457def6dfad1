"""Every key missing and every shape wrong, one at a time: always words, never a traceback."""

from pathlib import Path

import pytest
import torch
from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.mapping import check, fold
from hf_zhclip.conversion.parts import Part, describe
from hf_zhclip.conversion.pipeline import build
from hf_zhclip.conversion.read import Checkpoint
from hf_zhclip.conversion.sources import SOURCES

from tests import checkpoints as c

BERT_CLIP_CONFIG = {"text_config": c.BERT_CONFIG, "vision_config": c.VISION_CONFIG}
FAMILIES = {
    "cn_clip ViT": ("cn_clip", c.cn_clip_vit(), c.CN_CLIP_FACTS),
    "cn_clip flash": ("cn_clip", c.cn_clip_vit(flash=True), c.CN_CLIP_FACTS),
    "cn_clip RN50": ("cn_clip", c.cn_clip_resnet(), c.CN_CLIP_FACTS),
    "BertCLIP": ("bert_clip", c.bert_clip(), BERT_CLIP_CONFIG),
    "Taiyi": ("taiyi", c.taiyi(head=True), c.BERT_CONFIG),
    "CLIP": ("hf_clip", c.hf_clip_vision(), {"vision_config": c.VISION_CONFIG}),
}
PARTNERS = {"Taiyi": "CLIP", "CLIP": "Taiyi"}


def part(family, shapes=None):
    source, own, config = FAMILIES[family]
    tensors = {key: torch.empty(shape, device="meta") for key, shape in (shapes or own).items()}
    return Part(SOURCES[source], Checkpoint(Path("x.pt"), (), "zip", tensors), config, "stated")


def refused(family, shapes):
    parts = [part(family, shapes), *([part(PARTNERS[family])] if family in PARTNERS else [])]
    parts.sort(key=lambda each: each.source.part == "vision")
    try:
        check([each.plan for each in parts], build(describe(parts))[1])
    except InputError as error:
        return str(error)
    return None


def one_of_each(shapes):
    """One key of each kind: of every layer's, the last layer's."""
    return {min(fold([key])[0] for key in [key]): key for key in shapes}.values()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_untouched_checkpoint_passes(family):
    assert refused(family, FAMILIES[family][1]) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_each_key_is_missed(family):
    import time
    shapes = FAMILIES[family][1]
    t=time.time()
    for key in one_of_each(shapes):
        message = refused(family, {other: shape for other, shape in shapes.items() if other != key})
        assert message, key
    print(family, len(shapes), time.time()-t)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_shape_is_held_against_the_model(family):
    shapes = FAMILIES[family][1]
    for key, shape in shapes.items():
        for wrong in {(), (7,), (*shape, 2), (3, *shape), (*shape[:-1], 13)} - {shape}:
            assert refused(family, shapes | {key: wrong}), (key, wrong)
