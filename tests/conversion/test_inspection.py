import json
import shutil

import pytest
import torch

import zhclip_cli
from hf_zhclip.conversion import convert, inspect, pipeline
from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.layouts import bases

from tests import checkpoints as c
from tests.checkpoints import FAMILIES
from tests.thorough import in_turns
from tests.weights import seeded_state_dict


def test_a_training_checkpoint_is_told_from_its_headers(original):
    found = inspect(original("cn_clip_vit").source, config=original("cn_clip_vit").arguments["config"])

    assert found.name == "epoch3.pt"
    assert found.container == "torch.save zip"
    assert found.wrappers == ("module.",)
    assert found.training == {"epoch": 3, "step": 77, "name": "tiny", "optimizer": "…"}
    assert found.architecture == "ViT 64x2/16@BERT 32x2"
    assert found.dtypes == {"float32": 71}
    sizes = {key: torch.Size(shape).numel() for key, shape in c.cn_clip.cn_clip_vit().items()}
    assert found.parameters == {
        tower: sum(size for key, size in sizes.items() if key.split(".")[0] == tower)
        for tower in ("bert", "visual", "text_projection", "logit_scale")
    }
    assert "visual.transformer.resblocks.{0...1}.ln_1.weight [64]" in found.keys


def test_the_page_for_people_says_the_same(original):
    found = inspect(original("cn_clip_vit").source, **original("cn_clip_vit").arguments)

    text = found.text()

    assert text.startswith("epoch3.pt: cn_clip (OFA-Sys/Chinese-CLIP) [cn_clip], certain\n")
    for line in (
        "wrapper removed: module. (DistributedDataParallel or DataParallel)",
        "epoch: 3",
        "dtypes: float32 x71",
        "parameters, visual: ",
        "visual.proj [64, 48]",
    ):
        assert line in text


def test_facts_that_are_not_stated_are_asked_for_and_nothing_is_called_certain(original):
    found = inspect(original("cn_clip_vit").source)

    assert (found.format, found.certainty, found.verdict, found.architecture) == ("cn_clip", None, "refused", None)
    assert "vision_head_width: one of 2, 4, 8, 16, 32" in found.refusal
    text = found.text()
    assert text.startswith("epoch3.pt: cn_clip (OFA-Sys/Chinese-CLIP) [cn_clip], but convert refuses it\n")
    assert f"\n  convert says: {found.refusal}" in text and "certain" not in text


def test_what_no_source_claims_is_still_described(tmp_path):
    torch.save({"model.a.0.w": torch.ones(2, 3), "model.a.1.w": torch.ones(2, 3).half()}, tmp_path / "x.pt")

    found = inspect(tmp_path / "x.pt")

    assert (found.format, found.title, found.architecture) == (None, None, None)
    assert "is not known" in found.why
    assert found.keys == ("model.a.{0...1}.w [2, 3]",)
    assert found.dtypes == {"float32": 1, "float16": 1}
    assert found.verdict == "unknown" and found.refusal == found.why
    assert found.text().count(found.why) == 1
    assert "a format that is not converted" in found.text()


def test_what_is_undecided_is_called_so_and_not_unknown(tmp_path):
    found = inspect(c.taiyi.taiyi_folder(tmp_path / "taiyi", head=True))

    assert (found.format, found.verdict) == (None, "undecided")
    assert "taiyi: undecided: say --format" in found.text()
    assert "a format that is not converted" not in found.text()


def test_a_converted_repo_is_called_so(repo):
    found = inspect(repo("cn_clip_vit").path)

    assert (found.format, found.verdict) == (None, "converted")
    assert f"{found.name}: already converted" in found.text()
    assert "a format that is not converted" not in found.text()


def test_a_damaged_model_of_a_known_format_is_described_as_far_as_it_goes(tmp_path):
    tensors = seeded_state_dict(c.cn_clip.cn_clip_vit())
    del tensors["visual.conv1.weight"], tensors["bert.embeddings.position_embeddings.weight"]
    torch.save(tensors, tmp_path / "x.pt")

    found = inspect(tmp_path / "x.pt")

    assert (found.format, found.certainty, found.architecture) == ("cn_clip", None, None)
    assert "visual.conv1.weight" in found.refusal


def test_a_stated_format_is_held_against_the_keys(original):
    assert inspect(original("taiyi_head").source, **original("taiyi_head").arguments).certainty == "stated"
    other = inspect(original("cn_clip_vit").source, format="taiyi")
    assert "is not Taiyi-CLIP" in other.why
    assert "not the format that was stated" in other.text() and other.verdict == "contradicted"


def test_what_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "x.pt").write_text("hello")

    with pytest.raises(InputError, match="is no checkpoint"):
        inspect(tmp_path / "x.pt")


@pytest.mark.parametrize("family", ["cn_clip_vit", "taiyi_plain"])
def test_the_findings_are_json(family, original):
    found = inspect(original(family).source)

    value = json.loads(json.dumps(found.to_json(), allow_nan=False))

    assert value["format"] == found.format
    assert value["keys"] == list(found.keys)


# The same verdict as convert's


class Reached(Exception):
    """The first step of the writing."""


@pytest.fixture
def up_to_the_writing(monkeypatch):
    """Lets convert stop where it would begin to write."""

    def stop(*_, **__):
        raise Reached

    monkeypatch.setattr(pipeline, "staging", stop)


@pytest.mark.quick(7)
@pytest.mark.parametrize("family", FAMILIES)
def test_what_convert_takes_is_not_refused_and_described_in_full(family, original, tmp_path, up_to_the_writing):
    source, arguments = original(family).source, original(family).arguments
    with pytest.raises(Reached):
        convert(source, tmp_path / "OUT", **arguments)

    found = inspect(source, **arguments)

    assert (found.refusal, found.verdict) == (None, "known")
    assert found.format and found.certainty and found.architecture


