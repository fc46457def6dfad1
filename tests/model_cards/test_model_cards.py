"""The cards of the published checkpoints: in step with the template, and fit for the hub."""

import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from hf_zhclip.conversion.publishing.card_file import is_generated
from hf_zhclip.conversion.publishing.hub_values import LANGUAGES, LIBRARIES, LICENSES, PIPELINE_TAGS, RELATIONS
from hf_zhclip.conversion.publishing.rendering import render_entry
from hf_zhclip.conversion.reading import catalogue

FOLDER = Path(__file__).parents[2] / "model_cards"
NAMES = sorted(entry.name for entry in catalogue.entries())


def text_of(name: str) -> str:
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8")


def test_there_is_a_card_for_each_entry_and_no_other():
    others = {"template.md", "README.md", "README.zh-CN.md"}
    assert sorted(path.stem for path in FOLDER.glob("*.md") if path.name not in others) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_card_is_what_the_template_makes_of_its_entry(name):
    assert text_of(name) == render_entry(catalogue.find(name)), (
        "run python -m hf_zhclip.conversion.publishing.cards model_cards"
    )
    assert is_generated(text_of(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_header_holds_only_what_the_hub_knows(name):
    data, entry = ModelCard(text_of(name)).data.to_dict(), catalogue.find(name)
    assert data["pipeline_tag"] in PIPELINE_TAGS and data["library_name"] in LIBRARIES
    assert tuple(data["language"]) == entry.languages
    # `multilingual` is the hub's own word, beside the codes of ISO 639.
    assert set(data["language"]) <= {*LANGUAGES, "multilingual"} and ("chinese" in data["tags"]) == (
        "zh" in data["language"]
    )
    assert data.get("license", "other") in LICENSES and data.get("license") == entry.license.id
    # The hub links a base model to its own page: what is published elsewhere can't be named there.
    elsewhere = entry.published.repo.startswith(("modelscope:", "https://"))
    assert ("base_model" in data) == ("base_model_relation" in data) == (not elsewhere)
    assert data.get("base_model_relation", "quantized") in RELATIONS
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+", base) for base in data.get("base_model", ()))
    results = [result for each in data.get("model-index", ()) for result in each["results"]]
    assert all(result["task"]["type"] in PIPELINE_TAGS and result["source"]["url"] for result in results)


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_that_nobody_has_verified_it_and_how_to(name):
    text, entry = text_of(name), catalogue.find(name)
    assert "No conversion report: not verified" in text and "没有转换报告：未经验证" in text
    command = f"zhclip convert {name} {name}\n"
    if entry.published.repo.startswith("https://"):
        command = f"zhclip convert {entry.published.file} {name} --format {entry.format}\n"
        assert text.count(f"[{entry.published.file}]({entry.published.repo})") == 2
    assert text.count(command) == 2
    blocks = re.findall(r"^```\w+\n.*?^```$", text, re.MULTILINE | re.DOTALL)
    chinese, english = text.split("\n## English\n")
    assert (chinese.count("小写"), english.count("lower-cased")) == (entry.text.lower_case,) * 2
    assert "英文原文" not in chinese
    assert ("--to cn_clip" in text) == (entry.format in ("cn_clip", "modelscope"))
    assert blocks[: len(blocks) // 2] == blocks[len(blocks) // 2 :]


def test_the_card_of_a_text_tower_alone_says_what_it_can_not_do_in_both_languages():
    text = text_of("bert-from-clip-chinese-1M")
    chinese, english = text.split("\n## English\n")
    data = ModelCard(text).data
    assert data.pipeline_tag == "feature-extraction" and data.tags == ["hf_zhclip", "bert", "chinese", "safetensors"]
    assert "单独的文本塔（mengzi-bert-base，102,267,648 个参数，状态维度 768）" in chinese
    assert "a text tower by itself (mengzi-bert-base, 102,267,648 parameters, states of 768)" in english
    assert "### 它不能做什么" in chinese and "它的向量与图片不在同一个空间里" in chinese
    assert "### What it can't do" in english and "its vectors stand in no space with pictures" in english
    for half in (chinese, english):
        assert "AutoTokenizer" in half and "ZhCLIPTextModelWithProjection" in half
        assert not any(
            word in half for word in ("AutoProcessor", "SentenceTransformer(", "cn_clip", "pokemon", "None")
        )
