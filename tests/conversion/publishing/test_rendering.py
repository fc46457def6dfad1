"""What a card says, in two languages, of whatever is known of its model."""

import ast
import re
import shlex
from dataclasses import replace
from importlib import resources
from types import SimpleNamespace

import pytest
from huggingface_hub import ModelCard

from hf_zhclip.conversion import card
from hf_zhclip.conversion.publishing import rendering
from hf_zhclip.conversion.publishing.cards import write_card
from hf_zhclip.conversion.publishing.rendering import render, render_entry
from hf_zhclip.conversion.publishing.unverified import FAILED
from hf_zhclip.conversion.reading import catalogue
from hf_zhclip.conversion.repos.doors import remove_code
from hf_zhclip.conversion.repos.report import FILE, read_report
from hf_zhclip.conversion.repos.write import write_json

from tests.conversion.publishing.reading import (
    BLOCK,
    FAMILIES,
    as_published,
    check_header,
    fine_tune,
    halves,
    header,
    text_of,
)

HOSTILE = "a|b `c` \"d\" [e](f): #g 'h' {{ i }} 名字"


def test_the_card_of_an_english_model_says_so_and_shows_english_texts(repo):
    folder = repo("hf_clip").path
    chinese, english = halves(text_of(folder))
    data = header(folder)
    assert data["language"] == ["en"] and "chinese" not in data["tags"]
    assert "a dual encoder for English texts" in english and "英文图文双塔模型" in chinese
    assert "trained on English" in english and "训练语言是英文" in chinese
    assert "`<|startoftext|>` and `<|endoftext|>` included" in english and "[CLS]" not in text_of(folder)
    assert '"Squirtle"' in english and "杰尼龟" not in text_of(folder)
    assert "the text tower is causal" in english and "文本塔是因果的" in chinese
    assert "`CLIPModel` computes exactly" in english


@pytest.mark.parametrize("family", FAMILIES)
def test_a_card_says_the_same_in_both_languages(family, repo):
    text = text_of(repo(family).path)
    chinese, english = halves(text)
    assert BLOCK.findall(chinese) == BLOCK.findall(english)
    assert outline(chinese) == outline(english)
    assert numbers(chinese) == numbers(english)
    assert "英文原文" not in text, "a sentence has no Chinese"
    assert not re.search(r"\{\{|\{%|None|undefined", BLOCK.sub("", text)), "a field of the template was left open"
    check_header(header(repo(family).path))


def outline(half):
    """The level of each heading, the columns of each row, and that an item of a list is one, outside blocks."""
    lines = [line for line in BLOCK.sub("", half).splitlines() if line.startswith(("#", "|", "- ", ">"))]
    return ["".join(re.findall(r"^#+|^-|^>|\|", line)) for line in lines]


def numbers(half):
    """Every number with a point or of three digits and more, outside blocks."""
    return sorted(re.findall(r"\d[\d,]*\.\d+(?:e-\d+)?|\d{3,}", BLOCK.sub("", half)))


def test_a_card_names_origin_level_lengths_and_limits(repo):
    folder = repo("cn_clip_vit").path
    report, (chinese, english) = read_report(folder), halves(text_of(folder))
    digest = report.sources[0]["files"]["epoch3.pt"]
    for half in (chinese, english):
        assert "zhclip convert epoch3.pt cn_clip_vit --config facts.json" in half
        assert "zhclip verify cn_clip_vit --against epoch3.pt --config facts.json" in half
        assert digest in half and f"transformers {report.versions['transformers']}" in half
        assert "`reference`" in half and "U+1171E" in half and "0.3" in half and "1.0" in half
    assert "at most 52 tokens" in english and "has 64 positions" in english and "850,497 parameters" in english
    assert "最长 52 个词元" in chinese and "共有 64 个位置" in chinese
    assert "resized to a square in the file's own colour mode" in english
    assert "converted from the original weights" in english and "从原始权重转换而来" in chinese
    assert "license" not in header(folder) and "### Licence\n\nNot known" in english


