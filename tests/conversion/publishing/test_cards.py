"""The card of a converted repo: what it says, in two languages, and that its blocks run."""

import ast
import re
import shlex
import shutil
from dataclasses import replace
from importlib import resources
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import ModelCard
from huggingface_hub.cli.hf import app as hf
from PIL import Image
from safetensors.torch import load_file, save_file

import zhclip_cli
from hf_zhclip.conversion import card, push
from hf_zhclip.conversion.errors import InputError, WorkError
from hf_zhclip.conversion.exports import exporting
from hf_zhclip.conversion.publishing import cards
from hf_zhclip.conversion.publishing.hub_values import LANGUAGES, LIBRARIES, LICENSES, PIPELINE_TAGS, RELATIONS
from hf_zhclip.conversion.publishing.publish import FAILED
from hf_zhclip.conversion.reading import catalogue
from hf_zhclip.conversion.repos.doors import add_code
from hf_zhclip.conversion.repos.report import COSINE, DIFFERENCE, FILE, Comparison, Report, read_report
from hf_zhclip.conversion.repos.write import write_json
from hf_zhclip.conversion.words import Words

from tests.loopback_hub import connect, serve

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FAMILIES = ("cn_clip_vit", "cn_clip_resnet", "bert_clip", "hf_clip", "taiyi_head", "taiyi_plain")
HOSTILE = "a|b `c` \"d\" [e](f): #g 'h' {{ i }} 名字"


@pytest.fixture
def copy(repo, tmp_path):
    """Gives a copy of a family's repo, to be changed."""

    def make(family="cn_clip_vit"):
        return shutil.copytree(repo(family).path, tmp_path / family)

    return make


def text_of(folder):
    return (folder / "README.md").read_text(encoding="utf-8")


def header(folder):
    return ModelCard(text_of(folder)).data.to_dict()


def halves(text):
    _, chinese, english = re.split(r"^## (?:中文|English)$", cards.STAMP.sub("", text), flags=re.MULTILINE)
    return chinese, english


def as_published(folder, name):
    """Makes a small repo's report say that it came from a published checkpoint."""
    entry = catalogue.find(name)
    report = read_report(folder)
    places = [entry.published, *([entry.image_part] if entry.image_part else [])]
    hubs = [{"repo": place.repo, "file": place.file, "revision": "0" * 40} for place in places]
    sources = [{**source, "hub": hub} for source, hub in zip(report.sources, hubs, strict=True)]
    conversion = {**report.conversion, "catalogue": entry.name}
    write_json(folder / FILE, replace(report, sources=sources, conversion=conversion).to_json())
    (folder / "README.md").unlink()
    return folder


def fine_tune(folder):
    weights = load_file(folder / "model.safetensors")
    save_file({key: tensor + 1 for key, tensor in weights.items()}, folder / "model.safetensors", {"format": "pt"})


def check_header(data):
    """Holds a header against the literal lists of the hub's values."""
    assert data["pipeline_tag"] in PIPELINE_TAGS and data["library_name"] in LIBRARIES
    assert set(data["language"]) <= LANGUAGES
    assert data.get("license", "mit") in LICENSES
    assert data.get("base_model_relation", "merge") in RELATIONS
    assert all(
        result["task"]["type"] in PIPELINE_TAGS for each in data.get("model-index", ()) for result in each["results"]
    )


# What it says


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


def test_the_table_folds_comparisons_of_one_kind_and_keeps_the_worst():
    def one(what, result, measure=DIFFERENCE, bound=1e-5):
        return Comparison("pixels", Words.same(what), Words.same("cn_clip"), measure, bound, result, result <= bound)

    report = Report([], {}, "peer", [one("RGB", 0.0), one("P", 2e-6), one("L", 1e-7), one("x", 1.0, COSINE, 9)], {})
    first, second = cards._folded(report)
    assert first["what"] == Words("3: RGB, P, L", "3 项：RGB、P、L")
    assert first["result"] == "2e-06" and first["bound"] == "≤ 1e-05"
    assert second["what"] == Words.same("x") and second["bound"] == "≥ 9"


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
    assert "zhclip convert --with-code" in english and "trust_remote_code=True, device_map" not in english


def test_a_repo_with_code_has_a_block_for_those_who_trust_it(copy):
    folder = copy()
    add_code(folder)
    assert "trust_remote_code=True, device_map" in cards.render(folder, repo="cn_clip_vit")