def beside(**more):
    return lambda: {
        **seeded_state_dict(c.cn_clip.cn_clip_vit()),
        **{key.replace("__", "."): more[key] for key in more},
    }


DAMAGED = {
    "a half of a frozen teacher beside the model": beside(teacher__visual__proj=torch.ones(64, 48)),
    "learned prompts": beside(prompts__context=torch.ones(4, c.common.HIDDEN)),
    "an added classifier": beside(classifier__weight=torch.ones(10, 48), classifier__bias=torch.ones(10)),
    "a wrong shape": beside(visual__ln_post__bias=torch.ones(63)),
    "whole numbers": beside(visual__ln_post__bias=torch.ones(64, dtype=torch.int8)),
}
"""Files whose keys are cn_clip's and which are more, less or other than a cn_clip. test_bad_input.py has many more."""


@pytest.mark.quick(2)
@pytest.mark.parametrize("damage", DAMAGED)
def test_what_convert_refuses_is_refused_in_its_words(damage, tmp_path, up_to_the_writing, capsys):
    torch.save(DAMAGED[damage](), tmp_path / "x.pt")
    facts = c.cn_clip.cn_clip_config(tmp_path / "facts.json")
    with pytest.raises(InputError) as error:
        convert(tmp_path / "x.pt", tmp_path / "OUT", config=facts)

    code = zhclip_cli.main(["inspect", str(tmp_path / "x.pt"), "--config", str(facts)])

    page = capsys.readouterr().out
    assert code == 2 and "certain" not in page
    assert f"  convert says: {error.value}\n" in page
    for known in ("[cn_clip], but convert refuses it", "container: torch.save zip", "visual.proj [64, 48]"):
        assert known in page


def test_of_a_frozen_teacher_beside_the_model_both_are_named(tmp_path, capsys):
    model = seeded_state_dict(c.cn_clip.cn_clip_vit())
    torch.save({**model, **{f"teacher.{key}": tensor for key, tensor in model.items()}}, tmp_path / "x.pt")

    code = zhclip_cli.main(["inspect", str(tmp_path / "x.pt")])

    page = capsys.readouterr().out
    assert code == 2 and "certain" not in page
    assert page.startswith("x.pt: a known model together with other keys\n  why: x.pt holds several models:\n")


def test_a_text_tower_is_described_while_convert_asks_for_its_image_tower(original):
    found = inspect(original("sentence_transformers").source)

    assert (found.format, found.certainty) == ("sentence_transformers", None)
    assert found.architecture and "Name the image tower with --vision" in found.refusal


def test_a_base_model_that_is_known_is_not_asked_for(original, monkeypatch):
    family = original("multilingual_clip")
    base = json.loads(family.arguments["config"].read_text(encoding="utf-8"))
    monkeypatch.setitem(bases.BASES, "nobody/xlm-roberta", base)

    found = inspect(family.source, vision=family.arguments["vision"])

    assert found.refusal is None and "Multilingual-CLIP" in found.architecture


def test_no_number_is_computed_with(original, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("a tensor was copied")

    for name in ("clone", "contiguous", "to"):
        monkeypatch.setattr(torch.Tensor, name, fail)

    assert inspect(original("cn_clip_vit").source, **original("cn_clip_vit").arguments).refusal is None


def test_pictures_that_the_folder_prepares_otherwise_are_refused_as_convert_refuses_them(tmp_path):
    folder = c.chinese_clip.chinese_clip_folder(tmp_path / "crop")
    (folder / "preprocessor_config.json").write_text('{"resample": 2, "size": {"height": 64, "width": 64}}')
    assert "resample 2 (3 was wanted)" in inspect(folder).refusal


def test_a_scale_that_is_a_factor_is_refused_as_convert_refuses_it(tmp_path):
    tensors = seeded_state_dict(c.cn_clip.cn_clip_vit()) | {"logit_scale": torch.tensor(14.29)}
    torch.save(tensors, tmp_path / "x.pt")
    facts = c.cn_clip.cn_clip_config(tmp_path / "facts.json")
    assert "logit_scale is 14.29" in inspect(tmp_path / "x.pt", config=facts).refusal


# A folder of 2022 may state each tower twice

TWICE = [
    ("text_config", "vocab_size", 999),
    ("text_config", "max_position_embeddings", 99),
    ("text_config", "intermediate_size", 99),
    ("vision_config", "patch_size", 32),
    ("vision_config", "image_size", 32),
    ("vision_config", "intermediate_size", 99),
]


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    ("family", "tower", "field", "wrong", "place"),
    in_turns(
        [(family, *row, place) for family in ("chinese_clip", "hf_clip") for row in TWICE for place in ("", "_dict")],
        lambda row: row[1:4],
    ),
)
def test_of_two_configs_of_a_tower_inspect_and_convert_think_alike(
    family, tower, field, wrong, place, original, tmp_path
):
    found = original(family)
    source = shutil.copytree(found.source, tmp_path / "source")
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    config[f"{tower}_dict"] = dict(config[tower])
    config[tower + place][field] = wrong
    (source / "config.json").write_text(json.dumps(config), encoding="utf-8")

    inspected = inspect(source, **found.arguments)

    if inspected.refusal is None:
        assert convert(source, tmp_path / "OUT", **found.arguments).passed
    else:
        # transformers' CLIPConfig takes `_dict` alone, and then refuses these weights itself.
        assert (family, place) == ("hf_clip", "_dict") and field in inspected.refusal
        with pytest.raises(InputError, match=field):
            convert(source, tmp_path / "OUT", **found.arguments)
