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
from hf_zhclip.conversion.publishing.card_header import NOTHING_STATED
from hf_zhclip.conversion.publishing.cards import write_card
from hf_zhclip.conversion.publishing.markdown import sentence
from hf_zhclip.conversion.publishing.model_facts import model_of_folder
from hf_zhclip.conversion.publishing.rendering import render, render_entry
from hf_zhclip.conversion.publishing.unverified import FAILED
from hf_zhclip.conversion.reading import catalogue
from hf_zhclip.conversion.repos.doors import remove_code
from hf_zhclip.conversion.repos.report import FILE, read_report
from hf_zhclip.conversion.repos.write import write_json

from tests import checkpoints
from tests.conversion.publishing.reading import (
    BLOCK,
    ENGLISH,
    FAMILIES,
    LONGEST,
    as_published,
    check_header,
    fine_tune,
    folds,
    halves,
    header,
    line_count,
    shared,
    text_of,
)

INPUTS = "输入、限制与其他读取方式 · Inputs, limits, other readers"
PUBLISHED = "公布的结果、引用与链接 · Published results, citation, links"
HOSTILE = "a|b `c` \"d\" [e](f): #g 'h' {{ i }} 名字"


def test_the_card_of_an_english_model_says_so_and_shows_english_texts(repo):
    folder = repo("hf_clip").path
    chinese, english = halves(text_of(folder))
    data = header(folder)
    assert data["language"] == ["en"] and "chinese" not in data["tags"]
    assert "a dual encoder for English texts" in english and "英文图文双塔模型" in chinese
    assert "用英文搜图" in chinese and "to search pictures with English texts" in english
    both = shared(text_of(folder))
    assert "`<|startoftext|>` and `<|endoftext|>` included" in both and "[CLS]" not in text_of(folder)
    assert '["red", "green", "blue"]' in chinese and "红色" not in text_of(folder)
    assert "the text tower is causal" in both and "文本塔是因果的" in both
    assert "`CLIPModel` computes exactly" in both


@pytest.mark.parametrize("family", FAMILIES)
def test_a_card_says_the_same_in_both_languages(family, repo):
    text = text_of(repo(family).path)
    chinese, english = halves(text)
    assert len(BLOCK.findall(chinese)) == 2 and BLOCK.findall(english) == []  # the English text names them
    assert numbers(chinese) == numbers(english)
    for line in shared(text).splitlines():
        zh, between, en = line.partition("<br>")
        assert not between or numbers(zh) == numbers(en) or "|" in line or "`zhclip" in line, line
    assert "英文原文" not in text, "a sentence has no Chinese"
    assert not re.search(r"\{\{|\{%|None|undefined", BLOCK.sub("", text)), "a field of the template was left open"
    check_header(header(repo(family).path))


def numbers(half):
    """Every number with a point or of three digits and more, outside blocks."""
    return sorted(re.findall(r"\d[\d,]*\.\d+(?:e-\d+)?|\d{3,}", BLOCK.sub("", half)))


def test_a_card_names_origin_level_lengths_and_limits(repo):
    folder = repo("cn_clip_vit").path
    report, (chinese, english) = read_report(folder), halves(text_of(folder))
    verification, inputs = (folds(text_of(folder))[title] for title in ("验证 · Verification", INPUTS))
    digest = report.sources[0]["files"]["epoch3.pt"]
    assert "`zhclip convert epoch3.pt cn_clip_vit --config facts.json`" in verification
    assert "`zhclip verify cn_clip_vit --against epoch3.pt --config facts.json`" in verification
    assert digest in verification and f"transformers {report.versions['transformers']}" in verification
    assert "`reference`" in verification and "U+1171E" in inputs
    for half in (chinese, english):
        assert "0.3" in half and "1.0" in half
    assert "at most 52 tokens" in inputs and "has 64 positions" in inputs and "850,497 parameters" in english
    assert "最长 52 个词元" in inputs and "共有 64 个位置" in inputs
    assert "resized to a square in the file's own colour mode" in inputs
    assert (
        "**核对**：向量与原模型最多相差 " in chinese
        and "**Check**: its vectors differ from the vectors of the original" in english
    )
    assert "license" not in header(folder) and "**Licence**: Not known" in english and "**许可证**：未知" in chinese


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
    inputs = folds(text_of(repo(family).path))[INPUTS]
    assert native in inputs
    assert ("--to transformers" in inputs) == native.startswith("`")
    assert ("--to cn_clip" in inputs) == home


