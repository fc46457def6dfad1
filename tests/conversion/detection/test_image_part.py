"""What is stated of an image part: its own format and facts, beside those of the text part."""

import json
import shlex

import pytest
import torch

from hf_zhclip.conversion import convert, verify
from hf_zhclip.conversion.detection import parts
from hf_zhclip.conversion.detection.parts import identify
from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.stated import Stated

from tests import checkpoints as c
from tests.weights import seeded_state_dict

VISION_FACTS = {"vision_head_width": c.cn_clip.CN_CLIP_FACTS["vision_head_width"]}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return c.taiyi.taiyi_folder(tmp_path_factory.mktemp("text") / "taiyi", head=True)


@pytest.fixture
def facts(tmp_path):
    """Writes a JSON file and gives its place."""

    def write(value):
        (tmp_path / "facts.json").write_text(json.dumps(value), encoding="utf-8")
        return tmp_path / "facts.json"

    return write


def open_clip_file(path):
    torch.save(seeded_state_dict(c.open_clip.open_clip()), path)
    return path


OPEN_CLIP_FACTS = c.open_clip.open_clip_config(c.open_clip.OPEN_CLIP_TEXT, c.open_clip.OPEN_CLIP_VISION)
MAKE = {
    "cn_clip": lambda folder: (c.cn_clip.cn_clip_file(folder / "x.pt"), VISION_FACTS, None),
    "chinese_clip. of EasyNLP": lambda folder: (
        c.easynlp.easynlp_folder(folder / "x") / "pytorch_model.bin",
        None,
        None,
    ),
    "open_clip": lambda folder: (open_clip_file(folder / "x.pt"), OPEN_CLIP_FACTS, "open_clip"),
}


@pytest.mark.quick(1)
@pytest.mark.usefixtures("written_card")
@pytest.mark.parametrize("kind", MAKE)
def test_an_image_part_is_converted_and_verified_with_its_own_facts_and_format(kind, text, tmp_path, facts):
    vision, stated, format = MAKE[kind](tmp_path)
    options = {"vision": vision, "vision_format": format, "vision_config": facts(stated) if stated else None}
    report = convert(text, tmp_path / "out", format="taiyi", **options)

    assert report.passed and [each["role"] for each in report.sources] == ["whole", "image"]
    assert verify(tmp_path / "out").passed and verify(tmp_path / "out", text, format="taiyi", **options).passed
    words = shlex.split(report.conversion["command"])
    assert ("--vision-config" in words, "--vision-format" in words) == (stated is not None, format is not None)
    if stated:
        assert words[words.index("--vision-config") + 1] == "facts.json"
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    # How it was made, and how it is verified.
    assert card.count("--vision-config facts.json") == (2 if stated else 0)
    assert card.count("--vision-format open_clip") == (2 if format else 0)


def test_of_an_image_part_only_the_image_sides_facts_are_asked_for_under_the_options_that_state_them(text, tmp_path):
    vision = c.cn_clip.cn_clip_file(tmp_path / "x.pt")

    with pytest.raises(InputError) as error:
        convert(text, tmp_path / "out", vision=vision, format="taiyi")

    message = str(error.value)
    assert "vision_head_width: one of 2, 4, 8, 16, 32" in message and "text_" not in message
    assert "--vision-config FILE" in message and "--config" not in message


def test_a_format_of_the_image_part_is_asked_for_under_its_own_option(text, tmp_path, facts):
    vision = open_clip_file(tmp_path / "x.pt")

    with pytest.raises(InputError) as error:
        convert(text, tmp_path / "out", vision=vision, format="taiyi")
    assert "--vision-format open_clip (" in str(error.value) and "--vision-format openai_clip" in str(error.value)
    assert "--vision-config FILE" in str(error.value) and "--format" not in str(error.value)

    with pytest.raises(InputError, match="Pass --vision-config FILE with the open_clip_config.json"):
        convert(text, tmp_path / "out", vision=vision, format="taiyi", vision_format="open_clip")

    wrong = facts({"vision_head_width": 7})
    with pytest.raises(InputError, match="--vision-config states vision_head_width 7"):
        cn_clip = c.cn_clip.cn_clip_file(tmp_path / "y.pt")
        convert(text, tmp_path / "out", vision=cn_clip, format="taiyi", vision_config=wrong)


@pytest.mark.parametrize("option", ["vision_config", "vision_format"])
def test_what_is_stated_of_an_image_part_that_is_not_there_is_refused(option, tmp_path, facts):
    stated = {option: facts(VISION_FACTS) if option == "vision_config" else "hf_clip"}

    with pytest.raises(InputError, match=f"holds both towers.*[Ll]eave out --{option.replace('_', '-')}"):
        convert(c.bert_clip.bert_clip_config(tmp_path / "both"), tmp_path / "out", **stated)


def test_the_text_parts_options_do_not_reach_the_image_part(text, tmp_path, facts):
    vision = c.hf_clip.clip_folder(tmp_path / "clip")

    with pytest.raises(InputError, match="state the model's facts beside the weights, so --vision-config has nothing"):
        identify(Stated(text, vision, "taiyi", vision_config=facts(VISION_FACTS)))
    with pytest.raises(InputError, match="There is no format 'x'"):
        identify(Stated(text, vision, "taiyi", vision_format="x"))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"resize_mode": "squash"}, r"resize_mode 'squash' \('shortest' was wanted\)"),
        ({"resize_mode": "longest"}, r"resize_mode 'longest' \('shortest' was wanted\)"),
        ({"size": 224}, r"size 224 \(64 was wanted\)"),
        ({"interpolation": "bilinear"}, "interpolation 'bilinear'"),
        ({"mean": [0.5, 0.5, 0.5]}, "mean"),
    ],
)
def test_an_open_clip_that_prepares_pictures_otherwise_than_the_texts_family_is_refused(fields, said, text, tmp_path):
    folder = c.open_clip.open_clip_folder(tmp_path / "open_clip")
    right = json.loads((folder / "open_clip_config.json").read_text())
    wrong = {**right, "preprocess_cfg": {**right["preprocess_cfg"], **fields}}
    (folder / "open_clip_config.json").write_text(json.dumps(wrong))
    with pytest.raises(InputError, match=said):
        parts.describe(identify(Stated(text, folder, "taiyi")))

    right["preprocess_cfg"]["size"] = [c.common.SIZE, c.common.SIZE]
    (folder / "open_clip_config.json").write_text(json.dumps(right))
    assert parts.describe(identify(Stated(text, folder, "taiyi"))).image_size == c.common.SIZE
