"""Whole models under a prefix that no format has: what a class of the user's own leaves in front of every key."""

import ast
import json
import re
import shutil
import textwrap
from pathlib import Path

import pytest
import torch

from hf_zhclip.conversion import convert, inspect, verify
from hf_zhclip.conversion.detection.detect import detect
from hf_zhclip.conversion.errors import MappingError, UnknownFormat
from hf_zhclip.conversion.reading.read import Checkpoint, read
from hf_zhclip.conversion.repos.report import FILE

from tests import checkpoints as c
from tests.checkpoints import FAMILIES
from tests.thorough import thorough
from tests.weights import seeded_state_dict

PREFIXES = ("clip.", "base_model.model.", "student.", "model.", "teacher_student.0.")


def under(prefix, shapes):
    return {prefix + key: shape for key, shape in shapes.items()}


def checkpoint(shapes, **config):
    tensors = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    return Checkpoint(Path("folder/x.pt"), (), "zip", tensors, config=config)


def vit():
    return seeded_state_dict(c.cn_clip.cn_clip_vit())


def saved(tmp_path, tensors):
    """A file, and what `convert` has to be told of it."""
    torch.save({"state_dict": tensors}, tmp_path / "x.pt")
    return tmp_path / "x.pt", {"config": c.cn_clip.cn_clip_config(tmp_path / "facts.json")}


WHOLE = {
    "cn_clip": c.cn_clip.cn_clip_vit(),
    "chinese_clip": c.chinese_clip.chinese_clip(),
    "hf_clip": c.hf_clip.hf_clip(),
    "prd2": c.prd2.prd2(),
    "wukong": c.wukong.wukong(),
    "openai_clip": c.openai_clip.openai_clip() | dict.fromkeys(c.openai_clip.OPENAI_CLIP_SCALARS, ()),
}


@pytest.mark.parametrize("format", WHOLE)
@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_format_that_is_whole_and_alone_under_a_prefix_is_found(prefix, format):
    found = detect(checkpoint(under(prefix, WHOLE[format])))

    assert (found.source.name, found.prefix) == (format, prefix)
    assert f"under the prefix {prefix!r}" in found.why


def test_of_two_prefixes_the_one_that_the_format_has_itself_stays():
    found = detect(checkpoint(under("base_model.model.", c.taiyi_finetune.taiyi_finetune())))

    assert (found.source.name, found.prefix) == ("taiyi_finetune", "base_model.")


def test_keys_as_a_format_has_them_have_no_prefix():
    for shapes in (
        *WHOLE.values(),
        under("chinese_clip.", c.cn_clip.cn_clip_vit()),
        under("model.", c.taiyi_finetune.taiyi_finetune()),
    ):
        assert detect(checkpoint(shapes)).prefix == ""


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "family", ["cn_clip_vit", "bert_clip", *map(thorough, ("cn_clip_resnet", "hf_clip", "wukong"))]
)
def test_it_is_converted_and_proved_and_the_report_names_the_prefix(family, tmp_path):
    (tmp_path / "source").mkdir()
    original = FAMILIES[family](tmp_path / "source")
    file = read(original.source).files[0]
    tensors = {f"student.{key}": tensor.clone() for key, tensor in read(original.source).tensors.items()}
    file.unlink()
    torch.save(tensors, file.with_name("pytorch_model.bin") if original.source.is_dir() else file)

    said: list[str] = []
    report = convert(original.source, tmp_path / "OUT", **original.arguments, progress=said.append)

    assert f"Removed the prefix 'student.' from the keys of {original.source.name}" in said
    assert report.passed and report.level in ("peer", "reference")
    written = json.loads((tmp_path / "OUT" / FILE).read_text(encoding="utf-8"))
    assert written["sources"][0]["wrappers"] == ["student."]
    assert verify(tmp_path / "OUT").passed
    assert verify(tmp_path / "OUT", original.source, **original.arguments).passed
    found = inspect(original.source, **original.arguments)
    assert (found.refusal, found.wrappers) == (None, ("student.",))
    assert "wrapper removed: student. (an unknown prefix; without it, the keys are the keys of " in found.text()
    assert not any("student." in key for key in found.keys)


def test_both_parts_of_a_pair_may_have_one(tmp_path):
    original = FAMILIES["taiyi_head"](tmp_path / "source")
    for folder, prefix in ((original.source, "encoder."), (original.arguments["vision"], "clip.")):
        file = read(folder).files[0]
        tensors = {prefix + key: tensor.clone() for key, tensor in read(folder).tensors.items()}
        file.unlink()
        torch.save(tensors, folder / "pytorch_model.bin")

    report = convert(original.source, tmp_path / "OUT", **original.arguments)

    assert report.passed and [each["wrappers"] for each in report.sources] == [["encoder."], ["clip."]]