def test_a_card_for_the_hub_loads_from_there_and_downloads_before_it_exports(repo):
    text = cards.render(repo("cn_clip_vit").path, repo="somebody/my-clip")
    assert 'AutoModel.from_pretrained("somebody/my-clip"' in text and "# my-clip" in text
    assert "hf download somebody/my-clip --local-dir my-clip\nzhclip export my-clip my-clip-native" in text


def test_why_it_is_not_verified_stands_at_the_top_of_both_halves(repo):
    text = cards.render(repo("cn_clip_vit").path, repo="a/b", unverified=FAILED)
    chinese, english = halves(text)
    assert english.count("Why: its verification failed") == 1 and chinese.count("原因：它没有通过验证") == 1
    assert not re.search("^(Verified|已验证)", text, re.MULTILINE)


def test_a_repo_whose_tensors_alone_were_compared_is_not_called_verified(copy):
    folder = copy()
    write_json(folder / FILE, replace(read_report(folder), level="tensors").to_json())
    chinese, english = halves(cards.render(folder, repo="x"))
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


def test_the_table_of_the_chinese_half_is_in_chinese(repo):
    chinese, english = halves(text_of(repo("taiyi_head").path))
    assert "| 词元 id | 10 条文本的词元 id |" in chinese and "| ids | token ids of 10 texts |" in english
    assert "| 像素 | 4 项：RGB 227x224、RGBA 160x240、" in chinese and "| pixels | 4: RGB 227x224, RGBA" in english
    chinese, english = halves(text_of(repo("cn_clip_resnet").path))
    assert "| 10 条文本的词元 id | 参考实现 |" in chinese and "| token ids of 10 texts | reference |" in english


def test_a_sentence_whose_chinese_nobody_knows_stands_in_a_chinese_frame(copy):
    folder = copy()
    report = read_report(folder)
    comparisons = [replace(report.comparisons[0], step="a later step", measure="a later measure")]
    write_json(folder / FILE, replace(report, comparisons=comparisons).to_json())
    chinese, english = halves(cards.render(folder, repo="x"))
    assert "| （英文原文）a later step |" in chinese and "| （英文原文）a later measure |" in chinese
    assert "| a later step |" in english and "| a later measure |" in english


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
    homes = ["--to cn_clip" in cards.render_entry(each) for each in (entry, renamed, pooled, cropped)]
    assert homes == [True, True, False, False]
    assert "lower-cased" not in cards.render_entry(cased)


def test_where_hf_zhclip_is_to_be_had_is_stated_in_one_place(repo, tmp_path, monkeypatch):
    template = (resources.files(catalogue.PACKAGE) / "template.md").read_text(encoding="utf-8")
    unknown = '{%- set address = "" -%}'
    assert template.count(unknown) == 1
    text = text_of(repo("cn_clip_vit").path)
    assert text.count("pip install .") == 2 and "no published address yet" in text and "尚未公开发布" in text
    known = template.replace(unknown, '{%- set address = "https://example.org/hf_zhclip" -%}')
    (tmp_path / "template.md").write_text(known, encoding="utf-8")
    monkeypatch.setattr(cards, "resources", SimpleNamespace(files=lambda package: tmp_path))
    text = cards.render(repo("cn_clip_vit").path, repo="x")
    assert text.count("`pip install git+https://example.org/hf_zhclip`") == 2
    assert "no published address yet" not in text and "尚未公开发布" not in text


# What a user states


def test_what_a_user_states_is_kept_when_the_card_is_refreshed(copy):
    folder = copy()
    assert card(folder, license="cc-by-nc-4.0", base_model="somebody/clip") == folder / "README.md"
    card(folder)
    data = header(folder)
    assert (data["license"], data["base_model"], data["base_model_relation"]) == (
        "cc-by-nc-4.0",
        ["somebody/clip"],
        "finetune",
    )
    assert "stated by whoever made this repository" in text_of(folder)
    assert ModelCard(cards.render(folder, repo="a/b")).data.license == "cc-by-nc-4.0"


