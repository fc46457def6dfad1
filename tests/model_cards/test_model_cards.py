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


@pytest.mark.quick(15)
@pytest.mark.parametrize("name", NAMES)
def test_a_card_is_what_the_template_makes_of_its_entry(name):
    assert text_of(name) == render_entry(catalogue.find(name)), (
        "run python -m hf_zhclip.conversion.publishing.cards model_cards"
    )
    assert is_generated(text_of(name))


@pytest.mark.quick(15)
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
def test_a_card_says_how_its_repository_is_made_and_nothing_that_reads_as_a_defect(name):
    text, entry = text_of(name), catalogue.find(name)
    assert not re.search("没有转换报告|未经验证|No conversion report|[Nn]ot verified", text)
    command = f"```bash\nzhclip convert {name} {name}\n```\n"
    if entry.published.repo.startswith("https://"):
        command = f"```bash\nzhclip convert {entry.published.file} {name} --format {entry.format}\n```\n"
        assert text.count(f"[{entry.published.file}]({entry.published.repo})") == 2
    assert text.count(command) == 1
    assert (text.count("小写"), text.count("lower-cased")) == (entry.text.lower_case,) * 2
    assert "英文原文" not in text
    assert ("--to cn_clip" in text) == (entry.format in ("cn_clip", "modelscope"))


@pytest.mark.parametrize("name", NAMES)
def test_a_card_is_read_in_a_minute(name):
    text = text_of(name)
    assert len(text.splitlines()) < 120
    top = text.split("\n## ")[0]
    assert top.count("\n- **") == 3 and "**用途**：" in top
    assert "**效果**：" in top if catalogue.find(name).figures else "**规模**：" in top
    assert top.count("trust_remote_code=True") == 2 and "hf_zhclip" not in top.split("\n# ")[1]
    assert text.count("<details>") == text.count("</details>") and "{{" not in text


@pytest.mark.parametrize("name", NAMES)
def test_the_metadata_holds_published_figures_with_their_source_and_date_and_no_others(name):
    data, entry = ModelCard(text_of(name)).data.to_dict(), catalogue.find(name)
    results = [result for each in data.get("model-index", ()) for result in each["results"]]
    found = [metric["value"] for result in results for metric in result["metrics"]]
    published = [
        float(value.rstrip("%"))
        for figures in entry.figures
        for row in figures.rows
        if row.setup == "zero-shot"
        for value in row.values.values()
    ]
    assert sorted(found) == sorted(published)
    dated = {(figures.url, f"{figures.name}, {figures.date}") for figures in entry.figures}
    named = {(result["source"]["url"], result["source"]["name"].partition(", measured")[0]) for result in results}
    assert named == dated


def test_the_example_for_the_hub_is_the_picture_of_its_own_documentation():
    (example,) = ModelCard(text_of("chinese-clip-rn50")).data.widget
    assert example["src"] == "https://huggingface.co/datasets/mishig/sample_images/resolve/main/cat-dog-music.png"
    assert example["candidate_labels"] == "演奏音乐, 体育运动"
    (english,) = ModelCard(text_of("openai-RN50")).data.widget
    assert english["candidate_labels"] == "playing music, playing sports"
    assert ModelCard(text_of("bert-from-clip-chinese-1M")).data.to_dict().get("widget") is None


def test_the_card_of_a_text_tower_alone_says_what_it_can_not_do_in_both_languages():
    text = text_of("bert-from-clip-chinese-1M")
    chinese, english = text.split("<details><summary>English</summary>")
    data = ModelCard(text).data
    assert data.pipeline_tag == "feature-extraction" and data.tags == ["hf_zhclip", "bert", "chinese", "safetensors"]
    assert "单独的文本塔（mengzi-bert-base）" in chinese and "102,267,648 个参数，状态维度 768" in chinese
    assert (
        "a text tower by itself (mengzi-bert-base)" in english and "102,267,648 parameters, states of 768" in english
    )
    assert "## 它不能做什么" in chinese and "它的向量与图片不在同一个空间里" in chinese
    assert "**What it can't do**" in english and "its vectors cannot be compared with image vectors" in english
    assert "AutoTokenizer" in chinese
    for half in (chinese, english):
        assert "ZhCLIPTextModelWithProjection" in half
        assert not any(
            word in half for word in ("AutoProcessor", "SentenceTransformer(", "cn_clip", "pokemon", "None")
        )