def test_keys_that_do_not_decide_are_asked_about_under_a_prefix_too():
    shapes = under("student.", c.bert_clip.bert_clip())
    with pytest.raises(UnknownFormat, match=r"do not decide its format(.|\n)*--format chinese_clip ") as error:
        detect(checkpoint(shapes))
    assert error.value.verdict == "undecided"

    found = detect(checkpoint(shapes), "chinese_clip")
    assert (found.source.name, found.certainty, found.prefix) == ("chinese_clip", "stated", "student.")
    assert detect(checkpoint(shapes, architectures=["BertCLIPModel"])).source.name == "bert_clip"


def test_a_stated_format_takes_no_prefix_from_keys_that_another_format_has():
    with pytest.raises(UnknownFormat, match="is not cn_clip"):
        detect(checkpoint(under("chinese_clip.", c.cn_clip.cn_clip_vit())), "cn_clip")


def test_a_stated_format_that_is_not_there_is_told_as_it_is_without_a_prefix():
    with pytest.raises(UnknownFormat, match="is not Taiyi-CLIP") as error:
        detect(checkpoint(under("student.", c.cn_clip.cn_clip_vit())), "taiyi")
    assert error.value.verdict == "contradicted"


@pytest.mark.parametrize(
    ("keys", "title"),
    [
        (("text_model.roberta.a", "text_model.transformation.weight"), "AltCLIP"),
        (("visual.conv1.weight", "visual.token_reduction.0.weight"), "Wukong with token reduction"),
    ],
)
def test_a_relative_is_named_under_a_prefix_too(keys, title):
    with pytest.raises(UnknownFormat, match=f"Without the prefix 'student.', x.pt is {title}"):
        detect(checkpoint(dict.fromkeys((f"student.{key}" for key in keys), (1, 1))))


@pytest.mark.parametrize("missing", ["visual.proj", "logit_scale"])
def test_a_damaged_model_is_not_taken_for_a_text_tower_under_a_prefix(missing):
    shapes = c.cn_clip.cn_clip_vit(pooler=True)
    del shapes[missing]

    with pytest.raises(UnknownFormat, match="The nearest format is cn_clip") as error:
        detect(checkpoint(shapes))
    assert "prefix" not in str(error.value)


# More than one model, or more than a model

HEAD = {"head.weight": torch.ones(10, 48), "head.bias": torch.ones(10), "blocks.0.w": torch.ones(2)}


def test_what_lies_beside_is_listed_and_the_command_keeps_what_is_asked_for(tmp_path):
    tensors = {**{f"student.{key}": tensor for key, tensor in vit().items()}, **HEAD, "blocks.1.w": torch.ones(2)}
    source, arguments = saved(tmp_path, tensors)

    with pytest.raises(UnknownFormat) as error:
        convert(source, tmp_path / "OUT", **arguments)

    message = str(error.value)
    assert "cn_clip (OFA-Sys/Chinese-CLIP) [cn_clip] under the prefix 'student.'" in message
    assert "\n  blocks.{0...1}.w [2]\n  head.bias [10]\n  head.weight [10, 48]\n" in message
    assert inspect(source, **arguments).refusal == message
    assert convert(walked(message, tmp_path, "key.startswith('student.')"), tmp_path / "OUT", **arguments).passed


def walked(message, folder, chosen):
    """Does what a message says, in Python, and gives the file that it makes."""
    *before, _ = message.partition("in Python:\n")[2].partition("  torch.save(")
    (save,) = (line for line in re.findall(r"torch\.save\(.*", message) if f" if {chosen}}}" in line)
    exec(textwrap.dedent(before[0]) + save, {})
    return Path(ast.literal_eval(re.search(r"('[^']*')\)$", save)[1]))


WRAPPED = {
    "a head, behind DDP": lambda model: {f"module.{key}": tensor for key, tensor in model.items()},
    "a head, within Lightning's file": lambda model: {"state_dict": {f"model.{key}": model[key] for key in model}},
}


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", WRAPPED)
def test_what_a_message_says_works_behind_a_wrapper_too(name, tmp_path):
    torch.save(WRAPPED[name]({**{f"clip.{key}": tensor for key, tensor in vit().items()}, **HEAD}), tmp_path / "x.pt")
    arguments = {"config": c.cn_clip.cn_clip_config(tmp_path / "facts.json")}

    with pytest.raises(UnknownFormat) as error:
        convert(tmp_path / "x.pt", tmp_path / "OUT", **arguments)

    chosen = re.search(r" if (key\.startswith\(.*?clip\.'\))\}", str(error.value))[1]
    alone = walked(str(error.value), tmp_path, chosen)
    assert convert(alone, tmp_path / "OUT", **arguments).passed


def test_a_teacher_within_the_models_own_prefix_is_told_and_the_model_can_be_saved(tmp_path):
    model = {**vit(), **{f"teacher.{key}": tensor + 1 for key, tensor in vit().items()}}
    source, arguments = saved(tmp_path, {f"clip.{key}": tensor for key, tensor in model.items()})

    with pytest.raises(UnknownFormat) as error:
        convert(source, tmp_path / "OUT", **arguments)

    chosen = re.search(r" if (not key\.startswith\(.*?\))\}", str(error.value))[1]
    assert convert(walked(str(error.value), tmp_path, chosen), tmp_path / "OUT", **arguments).passed


