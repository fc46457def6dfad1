"""Who bears witness, and from what: the source's files and the user's word, by way of a report or not."""

import json
import shutil

import pytest
import torch
from transformers import AutoTokenizer

from hf_zhclip.conversion import convert, verify
from hf_zhclip.conversion.detection.parts import identify, witness_vocabulary
from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.proof import verification, witnesses
from hf_zhclip.conversion.proof.precision import difference
from hf_zhclip.conversion.proof.samples import TEXTS
from hf_zhclip.conversion.reading import evidence
from hf_zhclip.conversion.reading.files import sha256
from hf_zhclip.conversion.repos.repo import read_repo
from hf_zhclip.conversion.stated import Stated
from hf_zhclip.conversion.tokenizers.vocabularies import DEFAULT_VOCAB

from tests.checkpoints import FAMILIES
from tests.conversion.helpers import PICTURES

RAW = {
    "cn_clip_vit": set(),
    "cn_clip_flash": set(),
    "cn_clip_resnet": set(),
    "openai_clip": set(),
    "r2d2": set(),
    "taiyi_finetune": set(),
    "wukong": set(),
    "easynlp": {"config.json"},
    "modelscope": {"vision_model_config.json", "text_model_config.json"},
    "hf_clip": {"config.json", "tokenizer_config.json"},
    "chinese_clip": {"config.json", "preprocessor_config.json"},
    "taiyi_clip": {"config.json", "preprocessor_config.json"},
    "zh_clip": {"config.json", "tokenizer_config.json", "preprocessor_config.json"},
    "open_clip": {"open_clip_config.json"},
    "open_clip_xlm_roberta": {"open_clip_config.json"},
    "multilingual_clip": {"config.json", "tokenizer_config.json"},
    "sentence_transformers": {
        *("config.json", "tokenizer_config.json", "modules.json", "sentence_bert_config.json"),
        *("1_Pooling/config.json", "2_Dense/config.json"),
    },
}
"""The JSON files that lie with the weights of each small checkpoint's first part; elsewhere config.json alone."""


def from_source(original):
    stated = Stated(original.source, **original.arguments)
    parts = identify(stated)
    testimonies = [verification._testimony(part, "keep") for part in parts]
    return witnesses.build(testimonies, witness_vocabulary(parts, stated), None)


def from_report(repo):
    request = verification.Request(str(repo.path), [], "keep", "", None, repo.report.sources)
    vocabulary = verification.recorded_vocabulary(repo.report, repo.path)
    return witnesses.build(verification._mapped_back(read_repo(repo.path), request), vocabulary, None)


@pytest.mark.quick(7)
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_witness_built_from_the_report_equals_the_one_built_from_the_source(family, repo):
    found = repo(family)
    one, other = from_source(found.original), from_report(found)

    assert (one.name, one.level) == (other.name, other.level)
    ids = one.token_ids(TEXTS)
    assert ids == other.token_ids(TEXTS)
    assert one.logit_scale() == other.logit_scale()
    assert one.text_training() == other.text_training() and one.image_training() == other.image_training()
    pixels = torch.stack([one.pixels(picture) for _, picture in PICTURES[:2]])
    assert torch.equal(pixels, torch.stack([other.pixels(picture) for _, picture in PICTURES[:2]]))
    with one.computing_in(torch.float64), other.computing_in(torch.float64):
        assert difference(*(each.encode_image(pixels.double()) for each in (one, other))) < 1e-14
        for text in (ids[0], ids[-1]):
            assert difference(*(each.encode_text(torch.tensor([text])) for each in (one, other))) < 1e-14


@pytest.mark.parametrize("family", FAMILIES)
def test_the_report_records_the_raw_files_with_their_hashes_and_what_the_user_stated(family, repo):
    found = repo(family)
    config = found.original.arguments.get("config")
    recorded = found.report.sources[0]["evidence"]

    assert set(recorded["files"]) == RAW.get(family, {"config.json"})
    for name, file in recorded["files"].items():
        path = found.original.source / name
        assert file == {"sha256": sha256(path), "content": json.loads(path.read_text(encoding="utf-8"))}
    assert recorded["stated"] == (json.loads(config.read_text(encoding="utf-8")) if config else {})
    assert found.report.conversion["stated_context_length"] is None
    hashes = found.report.conversion["vocabulary"]
    assert hashes and all(len(digest) == 64 for digest in hashes.values())


def test_what_verifying_without_the_original_can_not_see_is_said_with_the_command_that_can(repo):
    packaged, own = (verification.unseen(repo(family).path) for family in ("cn_clip_vit", "hf_clip"))

    assert "compares the weights of" in packaged and "compares the weights and the vocabulary of" in own
    assert f"`zhclip verify {repo('hf_clip').path} --against SOURCE` can see this." in own
    assert all("The original's other facts come from the repo's own report" in each for each in (packaged, own))


