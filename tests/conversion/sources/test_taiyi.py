"""Taiyi's text parts: the name of a pair is the published one only where both towers have the published shapes."""

import re
from dataclasses import replace

import pytest
import torch

from hf_zhclip.conversion.detection.parts import describe

from tests import published

# As IDEA-CCNL's cards name the two.
NAMES = {
    "taiyi-102m": "Taiyi-CLIP-Roberta-102M with CLIP ViT 768x12/32",
    "taiyi-326m": "Taiyi-CLIP-Roberta-large-326M with CLIP ViT 1024x24/14",
    "taiyi-102m-vit-l": "Taiyi-CLIP-RoBERTa-102M-ViT-L with CLIP ViT 1024x24/14",
    "taiyi-326m-vit-h": "Taiyi-CLIP-RoBERTa-326M-ViT-H with CLIP ViT 1280x32/14",
}
PATCHES = "vision_model.embeddings.patch_embedding.weight"
POSITIONS = "vision_model.embeddings.position_embedding.weight"


@pytest.mark.parametrize("name", NAMES)
def test_a_published_pair_bears_its_name(name, tmp_path):
    assert describe(published.parts(name, tmp_path)).architecture == NAMES[name]


def with_layers(part, prefix, count, config):
    """The part with the first layers of a tower alone."""
    layer = re.compile(re.escape(prefix) + r"(\d+)\.")
    tensors = {
        key: tensor
        for key, tensor in part.checkpoint.tensors.items()
        if not (found := layer.match(key)) or int(found[1]) < count
    }
    return replace(part, checkpoint=replace(part.checkpoint, tensors=tensors), config=config)


def test_of_fewer_text_layers_the_pair_is_called_by_what_it_is(tmp_path):
    text, image = published.parts("taiyi-102m", tmp_path)
    text = with_layers(text, "bert.encoder.layer.", 3, {**text.config, "num_hidden_layers": 3})
    assert describe([text, image]).architecture == "Taiyi-CLIP text 768x3 with CLIP ViT 768x12/32"


def test_another_image_tower_of_the_same_width_does_not_bear_the_published_name(tmp_path):
    """openai/clip-vit-base-patch16 ends in 512 numbers, too."""
    text, _ = published.parts("taiyi-102m", tmp_path)
    image = published.part("hf_clip-vit-base-patch16", tmp_path, "image")
    assert describe([text, image]).architecture == "Taiyi-CLIP text 768x12 with CLIP ViT 768x12/16"


def test_a_larger_picture_of_the_same_tower_does_not_bear_the_published_name(tmp_path):
    text, _ = published.parts("taiyi-326m", tmp_path)
    image = published.part("hf_clip-vit-large-patch14-336", tmp_path, "image")
    assert describe([text, image]).architecture == "Taiyi-CLIP text 1024x24 with CLIP ViT 1024x24/14"


def test_more_rows_than_the_published_vocabulary_do_not_bear_the_published_name(tmp_path):
    text, image = published.parts("taiyi-102m", tmp_path)
    rows = "bert.embeddings.word_embeddings.weight"
    tensors = {**text.checkpoint.tensors, rows: torch.empty((21136, 768), device="meta")}
    text = replace(
        text, checkpoint=replace(text.checkpoint, tensors=tensors), config={**text.config, "vocab_size": 21136}
    )
    assert describe([text, image]).architecture == "Taiyi-CLIP text 768x12 with CLIP ViT 768x12/32"


def test_a_text_part_alone_bears_no_published_name(tmp_path):
    text, _ = published.parts("taiyi-102m", tmp_path)
    assert text.describe().architecture == "Taiyi-CLIP text 768x12"
