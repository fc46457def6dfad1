"""The commands on what bears the model type 'zhclip': ZH-CLIP (thu-ml/zh-clip), and repos of older versions."""

import hashlib
import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import (
    AltCLIPConfig,
    AltCLIPModel,
    AutoModel,
    MetaClip2Config,
    MetaClip2Model,
    Siglip2Config,
    Siglip2Model,
    SiglipConfig,
    SiglipModel,
)

import zhclip_cli
from hf_zhclip import ZhCLIPConfig, ZhCLIPModel
from hf_zhclip.conversion import card, convert, export, inspect, load, push, verify
from hf_zhclip.conversion.errors import InputError, UnknownFormat
from hf_zhclip.conversion.repos.report import FILE, read_report

from tests import checkpoints as c
from tests.conversion.helpers import contents, entries
from tests.loopback_hub import connect, serve

OTHER = "ZH-CLIP (thu-ml/zh-clip)"

COMMANDS: dict[str, Callable[[Path, Path], Any]] = {
    "verify": lambda folder, out: verify(folder),
    "export to transformers": lambda folder, out: export(folder, out, to="transformers"),
    "export to cn_clip": lambda folder, out: export(folder, out.with_suffix(".pt"), to="cn_clip"),
    "card": lambda folder, out: card(folder),
    "push": lambda folder, out: push(folder, "user/name", dry_run=True),
    "forced push": lambda folder, out: push(folder, "user/name", dry_run=True, force_unverified=True),
    "load": lambda folder, out: load(folder),
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ZHCLIP_CACHE", str(tmp_path / "cache"))


def old(repo, folder: Path, version: int = 2) -> Path:
    """A converted repo as versions before report version 3 wrote it."""
    shutil.copytree(repo, folder)
    config = (folder / "config.json").read_text(encoding="utf-8").replace('"hf_zhclip', '"zhclip')
    (folder / "config.json").write_text(config, encoding="utf-8")
    report = json.loads((folder / FILE).read_text(encoding="utf-8"))
    report["format_version"] = version
    report["files"]["config.json"] = hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()
    (folder / FILE).write_text(json.dumps(report), encoding="utf-8")
    return folder


# ZH-CLIP


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    "changes",
    [{}, {"processor_config": True}, {"architectures": None}, {"model_type": None}],
)
def test_a_folder_of_zh_clip_is_a_source_as_others_are(tmp_path, changes):
    folder = c.zh_clip.zh_clip_folder(tmp_path / "theirs", **changes)

    found = inspect(folder)
    report = convert(folder, tmp_path / "OUT")

    assert (found.format, found.architecture) == ("zh_clip", "ZH-CLIP")
    assert report.passed
    assert type(AutoModel.from_pretrained(tmp_path / "OUT")) is ZhCLIPModel


def test_what_the_message_names_makes_the_folder_load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    c.zh_clip.zh_clip_folder(tmp_path / "their model")

    command = re.search("`zhclip (convert .*)`", words_of(ZhCLIPModel.from_pretrained, "their model"))[1]

    assert zhclip_cli.main(shlex.split(command)) == 0
    assert type(AutoModel.from_pretrained("OUT")) is ZhCLIPModel


def test_load_converts_it_as_it_converts_others(tmp_path):
    folder = c.zh_clip.zh_clip_folder(tmp_path / "theirs")

    model, processor = load(folder)

    assert type(model) is ZhCLIPModel and processor.image_processor.image_order == "rgb_then_crop"


@pytest.mark.parametrize(
    "changes",
    [
        {"architectures": None, "text_config": None},
        {"architectures": "ZhCLIPModel", "text_config": 7, "vision_config": "clip"},
    ],
)
def test_a_config_of_zh_clip_that_lies_is_refused_in_words(tmp_path, changes):
    folder = c.zh_clip.zh_clip_folder(tmp_path / "theirs", **changes)

    assert inspect(folder).format == "zh_clip"
    with pytest.raises(InputError, match="The text_config of config.json names the model type None; wanted bert"):
        convert(folder, tmp_path / "OUT")
    assert not (tmp_path / "OUT").exists()