@pytest.mark.parametrize(
    ("family", "native", "home"),
    [
        ("cn_clip_vit", "`ChineseCLIPModel`", True),
        ("cn_clip_resnet", "modified ResNet", True),
        ("bert_clip", "`VisionTextDualEncoderModel`", False),
        ("taiyi_head", "the bias of the text projection", False),
        ("taiyi_plain", "`VisionTextDualEncoderModel`", False),
    ],
)
def test_only_the_doors_that_are_open_have_a_block(family, native, home, repo):
    english = halves(text_of(repo(family).path))[1]
    assert native in english
    assert ("--to transformers" in english) == native.startswith("`")
    assert ("--to cn_clip" in english) == home
    assert "zhclip convert --with-code" not in english and "trust_remote_code=True, device_map" in english


def test_a_repo_without_code_has_no_block_for_those_who_trust_it(copy):
    folder = copy()
    remove_code(folder)
    english = halves(render(folder, repo="cn_clip_vit"))[1]
    assert "zhclip convert --with-code" in english and "trust_remote_code=True, device_map" not in english


def test_a_card_for_the_hub_loads_from_there_and_downloads_before_it_exports(repo):
    text = render(repo("cn_clip_vit").path, repo="somebody/my-clip")
    assert 'AutoModel.from_pretrained("somebody/my-clip"' in text and "# my-clip" in text
    assert "hf download somebody/my-clip --local-dir my-clip\nzhclip export my-clip my-clip-native" in text


def test_why_it_is_not_verified_stands_at_the_top_of_both_halves(repo):
    text = render(repo("cn_clip_vit").path, repo="a/b", unverified=FAILED)
    chinese, english = halves(text)
    assert english.count("Why: its verification failed") == 1 and chinese.count("原因：它没有通过验证") == 1
    assert not re.search("^(Verified|已验证)", text, re.MULTILINE)


def test_a_repo_whose_tensors_alone_were_compared_is_not_called_verified(copy):
    folder = copy()
    write_json(folder / FILE, replace(read_report(folder), level="tensors").to_json())
    chinese, english = halves(render(folder, repo="x"))
    assert "> **Not verified**" in english and "Verified:" not in english
    assert "已验证：" not in chinese


def test_a_fine_tuned_repo_is_not_called_verified_and_is_made_from_what_the_report_names(copy):
    folder = as_published(copy(), "ViT-L-14")
    card(folder)
    assert header(folder)["base_model_relation"] == "quantized"
    fine_tune(folder)
    card(folder)
    data, (chinese, english) = header(folder), halves(text_of(folder))
    assert "model.safetensors" in english and "Verified:" not in english and "已验证：" not in chinese
    assert "| tensors |" not in english and "SHA-256" in english
    assert "converted from" not in english and "转换而来，用的是" not in chinese
    assert data["base_model"] == ["OFA-Sys/chinese-clip-vit-large-patch14"]
    assert data["base_model_relation"] == "finetune"
    assert "model-index" not in data and "56.3" not in english


def test_a_repo_without_a_report_says_so(copy):
    folder = copy()
    (folder / FILE).unlink()
    card(folder)
    chinese, english = halves(text_of(folder))
    assert "No conversion report: not verified" in english and "没有转换报告：未经验证" in chinese
    assert "This repository holds it as safetensors.\n" in english and "converted from" not in english
    assert "本仓库采用 safetensors 格式。\n" in chinese and "转换而来" not in chinese


def test_a_published_checkpoint_brings_licence_figures_and_citation(copy):
    folder = as_published(copy(), "ViT-L-14")
    card(folder)
    data, english = header(folder), halves(text_of(folder))[1]
    check_header(data)
    assert data["license"] == "mit" and data["base_model"] == ["OFA-Sys/chinese-clip-vit-large-patch14"]
    (index,) = data["model-index"]
    metrics = [metric for result in index["results"] for metric in result["metrics"]]
    # MUGE 4, and 3 each way of two others; the fine-tuned figures are of other weights.
    assert len(metrics) == 16 and all(metric["verified"] is False for metric in metrics)
    assert metrics[0] == {
        "type": "recall",
        "name": "text-to-image retrieval, zero-shot: R@1",
        "value": 56.3,
        "verified": False,
    }
    assert all("modelscope.cn" in result["source"]["url"] for result in index["results"])
    assert "| text-to-image retrieval | MUGE | validation | fine-tuned | R@1 63.3 · R@5 85.6" in english
    assert "arXiv:2211.01335" in english and "Apache-2.0" in english and "issues/234" in english
    assert "0" * 40 in english


