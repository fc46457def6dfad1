"""The cards of the published checkpoints: in step with the template, and fit for the hub."""

import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from hf_zhclip.conversion import cards, catalogue
from hf_zhclip.conversion.hub_values import LANGUAGES, LIBRARIES, LICENSES, PIPELINE_TAGS, RELATIONS

FOLDER = Path(__file__).parents[2] / "model_cards"
NAMES = sorted(entry.name for entry in catalogue.entries())


def text_of(name: str) -> str:
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8")


def test_there_is_a_card_for_each_entry_and_no_other():
    assert sorted(path.stem for path in FOLDER.glob("*.md") if path.name != "template.md") == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_card_is_what_the_template_makes_of_its_entry(name):
    assert text_of(name) == cards.render_entry(catalogue.find(name)), (
        "run python -m hf_zhclip.conversion.cards model_cards"
    )
    assert cards.is_generated(text_of(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_header_holds_only_what_the_hub_knows(name):
    data = ModelCard(text_of(name)).data.to_dict()
    assert data["pipeline_tag"] in PIPELINE_TAGS and data["library_name"] in LIBRARIES
    assert data["language"] == (["en"] if name.startswith("clip-vit-") and "chinese" not in name else ["zh"])
    assert set(data["language"]) <= LANGUAGES and ("chinese" in data["tags"]) == ("zh" in data["language"])
    assert data.get("license", "other") in LICENSES and ("license" in data) == (not name.startswith("clip-vit-"))
    assert data["base_model_relation"] in RELATIONS and all("/" in base for base in data["base_model"])
    results = [result for each in data.get("model-index", ()) for result in each["results"]]
    assert all(result["task"]["type"] in PIPELINE_TAGS and result["source"]["url"] for result in results)


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_that_nobody_has_verified_it_and_how_to(name):
    text = text_of(name)
    assert "No conversion report: not verified" in text and "没有转换报告：未经验证" in text
    assert text.count(f"zhclip convert {name} {name}\n") == 2
    blocks = re.findall(r"^```\w+\n.*?^```$", text, re.MULTILINE | re.DOTALL)
    chinese, english = text.split("\n## English\n")
    assert (chinese.count("小写"), english.count("lower-cased")) == (1, 1)
    assert "英文原文" not in chinese
    assert ("--to cn_clip" in text) == (name.startswith(("chinese-clip", "QA-CLIP")) and not name.endswith("-hf"))
    assert blocks[: len(blocks) // 2] == blocks[len(blocks) // 2 :]
