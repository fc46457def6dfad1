"""What is said of published checkpoints beyond their keys: names, and facts that no weight file holds."""

import pytest

from hf_zhclip.conversion.detection.parts import describe

from tests.published import KEYS, parts


@pytest.mark.parametrize("name", [name for name in KEYS if KEYS[name]["format"] == "cn_clip"])
def test_a_published_cn_clip_size_is_named_without_any_config(name, tmp_path):
    description = describe(parts(name, tmp_path))
    assert description.architecture == KEYS[name]["architecture"]


@pytest.mark.parametrize(
    ("name", "text_heads", "vision_heads", "size"),
    [
        ("cn_clip-vit-b-16", 12, 12, 224),
        ("cn_clip-vit-b-32", 12, 12, 224),
        ("cn_clip-vit-l-14", 12, 16, 224),
        ("cn_clip-vit-l-14-336", 12, 16, 336),
        ("cn_clip-vit-h-14", 16, 16, 224),
        ("cn_clip-rn50", 12, 32, 224),
        ("modelscope-vit-b-16", 12, 12, 224),
        ("modelscope-vit-l-14", 12, 16, 224),
        ("modelscope-vit-l-14-336", 12, 16, 336),
        ("modelscope-vit-h-14", 16, 16, 224),
    ],
)
def test_the_facts_that_no_weight_file_holds_are_the_published_ones(name, text_heads, vision_heads, size, tmp_path):
    description = describe(parts(name, tmp_path))
    assert description.text.config["num_attention_heads"] == text_heads
    assert description.vision.config["num_attention_heads"] == vision_heads
    assert description.image_size == size