def test_a_licence_by_its_name_alone_keeps_name_and_link_until_another_is_stated(copy):
    folder = copy()
    named = "license: other\nlicense_name: my-own\nlicense_link: LICENSE\nbase_model: somebody/clip\n"
    (folder / "README.md").write_text(f"---\n{named}---\nmine\n", encoding="utf-8")
    card(folder, force=True)
    assert header(folder)["license_name"] == "my-own" and header(folder)["base_model"] == ["somebody/clip"]
    card(folder, license="mit")
    assert "license_name" not in header(folder)


def test_what_was_published_is_not_contradicted(copy):
    folder = as_published(copy(), "ViT-B-16")
    with pytest.raises(InputError, match="published under mit or apache-2.0"):
        card(folder, license="gpl-3.0")
    assert not (folder / "README.md").exists()
    card(folder, license="apache-2.0")
    assert header(folder)["license"] == "apache-2.0"
    fine_tune(folder)
    card(folder, license="gpl-3.0")
    assert header(folder)["license"] == "gpl-3.0"


def test_a_licence_that_nobody_stated_is_told_as_that_of_the_model_it_was_made_from(copy):
    folder = as_published(copy(), "ViT-B-16")
    card(folder)
    fine_tune(folder)
    inherited = "`mit` (the licence of the model that it was made from)."
    for remove in ((), (FILE,)):  # with its report, and with its header alone
        for name in remove:
            (folder / name).unlink()
        card(folder)
        chinese, english = halves(text_of(folder))
        assert header(folder)["license"] == "mit" and inherited in english
        assert "`mit`（沿用其来源模型的许可证）。" in chinese and "stated by whoever" not in english
    card(folder, license="mit")
    assert "stated by whoever made this repository" in text_of(folder)


def test_an_unknown_licence_of_a_published_checkpoint_stays_unknown_until_it_is_stated(copy):
    folder = as_published(copy("bert_clip"), "BertCLIP")
    card(folder)
    assert "license" not in header(folder) and "Unknown: neither" in text_of(folder)
    card(folder, license="mit")
    assert header(folder)["license"] == "mit"


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"license": "MIT"}, "--license MIT is no identifier of the hub"),
        ({"base_model": "clip"}, "--base-model clip is no model on the hub"),
        ({"base_model": "a/b:c.pt"}, "--base-model a/b:c.pt is no model on the hub"),
    ],
)
def test_a_value_that_the_hub_does_not_know_is_refused(stated, message, copy):
    folder = copy()
    before = text_of(folder)
    with pytest.raises(InputError, match=re.escape(message)):
        card(folder, **stated)
    assert text_of(folder) == before


@pytest.mark.parametrize(
    ("stated", "message", "mended"),
    [
        ("license: MIT", "license: MIT in the header of", {"license": "mit"}),
        ("license: [mit]", "license: ['mit'] in the header of", {"license": "mit"}),
        ("base_model: [not a repo]", "base_model: not a repo in the header of", {"base_model": "a/b"}),
        ("base_model: a/b:c.pt", "base_model: a/b:c.pt in the header of", {"base_model": "a/b"}),
    ],
)
def test_a_header_that_the_hub_would_refuse_is_not_taken_over(stated, message, mended, copy):
    folder = copy()
    (folder / "README.md").write_text(f"---\n{stated}\n---\nmine\n", encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(message)):
        card(folder, force=True)
    assert text_of(folder).endswith("mine\n")
    card(folder, force=True, **mended)
    check_header(header(folder))


def test_a_card_that_somebody_wrote_is_kept_unless_forced(copy):
    folder = copy()
    assert cards.is_generated(text_of(folder))
    assert cards.is_generated(text_of(folder).replace("\n", "\r\n"))  # as git writes it on Windows
    edited = text_of(folder).replace("## English", "## My own words\n\n## English")
    (folder / "README.md").write_text(edited, encoding="utf-8")
    assert not cards.is_generated(edited) and not cards.is_generated("# mine\n")
    with pytest.raises(InputError, match="edited since"):
        card(folder)
    assert text_of(folder) == edited
    card(folder, force=True)
    assert "My own words" not in text_of(folder)


def test_a_folder_that_is_no_repo_and_a_header_that_is_none_are_refused(copy, tmp_path):
    with pytest.raises(InputError, match="no converted repo"):
        card(tmp_path)
    folder = copy()
    for broken in ("- a", "license: [", "1: a"):
        (folder / "README.md").write_text(f"---\n{broken}\n---\n", encoding="utf-8")
        with pytest.raises(InputError, match="metadata of .* can't be read"):
            card(folder, force=True)
    (folder / "README.md").write_bytes("# 我的".encode("gbk"))
    for force in (False, True):
        with pytest.raises(InputError, match=r"README\.md is not in UTF-8"):
            card(folder, force=force)