def test_a_pair_is_made_from_both_of_its_parts(copy):
    folder = as_published(copy("taiyi_head"), "Taiyi-CLIP-Roberta-102M")
    card(folder)
    parts = ["IDEA-CCNL/Taiyi-CLIP-Roberta-102M-Chinese", "openai/clip-vit-base-patch32"]
    assert header(folder)["base_model"] == parts
    assert f"--against {parts[0]} --vision {parts[1]} --format taiyi" in text_of(folder)


def test_casing_is_said_once(repo):
    for family in FAMILIES:
        chinese, english = halves(text_of(repo(family).path))
        assert (english.count("lower-cased"), chinese.count("小写")) == (1, 1), family


def test_a_card_of_the_catalogue_follows_its_facts_and_not_its_name():
    entry = catalogue.find("ViT-B-16")
    cased = replace(catalogue.find("BertCLIP"), text=replace(entry.text, lower_case=False))
    pooled = replace(entry, text=replace(entry.text, pooling="pooler"))
    cropped = replace(entry, image=replace(entry.image, order="rgb_then_crop"))
    renamed = replace(entry, format="bert_clip")
    homes = ["--to cn_clip" in render_entry(each) for each in (entry, renamed, pooled, cropped)]
    assert homes == [True, True, False, False]
    assert "lower-cased" not in render_entry(cased)


def test_where_hf_zhclip_is_to_be_had_is_stated_in_one_place(repo, tmp_path, monkeypatch):
    template = (resources.files(catalogue.PACKAGE) / "template.md").read_text(encoding="utf-8")
    unknown = '{%- set address = "" -%}'
    assert template.count(unknown) == 1
    text = text_of(repo("cn_clip_vit").path)
    assert text.count("pip install .") == 2 and "no published address yet" in text and "尚未公开发布" in text
    known = template.replace(unknown, '{%- set address = "https://example.org/hf_zhclip" -%}')
    (tmp_path / "template.md").write_text(known, encoding="utf-8")
    monkeypatch.setattr(rendering, "resources", SimpleNamespace(files=lambda package: tmp_path))
    text = render(repo("cn_clip_vit").path, repo="x")
    assert text.count("`pip install git+https://example.org/hf_zhclip`") == 2
    assert "no published address yet" not in text and "尚未公开发布" not in text


def test_hostile_names_break_neither_header_nor_tables_nor_blocks(copy):
    folder = copy()
    report = read_report(folder)
    sources = [{**report.sources[0], "name": HOSTILE, "files": {HOSTILE: "0" * 64}}]
    conversion = {**report.conversion, "architecture": HOSTILE, "command": shlex.join(["zhclip", "convert", HOSTILE])}
    text_report = replace(report, sources=sources, conversion=conversion)
    write_card(folder, text_report, HOSTILE)
    text = text_of(folder)
    assert ModelCard(text).data.pipeline_tag == "zero-shot-image-classification"
    rows = [line for line in BLOCK.sub("", text).splitlines() if line.startswith("|") and "名字" in line]
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [6, 6]
    for language, block in BLOCK.findall(text):
        if language == "python" and "hf_zhclip" in block:
            strings = [node.value for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Constant)]
            assert HOSTILE in strings
        if language == "bash":
            assert HOSTILE in shlex.split(block)


def test_a_name_with_a_fence_ends_no_block(copy):
    folder = copy()
    fence = "a\n```\n# forged\n```text\n"
    report = read_report(folder)
    command = shlex.join(["zhclip", "convert", fence, fence])
    sources = [{**report.sources[0], "name": fence, "hub": None, "files": {fence: "0" * 64}}]
    conversion = {**report.conversion, "architecture": fence, "command": command}
    write_card(folder, replace(report, sources=sources, conversion=conversion), fence)

    lines = text_of(folder).splitlines()
    assert [line for line in lines if line.startswith("# forged")] == []
    assert len([line for line in lines if line == "```"]) == len([line for line in lines if re.match("```.", line)])