def test_the_block_of_a_repo_with_code_trusts_it_and_another_imports_hf_zhclip(copy):
    folder = copy()
    trusting = render(folder, repo="cn_clip_vit")
    remove_code(folder)
    bare = render(folder, repo="cn_clip_vit")
    first_bare, first_trusting = (BLOCK.search(text)[2] for text in (bare, trusting))
    assert first_trusting.count("trust_remote_code=True") == 2 and "hf_zhclip" not in first_trusting
    assert "import hf_zhclip\n" in first_bare.replace("  # registers the classes", "")
    assert "trust_remote_code" not in bare and "SentenceTransformer(repo).encode(texts)" in bare
    assert "SentenceTransformer(repo, trust_remote_code=True).encode(texts)" in trusting


def test_a_card_for_the_hub_loads_from_there_and_downloads_before_it_exports(repo):
    text = render(repo("cn_clip_vit").path, repo="somebody/my-clip")
    assert 'repo = "somebody/my-clip"\n' in text and "# my-clip" in text
    inputs = folds(text)[INPUTS]
    assert inputs.index("`hf download somebody/my-clip --local-dir my-clip`") < inputs.index("`zhclip export my-clip ")


def test_why_it_is_not_verified_stands_before_the_first_block_in_both_languages(repo):
    text = render(repo("cn_clip_vit").path, repo="a/b", unverified=FAILED)
    top = text[: BLOCK.search(text).start()]
    assert "Why: its verification failed" in top and "原因：它没有通过验证" in top
    assert text.count("its verification failed") == text.count("它没有通过验证") == 1 and "**核对**" not in text
    assert not re.search("^(Verified|已验证)", text, re.MULTILINE)


def test_a_repo_whose_tensors_alone_were_compared_is_not_called_verified(copy):
    folder = copy()
    write_json(folder / FILE, replace(read_report(folder), level="tensors").to_json())
    text = render(folder, repo="x")
    assert "> **Not verified / 未经验证**" in text and "Verified:" not in text
    assert "已验证：" not in text and "**核对**" not in text


def test_a_fine_tuned_repo_is_not_called_verified_and_is_made_from_what_the_report_names(copy):
    folder = as_published(copy(), "ViT-L-14")
    card(folder)
    assert header(folder)["base_model_relation"] == "quantized"
    fine_tune(folder)
    card(folder)
    data, text = header(folder), text_of(folder)
    assert "model.safetensors" in text and "Verified:" not in text and "已验证：" not in text
    assert "| 张量" not in text and "SHA-256" in text and "**核对**" not in text and "**规模**" in text
    assert data["base_model"] == ["OFA-Sys/chinese-clip-vit-large-patch14"]
    assert data["base_model_relation"] == "finetune"
    assert "model-index" not in data and "56.3" not in text


def test_a_repo_without_a_report_says_so(copy):
    folder = copy()
    (folder / FILE).unlink()
    card(folder)
    text = text_of(folder)
    assert "原因：没有 conversion_report.json<br>" in text and "Why: there is no conversion_report.json" in text
    assert "验证 · Verification" not in folds(text)