@pytest.mark.parametrize("format", ["cn_clip", "bert_clip", "hf_clip", "chinese_clip"])
def test_no_stated_format_makes_another_model_of_zh_clip(tmp_path, format):
    folder = c.zh_clip.zh_clip_folder(tmp_path / "theirs")

    with pytest.raises(UnknownFormat, match="theirs is not "):
        convert(folder, tmp_path / "OUT", format=format)


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", ["pytorch_model.bin", "zh_clip.bin"])
def test_a_file_of_zh_clip_without_its_config_is_known_by_its_keys_and_asks_for_it(tmp_path, name):
    folder = c.zh_clip.zh_clip_folder(tmp_path / "theirs")
    shutil.copy(folder / "pytorch_model.bin", tmp_path / name)

    assert inspect(tmp_path / name).format == "zh_clip"
    with pytest.raises(InputError, match="There is no config.json beside the weights"):
        convert(tmp_path / name, tmp_path / "OUT")
    stated = {"config": folder / "config.json", "tokenizer": folder / "vocab.txt"}
    assert convert(tmp_path / name, tmp_path / "OUT", **stated).passed


def test_a_config_of_zh_clip_that_is_cut_off_is_no_valid_json(tmp_path):
    folder = c.zh_clip.zh_clip_folder(tmp_path / "theirs")
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text[: len(text) // 2])

    for command in (inspect, lambda path: convert(path, tmp_path / "OUT"), lambda path: card(path), verify):
        with pytest.raises(InputError, match="config.json is no valid JSON"):
            command(folder)


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "load"])
def test_every_command_on_a_converted_repo_names_zh_clip_and_what_makes_a_repo_of_it(tmp_path, command):
    folder = c.zh_clip.zh_clip_folder(tmp_path / "theirs")
    before = contents(folder)

    with pytest.raises(InputError) as error:
        COMMANDS[command](folder, tmp_path / "OUT")
    assert OTHER in str(error.value) and f"`zhclip convert {folder} OUT`" in str(error.value)
    assert contents(folder) == before and entries(tmp_path) <= {"theirs", "cache"}