@pytest.mark.parametrize(
    ("reason", "told"), [(OSError(28, "No space left on device"), WorkError), (KeyboardInterrupt(), KeyboardInterrupt)]
)
def test_a_card_that_cannot_be_written_leaves_the_old_one_and_nothing_else(reason, told, copy, monkeypatch):
    folder = copy()
    before, names = text_of(folder), sorted(path.name for path in folder.iterdir())

    def full(self, target):
        raise reason

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(told, match="No space left" if told is WorkError else None):
        card(folder, license="mit")
    assert text_of(folder) == before and sorted(path.name for path in folder.iterdir()) == names


def test_hostile_names_break_neither_header_nor_tables_nor_blocks(copy):
    folder = copy()
    report = read_report(folder)
    sources = [{**report.sources[0], "name": HOSTILE, "files": {HOSTILE: "0" * 64}}]
    conversion = {**report.conversion, "architecture": HOSTILE, "command": shlex.join(["zhclip", "convert", HOSTILE])}
    text_report = replace(report, sources=sources, conversion=conversion)
    cards.write_card(folder, text_report, HOSTILE)
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
    cards.write_card(folder, replace(report, sources=sources, conversion=conversion), fence)

    lines = text_of(folder).splitlines()
    assert [line for line in lines if line.startswith("# forged")] == []
    assert len([line for line in lines if line == "```"]) == len([line for line in lines if re.match("```.", line)])


# The blocks


@pytest.mark.parametrize("variant", [*FAMILIES, "sharded with code"])
def test_every_block_of_a_card_runs(variant, repo, original, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "my clip"  # with a space, which the shell has to be told
    if variant in FAMILIES:
        shutil.copytree(repo(variant).path, folder)
    else:
        convert_again(original("cn_clip_vit"), folder)
    card(folder)
    Image.new("RGB", (90, 60), "yellow").save(tmp_path / "pokemon.jpeg")
    monkeypatch.chdir(tmp_path)
    # What an export computes is compared by its own tests, in a fresh process that costs seconds.
    monkeypatch.setattr(exporting, "_verify_native", lambda *arguments: None)
    ran = [run(language, block) for language, block in BLOCK.findall(halves(text_of(folder))[1])]
    doors = {"cn_clip_vit": 4, "cn_clip_resnet": 2, "taiyi_head": 1, "sharded with code": 5}
    assert sum(ran) == doors.get(variant, 3)


def test_every_block_of_a_card_on_the_hub_runs(repo, tmp_path, monkeypatch, capsys):
    with serve(tmp_path / "server", {"hf_writer": ("user",)}) as hub:
        connect(monkeypatch, hub, "hf_writer", tmp_path)
        push(repo("cn_clip_vit").path, "user/my-clip")
        text = hub.contents("user/my-clip")["README.md"].decode()
        Image.new("RGB", (90, 60), "yellow").save(tmp_path / "pokemon.jpeg")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(exporting, "_verify_native", lambda *arguments: None)
        ran = [run(language, block) for language, block in BLOCK.findall(halves(text)[1])]
    assert sum(ran) == 4 and text.count('"user/my-clip"') == 6
    assert (tmp_path / "my-clip.pt").is_file() and (tmp_path / "my-clip-native" / "config.json").is_file()


def convert_again(found, folder):
    from hf_zhclip.conversion import convert

    convert(found.source, folder, **found.arguments, with_code=True, max_shard_size="1MB")
    assert (folder / "model.safetensors.index.json").is_file()


PROGRAMS = {"zhclip": zhclip_cli.main, "hf": lambda arguments: hf(arguments, standalone_mode=False)}


def run(language, block):
    """Runs a block, unless it is data or needs a package that is not here (tests/parity/test_card_blocks.py)."""
    if language == "bash":
        for program, *arguments in map(shlex.split, block.splitlines()):
            assert PROGRAMS[program](arguments) in (0, None)
        return True
    if language == "python" and "sentence_transformers" not in block:
        with torch.random.fork_rng():
            exec(compile(block, "a card's block", "exec"), {"__name__": "card"})
        return True
    assert language in ("python", "text", "bibtex")
    return False