def test_a_published_checkpoint_brings_licence_figures_and_citation(copy):
    folder = as_published(copy(), "ViT-L-14")
    card(folder)
    data, (chinese, english) = header(folder), halves(text_of(folder))
    published = folds(text_of(folder))[PUBLISHED]
    check_header(data)
    assert data["license"] == "mit" and data["base_model"] == ["OFA-Sys/chinese-clip-vit-large-patch14"]
    (index,) = data["model-index"]
    metrics = [metric for result in index["results"] for metric in result["metrics"]]
    # MUGE 4, 3 each way of two others, and 11 classifications; the fine-tuned figures are of other weights.
    assert len(metrics) == 27 and all(metric["verified"] is False for metric in metrics)
    assert metrics[0] == {
        "type": "recall",
        "name": "text-to-image retrieval, zero-shot: R@1",
        "value": 56.3,
        "verified": False,
    }
    (source,) = {tuple(result["source"].items()) for result in index["results"]}
    assert "Results.md" in dict(source)["url"] and "2022-12-23, measured by the authors" in dict(source)["name"]
    assert "**效果**：MUGE 以文搜图（零样本）R@1 56.3（[Results.md of Chinese-CLIP](" in chinese
    assert "2022-12-23，由原作者测得）" in chinese and "2022-12-23, measured by the authors)" in english
    assert "| MUGE validation: R@1 / R@5 / R@10 / MR | 56.3 / 79.8 / 86.2 / 74.1 | 63.3 / 85.6 /" in published
    assert "arXiv:2211.01335" in published and "Apache-2.0" in english and "issues/234" in english
    assert "0" * 40 in folds(text_of(folder))["验证 · Verification"]


def test_a_pair_is_made_from_both_of_its_parts(copy):
    folder = as_published(copy("taiyi_head"), "Taiyi-CLIP-Roberta-102M")
    card(folder)
    parts = ["IDEA-CCNL/Taiyi-CLIP-Roberta-102M-Chinese", "openai/clip-vit-base-patch32"]
    assert header(folder)["base_model"] == parts
    assert f"--against {parts[0]} --vision {parts[1]} --format taiyi" in text_of(folder)


def test_casing_is_said_once(repo):
    for family in FAMILIES:
        text = text_of(repo(family).path)
        assert (text.count("lower-cased"), text.count("小写")) == (1, 1), family


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
    assert text.count("pip install .") == 2
    known = template.replace(unknown, '{%- set address = "https://example.org/hf_zhclip" -%}')
    (tmp_path / "template.md").write_text(known, encoding="utf-8")
    monkeypatch.setattr(rendering, "resources", SimpleNamespace(files=lambda package: tmp_path))
    text = render(repo("cn_clip_vit").path, repo="x")
    assert text.count("`pip install git+https://example.org/hf_zhclip`") == 2
    assert "pip install ." not in text


def test_hostile_names_break_neither_header_nor_tables_nor_blocks(copy):
    folder = copy()
    report = read_report(folder)
    sources = [{**report.sources[0], "name": HOSTILE, "files": {HOSTILE: "0" * 64}}]
    conversion = {**report.conversion, "architecture": HOSTILE, "command": shlex.join(["zhclip", "convert", HOSTILE])}
    text_report = replace(report, sources=sources, conversion=conversion)
    write_card(folder, text_report, HOSTILE)
    text = text_of(folder)
    assert ModelCard(text).data.pipeline_tag == "zero-shot-image-classification"
    block = BLOCK.search(text)[2]
    assert HOSTILE in [node.value for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Constant)]
    spans = re.findall(r"(?<!`)(`+)(?!`)(.*?)(?<!`)\1(?!`)", shared(text))
    commands = [shlex.split(span) for _, span in spans if span.strip().startswith("zhclip")]
    assert len(commands) == 4 and all(HOSTILE in words or f"{HOSTILE}.pt" in words for words in commands)
    assert list(folds(text)) == [ENGLISH, INPUTS, "验证 · Verification"]


def test_a_name_with_a_fence_ends_no_block(copy):
    folder = copy()
    fence = "a\n```\n# forged\n```text\n"
    report = read_report(folder)
    command = shlex.join(["zhclip", "convert", fence, fence])
    sources = [{**report.sources[0], "name": fence, "hub": None, "files": {fence: "0" * 64}}]
    conversion = {**report.conversion, "architecture": fence, "command": command}
    write_card(folder, replace(report, sources=sources, conversion=conversion), fence)

    lines = text_of(folder).splitlines()
    assert line_count(text_of(folder)) <= LONGEST
    assert [line for line in lines if line.startswith("# forged")] == []
    assert len([line for line in lines if line == "```"]) == len([line for line in lines if re.match("```.", line)])