def lying(change):
    """Evidence of a report in which somebody has changed something."""

    def make(source):
        files = {name: dict(each) for name, each in source["evidence"]["files"].items()}
        return {**source, "evidence": change(files, dict(source["evidence"]["stated"]))}

    return make


def without_files(files, stated):
    return {"files": {}, "stated": stated}


def in_config(**fields):
    def change(files, stated):
        file = files["config.json"]
        return {"files": {"config.json": {**file, "content": {**file["content"], **fields}}}, "stated": stated}

    return lying(change)


LIES = {
    "no file": lying(without_files),
    "a list for a tower": in_config(text_config=[]),
    "a word for a tower": in_config(text_config="bert"),
    "no heads": in_config(text_config={"num_attention_heads": 0}),
    "a word for heads": in_config(text_config={"num_attention_heads": "4"}),
    "another activation": in_config(text_config={"hidden_act": "mish"}),
    "a list for an activation": in_config(text_config={"hidden_act": ["gelu"]}),
    "a word for an eps": in_config(vision_config={"layer_norm_eps": "small"}),
    "heads that do not divide": in_config(vision_config={"num_attention_heads": 5}),
}


@pytest.mark.quick(4)
@pytest.mark.parametrize("name", LIES)
@torch.no_grad()
def test_a_report_that_lies_is_told_in_words(name, repo):
    found = repo("bert_clip")
    sources = [LIES[name](source) for source in found.report.sources]
    request = verification.Request(str(found.path), [], "keep", str(found.path), None, sources)

    with pytest.raises(InputError, match="The witness can't compute from the published, stated or recorded facts"):
        verification.compare(request)


def test_evidence_comes_back_from_a_report():
    given = evidence.of_report({"files": {"a.json": {"sha256": "00", "content": {"b": [1]}}}, "stated": {"c": None}})

    assert evidence.to_report(given) == {
        "files": {"a.json": {"sha256": "00", "content": {"b": [1]}}},
        "stated": {"c": None},
    }


@pytest.mark.parametrize("change", [{"sources": []}, {"sources": [{"format": "x"}]}])
def test_a_report_of_no_known_format_is_refused(change, repo, tmp_path):
    folder = shutil.copytree(repo("bert_clip").path, tmp_path / "OUT")
    value = json.loads((folder / "conversion_report.json").read_text(encoding="utf-8"))
    sources = [{**value["sources"][0], **each} for each in change["sources"]]
    (folder / "conversion_report.json").write_text(json.dumps({**value, "sources": sources}), encoding="utf-8")

    with pytest.raises(InputError, match="names the formats ('x'|none); the known formats are bert_clip, "):
        verify(folder)


@torch.no_grad()
def test_what_a_package_says_of_a_config_is_told_once(repo):
    found = repo("hf_clip")
    (source,) = found.report.sources
    lie = in_config(vision_config={"hidden_size": 48})(source)
    request = verification.Request(str(found.path), [], "keep", str(found.path), None, [lie])

    with pytest.raises(InputError, match="^transformers .* itself can't build the model from config.json") as error:
        verification.compare(request)
    assert "The witness can't compute" not in str(error.value)


# A cased BERT

CASED = ("bert_clip", "chinese_clip", "taiyi_clip", "taiyi_head", "taiyi_plain", "easynlp")


@pytest.mark.quick(2)
@pytest.mark.parametrize("family", CASED)
def test_a_text_keeps_its_capitals_where_the_folder_says_so(family, tmp_path):
    found = FAMILIES[family](tmp_path / "original")
    (found.source / "tokenizer_config.json").write_text('{"do_lower_case": false}', encoding="utf-8")
    if not any((found.source / name).is_file() for name in ("vocab.txt", "tokenizer.json")):
        shutil.copy(DEFAULT_VOCAB, found.source / "vocab.txt")

    assert convert(found.source, tmp_path / "OUT", **found.arguments).passed

    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "OUT")
    assert tokenizer.tokenize("Cat") != tokenizer.tokenize("cat")


# Fields that say how a model is used

USE = {
    **{"return_dict": False, "output_hidden_states": True, "torchscript": True, "chunk_size_feed_forward": 3},
    **{"num_labels": 10**11, "dtype": "bfloat16", "attn_implementation": "flash_attention_2"},
}


@pytest.mark.quick(1)
@pytest.mark.parametrize("family", ["chinese_clip", "hf_clip", "bert_clip"])
def test_what_a_config_says_of_the_use_of_a_model_reaches_no_package(family, tmp_path):
    found = FAMILIES[family](tmp_path / "original")
    config = json.loads((found.source / "config.json").read_text(encoding="utf-8"))
    for fields in (config, config["text_config"], config["vision_config"]):
        fields.update(USE)
    (found.source / "config.json").write_text(json.dumps(config), encoding="utf-8")

    assert convert(found.source, tmp_path / "OUT", **found.arguments).passed
