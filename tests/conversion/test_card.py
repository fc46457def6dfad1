"""The card that a converted repo brings."""

import re

from huggingface_hub import ModelCard


def test_the_card_names_the_source_the_level_and_the_limits_of_its_tokenizer(repo):
    card = ModelCard.load(repo("cn_clip_vit").path / "README.md")
    assert card.data.pipeline_tag == "zero-shot-image-classification"
    assert card.data.language == "zh"
    assert "epoch3.pt (cn_clip)" in card.text
    assert "independent reference" in card.text
    assert "52 tokens" in card.text
    assert "U+1171E" in card.text and "Lone surrogates" in card.text and "curly quotes" in card.text
    assert not re.search(r"[{}]", card.text), "a field of the template was left open"


def test_the_card_of_a_taiyi_model_says_how_padding_is_treated(repo):
    card = ModelCard.load(repo("taiyi_head").path / "README.md")
    assert "text_attends_to_padding" in card.text