def test_more_keys_within_the_prefix_are_listed_by_the_mapping(tmp_path):
    tensors = {f"student.{key}": tensor for key, tensor in {**vit(), **HEAD}.items()}
    source, arguments = saved(tmp_path, tensors)

    with pytest.raises(MappingError, match=r"unknown keys \(no rule claims them\):\n(.|\n)*\n  head\.bias \[10\]\n"):
        convert(source, tmp_path / "OUT", **arguments)


@pytest.mark.quick(1)
@pytest.mark.parametrize("format", [None, "cn_clip"])
def test_of_two_models_both_prefixes_are_named_and_none_is_guessed(format, tmp_path):
    student = vit()
    teacher = {key: tensor + 1 for key, tensor in student.items()}
    tensors = {
        **{f"student.{key}": tensor for key, tensor in student.items()},
        **{f"teacher.{key}": tensor for key, tensor in teacher.items()},
        "temperature": torch.ones(()),
    }
    source, arguments = saved(tmp_path, tensors)

    with pytest.raises(UnknownFormat) as error:
        convert(source, tmp_path / "OUT", format=format, **arguments)

    message = str(error.value)
    assert message.startswith("x.pt holds several models:\n")
    for prefix in ("student.", "teacher."):
        assert f"cn_clip (OFA-Sys/Chinese-CLIP) [cn_clip] under the prefix {prefix!r}" in message
    assert "\n  temperature []" in message
    alone = walked(message, tmp_path, "key.startswith('teacher.')")
    convert(alone, tmp_path / "OUT", **arguments)
    assert read(tmp_path / "OUT").tensors["logit_scale"] == teacher["logit_scale"]


def test_a_teacher_beside_a_model_without_a_prefix_is_told_and_either_can_be_saved(tmp_path):
    tensors = {**vit(), **{f"teacher.{key}": tensor + 1 for key, tensor in vit().items()}}
    source, arguments = saved(tmp_path, tensors)

    with pytest.raises(UnknownFormat) as error:
        convert(source, tmp_path / "OUT", **arguments)

    message = str(error.value)
    assert (
        "[cn_clip] without a prefix\n  cn_clip (OFA-Sys/Chinese-CLIP) [cn_clip] under the prefix 'teacher.'" in message
    )
    for chosen, shift in (("key.startswith('teacher.')", 1), ("not key.startswith(('teacher.',))", 0)):
        out = tmp_path / f"OUT{shift}"
        convert(walked(message, tmp_path, chosen), out, **arguments)
        assert read(out).tensors["logit_scale"] == vit()["logit_scale"] + shift


def test_a_part_of_a_known_model_is_not_taken_for_a_second_one():
    shapes = {**c.taiyi_finetune.taiyi_finetune(), "head.weight": (2, 2)}  # its clip_model. is a whole CLIP

    assert detect(checkpoint(shapes)).source.name == "taiyi_finetune"


def test_a_folder_s_config_stays_beside_what_was_saved_alone(tmp_path):
    folder = c.chinese_clip.chinese_clip_folder(tmp_path / "folder")
    file = read(folder).files[0]
    tensors = {f"clip.{key}": tensor.clone() for key, tensor in read(folder).tensors.items()}
    file.unlink()
    torch.save({**tensors, **HEAD}, folder / "pytorch_model.bin")
    with pytest.raises(UnknownFormat) as error:
        convert(folder, tmp_path / "OUT")

    shutil.move(walked(str(error.value), tmp_path, "key.startswith('clip.')"), folder / "pytorch_model.bin")

    assert convert(folder, tmp_path / "OUT").passed


@pytest.mark.quick(1)
@pytest.mark.parametrize("stated", [{}, {"format": "chinese_clip"}], ids=str)
def test_a_class_of_ones_own_around_a_known_model_is_told_the_names_that_are_missing(stated, tmp_path):
    source = c.FAMILIES["chinese_clip"](tmp_path).source
    weights = torch.load(source / "pytorch_model.bin")
    torch.save({f"clip.{key}": tensor for key, tensor in weights.items()}, source / "pytorch_model.bin")
    file = source / "config.json"
    config = {**json.loads(file.read_text(encoding="utf-8")), "architectures": ["MyModel"], "model_type": "mine"}
    file.write_text(json.dumps(config), encoding="utf-8")

    said = inspect(source, **stated).why

    assert said.startswith("config.json names MyModel, which is not converted. Without the prefix 'clip.'")
    (way,) = re.findall(r"\[chinese_clip\]: (.*)", said)
    file.write_text(json.dumps({**config, **json.loads(f"{{{way}}}")}), encoding="utf-8")
    assert convert(source, tmp_path / "OUT", **stated).passed
