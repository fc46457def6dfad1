"""ZH-CLIP (thu-ml/zh-clip), whose model type was once this package's and whose classes bear the same names."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForZeroShotImageClassification,
    AutoProcessor,
    AutoTokenizer,
    BertTokenizer,
)

from hf_zhclip import (
    ZhCLIPConfig,
    ZhCLIPImageProcessor,
    ZhCLIPModel,
    ZhCLIPProcessor,
    ZhCLIPTextModel,
    ZhCLIPVisionModelWithProjection,
)
from hf_zhclip.configuration_zhclip import namesake

from tests import checkpoints as c
from tests.small_models import build

OTHER = r"ZH-CLIP \(thu-ml/zh-clip\)"


@pytest.fixture(scope="module", params=[False, True], ids=["preprocessor_config.json", "processor_config.json"])
def zh_clip(request, tmp_path_factory) -> Path:
    return c.zh_clip.zh_clip_folder(tmp_path_factory.mktemp("theirs") / "zh-clip", processor_config=request.param)


@pytest.mark.parametrize("auto", [AutoConfig, AutoModel, AutoModelForZeroShotImageClassification])
def test_transformers_says_that_it_does_not_know_the_model_of_zh_clip(zh_clip, auto):
    with pytest.raises(ValueError, match="model type `zhclip` but Transformers does not recognize"):
        auto.from_pretrained(zh_clip)


def test_zh_clip_keeps_the_image_processor_and_the_tokenizer_that_its_files_name(zh_clip):
    image_processor = AutoImageProcessor.from_pretrained(zh_clip)

    assert type(image_processor).__module__.startswith("transformers.models.clip.")
    assert type(AutoTokenizer.from_pretrained(zh_clip)) is BertTokenizer


@pytest.mark.parametrize("loader", [AutoProcessor, ZhCLIPProcessor, ZhCLIPImageProcessor])
def test_zh_clip_never_gets_a_processor_of_this_package(zh_clip, loader):
    with pytest.raises(ValueError, match=OTHER):
        loader.from_pretrained(zh_clip)


def test_nor_does_a_folder_of_its_processor_alone(zh_clip, tmp_path):
    for file in zh_clip.iterdir():
        if file.name != "config.json" and file.suffix != ".bin":
            (tmp_path / file.name).write_bytes(file.read_bytes())

    with pytest.raises(ValueError, match=rf"a CLIPImageProcessor\w*, which states no image_order.* {OTHER}"):
        AutoProcessor.from_pretrained(tmp_path)


@pytest.mark.parametrize("ours", [ZhCLIPConfig, ZhCLIPModel, ZhCLIPTextModel, ZhCLIPVisionModelWithProjection])
def test_zh_clip_never_becomes_a_model_of_this_package(zh_clip, ours):
    command = re.escape(f"`zhclip convert {zh_clip} OUT`")
    with pytest.raises(ValueError, match=f"zh-clip is {OTHER}.*{command}"):
        ours.from_pretrained(zh_clip)
    with pytest.raises(ValueError, match=f"zh-clip is {OTHER}.*{command}"):
        ours.from_pretrained(str(zh_clip))


@pytest.mark.parametrize(
    "lie",
    [
        {"architectures": None, "text_config": None},
        {"architectures": None, "text_config": None, "vision_config": None, "hidden_size": None},
        {"architectures": "ZhCLIPModel", "text_config": "bert", "vision_config": []},
        {"text_config": ["text_pooling"], "hidden_size": {"a": 1}},
    ],
)
def test_a_config_of_zh_clip_that_is_cut_or_lies_is_named_too(tmp_path, lie):
    folder = c.zh_clip.zh_clip_folder(tmp_path / "zh-clip", **lie)

    with pytest.raises(ValueError, match=OTHER):
        ZhCLIPConfig.from_pretrained(folder)
    with pytest.raises(ValueError, match=OTHER):
        ZhCLIPConfig.from_pretrained(folder / "config.json")


@pytest.mark.parametrize("model_type", [None, 7, ["zhclip"], "bert"])
def test_a_config_of_another_type_is_told_by_it_whatever_its_towers_are(tmp_path, model_type):
    folder = c.zh_clip.zh_clip_folder(tmp_path / "folder", model_type=model_type, text_config="bert", architectures=7)

    with pytest.raises(ValueError, match="not a ZhCLIP repository") as error:
        ZhCLIPConfig.from_pretrained(folder)
    assert "thu-ml" not in str(error.value)


@pytest.mark.parametrize("text", ['{"model_type": "zhclip", "archi', "", "[]", '"zhclip"'])
def test_a_config_that_is_no_json_object_is_refused_in_words(tmp_path, text):
    folder = c.zh_clip.zh_clip_folder(tmp_path / "zh-clip")
    (folder / "config.json").write_text(text)

    with pytest.raises((OSError, ValueError), match="config"):
        ZhCLIPConfig.from_pretrained(folder)


def test_an_image_order_that_the_caller_states_makes_an_image_processor_of_any_folder(tmp_path):
    folder = c.hf_clip.clip_folder(tmp_path / "clip")
    (folder / "preprocessor_config.json").write_text('{"image_processor_type": "CLIPImageProcessor"}')

    with pytest.raises(ValueError, match="a CLIPImageProcessor, which states no image_order"):
        ZhCLIPImageProcessor.from_pretrained(folder)
    given = ZhCLIPImageProcessor.from_pretrained(folder, image_order="rgb_then_crop", size=64)
    assert given.image_order == "rgb_then_crop"


# Repos of an older version


def old_repo(folder: Path, variant: str = "cn_clip", report: Any = '{"format_version": 2}') -> Path:
    """A model of this package under the model types of its older versions."""
    build(variant).save_pretrained(folder)
    config = (folder / "config.json").read_text().replace('"hf_zhclip', '"zhclip')
    (folder / "config.json").write_text(config)
    if report is not None:
        (folder / "conversion_report.json").write_text(report)
    return folder


@pytest.mark.parametrize("loader", [ZhCLIPConfig, ZhCLIPModel])
@pytest.mark.parametrize("name", ["old", "old repo"])
def test_a_repo_of_an_older_version_is_told_by_its_report_and_the_command_is_named(tmp_path, loader, name):
    folder = old_repo(tmp_path / name)
    shown = f"'{folder}'" if " " in name else str(folder)  # as a shell reads it

    with pytest.raises(ValueError) as error:
        loader.from_pretrained(folder)
    assert "an older version of hf_zhclip" in str(error.value)
    assert f"`zhclip convert {shown} NEW`" in str(error.value)


@pytest.mark.parametrize(
    "report",
    ["", "[]", '{"format_version": "2"}', '{"format_version": true}', "[" * 100_000, '{"a": ' + "9" * 5000 + "}"],
)
def test_a_file_that_is_no_report_does_not_make_zh_clip_a_repo_of_this_package(tmp_path, report):
    folder = c.zh_clip.zh_clip_folder(tmp_path / "zh-clip")
    (folder / "conversion_report.json").write_text(report)

    with pytest.raises(ValueError, match=OTHER):
        ZhCLIPConfig.from_pretrained(folder)


@pytest.mark.parametrize("variant", ["cn_clip", "openai_rn50"])
def test_a_model_that_was_saved_again_without_its_report_is_mended_as_the_message_says(tmp_path, variant):
    folder = old_repo(tmp_path / "tuned", variant, report=None)

    with pytest.raises(ValueError, match="no conversion_report.json") as error:
        ZhCLIPModel.from_pretrained(folder)
    assert "thu-ml" not in str(error.value)

    config = json.loads((folder / "config.json").read_text())
    assert "replace 'zhclip' by 'hf_zhclip' and 'zhclip_resnet' by 'hf_zhclip_resnet'" in str(error.value)
    for each in (config, config["vision_config"]):
        each["model_type"] = {"zhclip": "hf_zhclip", "zhclip_resnet": "hf_zhclip_resnet"}.get(
            each["model_type"], each["model_type"]
        )
    (folder / "config.json").write_text(json.dumps(config))
    assert type(AutoModel.from_pretrained(folder)) is ZhCLIPModel


def test_nothing_is_said_of_any_other_config(tmp_path):
    assert namesake(tmp_path, {"model_type": "hf_zhclip"}) is None
    assert namesake(tmp_path, {}) is None
