"""A repo of an older version becomes one of today: what comes over, what is proved, and what is refused."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoProcessor

import zhclip_cli
from hf_zhclip.conversion import convert, verify
from hf_zhclip.conversion.errors import InputError, ParityError
from hf_zhclip.conversion.layouts import cn_clip
from hf_zhclip.conversion.reading.files import sha256
from hf_zhclip.conversion.repos.doors import remove_code
from hf_zhclip.conversion.repos.own_code import OwnCode, own_code
from hf_zhclip.conversion.words import Words
from hf_zhclip.saving_zhclip import CODE_FILES, CODE_VERSION

from tests import checkpoints as c
from tests.conversion.helpers import contents, entries
from tests.thorough import every_third

# What reports of version 2 called facts: the source's own JSON, as far as it counted.
FACTS = {
    "cn_clip_vit": [c.cn_clip.CN_CLIP_FACTS],
    "cn_clip_resnet": [c.cn_clip.CN_CLIP_FACTS],
    "bert_clip": [{"text_config": c.common.BERT_CONFIG, "vision_config": c.common.VISION_CONFIG}],
    "hf_clip": [{"text_config": c.hf_clip.CLIP_TEXT_CONFIG, "vision_config": c.common.VISION_CONFIG}],
    "taiyi_head": [c.common.BERT_CONFIG, {"vision_config": c.common.VISION_CONFIG}],
    "multilingual_clip": [
        {"modelBase": "nobody/xlm-roberta", "base_config": c.multilingual_clip.MCLIP_BASE["xlm-roberta"]},
        {"vision_config": c.common.VISION_CONFIG},
    ],
    "sentence_transformers": [
        {**c.common.DISTILBERT_CONFIG, "text_pooling": "mean"},
        {"vision_config": c.common.VISION_CONFIG},
    ],
}


def edit(path, change):
    value = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(change(value) or value), encoding="utf-8")


def renamed(config):
    config["model_type"] = "zhclip"
    if config["vision_config"]["model_type"] == "hf_zhclip_resnet":
        config["vision_config"]["model_type"] = "zhclip_resnet"


@pytest.fixture
def older(repo, tmp_path):
    """Gives a folder as the version before wrote it: the former types, a report of version 2."""

    def make(family="cn_clip_vit"):
        folder = shutil.copytree(repo(family).path, tmp_path / "OLD")
        edit(folder / "config.json", renamed)
        remove_code(folder)
        edit(folder / "processor_config.json", lambda processor: processor.pop("auto_map") and processor)

        def former(report):
            report["format_version"] = 2
            files = {name: folder / name for name in report["files"]}
            report["files"] = {name: sha256(path) for name, path in files.items() if path.exists()}
            for name in ("stated_context_length", "vocabulary"):
                del report["conversion"][name]
            report["conversion"]["limits"] = [each["en"] for each in report["conversion"]["limits"]]
            for each in report["comparisons"]:
                each.update({name: each[name]["en"] for name in ("what", "witness")})
            for source, facts in zip(report["sources"], FACTS[family], strict=True):
                source["facts"] = facts
                del source["evidence"]

        edit(folder / "conversion_report.json", former)
        return folder

    return make


@pytest.mark.quick(2)
@pytest.mark.parametrize("family", every_third(FACTS))
def test_it_becomes_a_repo_of_today_with_the_same_weights_and_is_proved(family, older, repo, tmp_path):
    old = older(family)
    before = contents(old)

    report = convert(old, tmp_path / "NEW")

    new, today = contents(tmp_path / "NEW"), contents(repo(family).path)
    assert contents(old) == before
    assert new.keys() == today.keys()
    assert {name for name in new if new[name] != today[name]} <= {"README.md", "conversion_report.json"}
    assert report.passed and report.level in ("peer", "reference")
    assert report.conversion["former_report"] == sha256(old / "conversion_report.json")
    assert verify(tmp_path / "NEW").passed


@pytest.mark.usefixtures("written_card")
def test_users_load_it_and_its_card_says_where_it_comes_from(older, tmp_path):
    convert(older(), tmp_path / "NEW")

    model = AutoModel.from_pretrained(tmp_path / "NEW")
    inputs = AutoProcessor.from_pretrained(tmp_path / "NEW")(text=["一只猫"], return_tensors="pt")
    card = (tmp_path / "NEW" / "README.md").read_text(encoding="utf-8")
    assert model.config.model_type == "hf_zhclip" and model.encode_text(**inputs).shape == (1, c.common.EMBED)
    assert "an older version of hf_zhclip had converted" in card and "旧版本转换得到的仓库" in card
    assert "zhclip convert OLD NEW" in card


@pytest.mark.usefixtures("written_card")
def test_a_sentence_of_an_older_report_gets_its_chinese_where_it_is_still_said(older, tmp_path):
    known, unknown = cn_clip.LIMITS[0], "Something that was said once."
    old = older()
    in_conversion(limits=[known.en, unknown])(old)

    report = convert(old, tmp_path / "NEW")

    assert report.conversion["limits"][:2] == [known, Words(unknown, f"（英文原文）{unknown}")]
    card = (tmp_path / "NEW" / "README.md").read_text(encoding="utf-8")
    assert known.zh in card and f"（英文原文）{unknown}" in card


def test_the_code_that_travelled_with_it_is_that_of_today(older, tmp_path):
    old = older("bert_clip")
    (old / "modeling_zhclip.py").write_text("raise SystemExit('code of an older version')\n")
    edit(old / "config.json", lambda config: config.update(auto_map={"AutoModel": "modeling_zhclip.ZhCLIPModel"}))
    edit(
        old / "conversion_report.json",
        lambda report: report["files"].update(
            {name: sha256(old / name) for name in ("modeling_zhclip.py", "config.json")}
        ),
    )

    convert(old, tmp_path / "NEW")

    assert "code of an older version" not in (tmp_path / "NEW" / "modeling_zhclip.py").read_text(encoding="utf-8")
    assert "auto_map" in json.loads((tmp_path / "NEW" / "config.json").read_text(encoding="utf-8"))


def test_other_code_of_an_older_repo_does_not_come_over(older, tmp_path):
    old = older()
    (old / "evil.py").write_text("raise SystemExit\n")
    edit(
        old / "conversion_report.json",
        lambda report: report["files"].update({"evil.py": sha256(old / "evil.py")}),
    )

    convert(old, tmp_path / "NEW")

    assert own_code(tmp_path / "NEW") == OwnCode(len(CODE_FILES), CODE_VERSION, ())


def test_an_older_repo_that_names_a_class_of_another_file_is_refused(older, tmp_path):
    old = older()
    edit(old / "tokenizer_config.json", lambda stated: stated.update(auto_map={"AutoTokenizer": "evil.Tokenizer"}))
    edit(
        old / "conversion_report.json",
        lambda report: report["files"].update({"tokenizer_config.json": sha256(old / "tokenizer_config.json")}),
    )

    with pytest.raises(InputError, match="auto_map AutoTokenizer: 'evil.Tokenizer' in tokenizer_config.json"):
        convert(old, tmp_path / "NEW")


def test_a_fact_of_its_config_that_its_report_does_not_state_is_seen(older, tmp_path):
    old = older()
    edit(old / "config.json", lambda config: config["text_config"].update(num_attention_heads=8))
    edit(
        old / "conversion_report.json",
        lambda report: report["files"].update({"config.json": sha256(old / "config.json")}),
    )

    with pytest.raises(ParityError, match="text: embeddings"):
        convert(old, tmp_path / "NEW")
    assert entries(tmp_path) == {"OLD"}


def tamper(folder):
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "logit_scale": torch.tensor(1.0)}, folder / "model.safetensors", metadata={"format": "pt"})


def in_report(**fields):
    return lambda folder: edit(folder / "conversion_report.json", lambda report: report.update(fields))


def listed_type(folder):
    edit(folder / "config.json", lambda config: config["vision_config"].update(model_type=[1]))


def in_source(**fields):
    return lambda folder: edit(folder / "conversion_report.json", lambda report: report["sources"][0].update(fields))


def in_conversion(**fields):
    return lambda folder: edit(folder / "conversion_report.json", lambda report: report["conversion"].update(fields))


REFUSED = {
    "a weight that was changed since": (tamper, r"\(changed: model\.safetensors.*Convert the original again"),
    "a file that is gone": (
        lambda folder: (folder / "tokenizer.json").unlink(),
        r"\(changed: tokenizer\.json",
    ),
    "what was never verified": (in_report(level="tensors"), "it was not verified"),
    "what failed": (in_report(passed=False), "it was not verified"),
    "a report of another version": (in_report(format_version=1), "has version 1; version 2 was wanted"),
    "a report without sources": (in_report(sources=[]), "is no valid report: it names no source"),
    "a source that is not known": (
        in_report(sources=[{"format": "x", "facts": {}}]),
        "is no valid report: .*the format 'x'",
    ),
    "facts of another kind": (in_report(sources=[{"format": "cn_clip", "facts": []}]), "is no valid report"),
    "files of another kind": (in_report(files=[1]), "is no valid report"),
    "a file outside of it": (in_report(files={"../x": "00"}), r"\(changed: \.\./x"),
    "a hub of another kind": (in_source(hub="x"), "is no valid report: .*hub"),
    "a name of another kind": (in_source(name=5), "is no valid report: .*name is 5"),
    "a role that no part has": (in_source(role="vision"), "is no valid report: role is 'vision'"),
    "hashes of another kind": (in_source(files=[1]), "is no valid report: .*files"),
    "facts that lack the base": (in_source(format="multilingual_clip", facts={}), "is no valid report: 'base_config'"),
    "facts that lack the pooling": (
        in_source(format="sentence_transformers", facts={}),
        "is no valid report: 'text_pooling'",
    ),
    "a base of another kind": (
        in_source(format="multilingual_clip", facts={"base_config": [1]}),
        "is no valid report: .*stated",
    ),
    "limits of another kind": (in_conversion(limits=[1, {"a": 2}]), "is no valid report: a sentence is 1"),
    "an entry of another kind": (in_conversion(catalogue=5), "is no valid report: .*catalogue is 5"),
    "a length of another kind": (
        in_conversion(trained_context_length="x"),
        "is no valid report: .*trained_context_length is 'x'",
    ),
    "a text that is too long": (
        in_conversion(context_length=500),
        "context_length 500, but the model takes 3 to 64",
    ),
    "a length below every text": (
        in_conversion(context_length=-5),
        "context_length -5, but the model takes 3 to 64",
    ),
    "a dtype that is none": (in_conversion(dtype="x"), "is no valid report: dtype is 'x'"),
    "a level that is none": (in_report(level=5), "is no valid report: level is 5"),
    "a word for having passed": (in_report(passed="no"), "it was not verified"),
    "no comparison": (in_report(comparisons=[]), "it was not verified"),
    "a name that no file system takes": (in_report(files={"x" * 5000: "00"}), r"\(changed: xxx"),
    "a type that is a list": (listed_type, r"\(changed: config.json"),
    "a config that was cut": (lambda folder: (folder / "config.json").write_text("{"), "is no valid JSON"),
}


@pytest.mark.quick(15)
@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_words_and_nothing_is_written(name, older, tmp_path, capsys):
    damage, said = REFUSED[name]
    old = older()
    damage(old)

    with pytest.raises(InputError, match=said):
        convert(old, tmp_path / "NEW")
    assert zhclip_cli.main(["convert", str(old), str(tmp_path / "NEW")]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert entries(tmp_path) == {"OLD"}


def test_options_that_would_change_it_are_refused_by_name(older, tmp_path):
    with pytest.raises(InputError, match="is converted without options. Leave out --dtype, --without-code"):
        convert(older(), tmp_path / "NEW", dtype="float16", with_code=False)


def test_a_folder_that_exists_is_not_overwritten(older, tmp_path):
    (tmp_path / "NEW").mkdir()
    with pytest.raises(InputError, match="exists"):
        convert(older(), tmp_path / "NEW")