def test_no_text_of_a_report_is_markup_on_the_card(copy):
    """Every text that a stranger may write into a report: HTML, links, pictures, headings, fences, escapes."""
    hostile = "x`\n```\n---\n# forged\n<script>x</script> [a](javascript:x) ![b](http://x/y) \x1b[2J {{ 7 * 7 }}"
    folder = copy()
    report = read_report(folder)
    place = {"repo": "user/name", "file": hostile, "revision": hostile}
    words = rendering.Words(hostile, hostile)
    fields = {
        "sources": [
            {**each, "name": hostile, "hub": place, "files": dict.fromkeys((hostile, "a"), hostile)}
            for each in report.sources
        ],
        "conversion": {
            **report.conversion,
            **{"architecture": hostile, "limits": [words, rendering.Words(f"`a` {hostile}", f"``a`` {hostile}")]},
            "command": shlex.join(["zhclip", "convert", hostile]),
        },
        "comparisons": [replace(each, what=words, witness=words) for each in report.comparisons],
        "versions": dict.fromkeys(report.versions, hostile) | {hostile: "1"},
        "lineage": {"base": hostile, "hub": None, "report": hostile, "towers": None, "former": None},
    }
    write_card(folder, replace(report, **fields), "name")
    text = text_of(folder)
    outside = re.sub(r"(?<!`)(`+)(?!`)(.*?)(?<!`)\1(?!`)", "", re.sub(r"\\.", "", text))

    assert "\x1b" not in text and "{{ 7 * 7 }}" in text
    assert [line for line in text.splitlines() if line.startswith(("# forged", "<script", "---"))] == ["---", "---"]
    assert "<script" not in outside and "](javascript" not in outside and "](http://x" not in outside


def test_a_limit_keeps_its_code_and_shows_the_names_of_tokens():
    assert sentence("`a<b` and <start> of [CLS], [x] (y)") == "`a<b` and \\<start> of [CLS], [x] (y)"
    assert sentence("``a` <b>`") == "\\`\\`a\\` \\<b\\>\\`"


@pytest.mark.quick(5)
@pytest.mark.parametrize("family", sorted(checkpoints.FAMILIES))
def test_a_card_of_every_family_has_less_than_120_lines(family, repo):
    folder = repo(family).path
    assert line_count(text_of(folder)) <= LONGEST
    # The longest of them: on the hub, with a reason at its top.
    assert line_count(render(folder, repo="somebody/my-clip", unverified=FAILED)) <= LONGEST


@pytest.mark.thorough
def test_a_card_of_every_published_checkpoint_that_was_converted_has_less_than_120_lines(repo):
    """Each entry beside the report and the model of a small checkpoint in its format."""
    small = {read_report(each.path).sources[0]["format"]: each.path for each in map(repo, checkpoints.FAMILIES)}
    models = {name: (model_of_folder(folder), read_report(folder)) for name, folder in small.items()}
    lengths = {
        entry.name: line_count(
            rendering._render(*take(models[entry.format], entry), "a/b", None, NOTHING_STATED, (), edited=False)
        )
        for entry in catalogue.entries()
        if entry.format in models
    }
    assert len(lengths) == len(catalogue.entries()) - 1  # bert-from-clip-chinese-1M has no part of a pair
    assert max(lengths.values()) <= LONGEST, lengths


def take(found, entry):
    model, report = found
    places = (*entry.places, entry.published)
    sources = [
        {**source, "hub": {"repo": place.repo, "file": place.file, "revision": "0" * 40}}
        for source, place in zip(report.sources, places, strict=False)
    ]
    return model, entry, replace(report, sources=sources)