@pytest.mark.parametrize("arguments", [["verify"], ["card"]])
def test_the_command_line_ends_with_2_and_without_a_traceback(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    c.zh_clip.zh_clip_folder(tmp_path / "theirs")
    command, *rest = arguments

    code = zhclip_cli.main([command, "theirs", *rest])

    out, err = capsys.readouterr()
    assert code == 2 and OTHER in out + err and "Traceback" not in out + err
    assert entries(tmp_path) == {"theirs"}


# Repos of an older version


@pytest.mark.quick(9)
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("family", ["bert_clip", "cn_clip_resnet"])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_on_a_repo_of_an_older_version_names_what_mends_it(repo, tmp_path, family, command, version):
    folder = old(repo(family).path, tmp_path / "OLD", version)
    before = contents(folder)

    with pytest.raises(InputError) as error:
        COMMANDS[command](folder, tmp_path / "OUT")
    assert f"`zhclip convert {folder} NEW`" in str(error.value) and "an older version of hf_zhclip" in str(error.value)
    assert contents(folder) == before and entries(tmp_path) <= {"OLD", "cache"}


def test_inspect_names_it_too(repo, tmp_path):
    folder = old(repo("bert_clip").path, tmp_path / "OLD")

    found = inspect(folder)

    assert (found.format, found.verdict) == (None, "older")
    assert found.refusal is None  # convert brings it over
    assert f"`zhclip convert {folder} NEW`" in found.why
    assert "OLD: a repo of an older version" in found.text()


@pytest.mark.parametrize("version", [1, 99, None, "2"])
def test_a_report_of_another_version_names_it_where_the_repo_is_older(repo, tmp_path, version):
    of_today = shutil.copytree(repo("bert_clip").path, tmp_path / "TODAY")
    report = json.loads((of_today / FILE).read_text(encoding="utf-8"))
    (of_today / FILE).write_text(json.dumps({**report, "format_version": version}), encoding="utf-8")

    with pytest.raises(InputError, match="has an unknown version") as error:
        read_report(of_today)
    assert " NEW`" not in str(error.value)

    if type(version) is int:
        with pytest.raises(InputError, match="`zhclip convert .* NEW`"):
            read_report(old(repo("bert_clip").path, tmp_path / "OLD", version))


def test_a_fine_tuned_repo_of_an_older_version_is_told_how_to_go_on(repo, tmp_path):
    folder = old(repo("bert_clip").path, tmp_path / "TUNED")
    (folder / FILE).unlink()

    for command in (inspect, lambda path: convert(path, tmp_path / "NEW")):
        try:
            said = command(folder).why
        except UnknownFormat as error:
            said = str(error)
        assert "replace 'zhclip' by 'hf_zhclip'" in said and "thu-ml" not in said


def test_on_the_hub_the_two_are_told_apart_the_same_way(repo, tmp_path, monkeypatch):
    older, theirs = old(repo("bert_clip").path, tmp_path / "OLD"), c.zh_clip.zh_clip_folder(tmp_path / "theirs")
    with serve(tmp_path / "server", {"hf_writer": ("user",)}) as hub:
        hub.waits = connect(monkeypatch, hub, "hf_writer", tmp_path)
        hub.add("user/old", contents(older))
        hub.add("user/theirs", contents(theirs))

        for said in (
            inspect("user/old").why,
            words_of(load, "user/old"),
            words_of(ZhCLIPConfig.from_pretrained, "user/old"),
        ):
            assert "`zhclip convert user/old NEW`" in said
        assert inspect("user/theirs").format == "zh_clip"
        said = words_of(ZhCLIPConfig.from_pretrained, "user/theirs")
        assert said.startswith(f"user/theirs is {OTHER}") and "`zhclip convert user/theirs OUT`" in said


def words_of(function: Callable[[str], Any], name: str) -> str:
    with pytest.raises(ValueError) as error:
        function(name)
    return str(error.value)


# What transformers loads by itself

LAYER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
TEXT = LAYER | {"vocab_size": 50, "max_position_embeddings": 20, "bos_token_id": 0, "eos_token_id": 49}
STOCK = {
    "AltCLIP": (AltCLIPModel, AltCLIPConfig, "altclip", "AltCLIP"),
    "SigLIP": (SiglipModel, SiglipConfig, "siglip", "SigLIP or SigLIP 2"),
    "SigLIP 2": (Siglip2Model, Siglip2Config, "siglip2", "SigLIP or SigLIP 2"),
    "MetaCLIP 2": (MetaClip2Model, MetaClip2Config, "metaclip_2", None),
}
"""Title -> the class of transformers, its config, its model type, and what its keys alone name."""


@pytest.fixture(scope="module", params=STOCK)
def stock(request, tmp_path_factory) -> tuple[str, Path]:
    model, config, *_ = STOCK[request.param]
    text = TEXT | ({"project_dim": 32} if request.param == "AltCLIP" else {})
    folder = tmp_path_factory.mktemp("stock") / "model"
    model(config(text_config=text, vision_config=LAYER | {"image_size": 32, "patch_size": 16})).save_pretrained(folder)
    return request.param, folder


def test_what_transformers_loads_by_itself_needs_no_conversion(stock, tmp_path):
    title, folder = stock
    model, _, model_type, _ = STOCK[title]
    wanted = f"model is {title}. There is nothing to convert: transformers' own AutoModel loads its folder."

    assert json.loads((folder / "config.json").read_text())["model_type"] == model_type
    assert inspect(folder).why == wanted
    with pytest.raises(UnknownFormat) as error:
        convert(folder, tmp_path / "OUT")
    assert str(error.value) == wanted
    assert type(AutoModel.from_pretrained(folder)) is model


def test_its_weights_alone_are_told_by_their_keys_where_they_have_their_own(stock, tmp_path):
    title, folder = stock
    named = STOCK[title][3]
    shutil.copy(folder / "model.safetensors", tmp_path / "lone.safetensors")

    found = inspect(tmp_path / "lone.safetensors")
    why = found.why
    if named is None:  # MetaCLIP 2 has the keys of CLIPModel
        assert found.format == "hf_clip"
        return
    assert why.startswith(f"lone.safetensors is {named}") and "transformers' own AutoModel loads" in why
