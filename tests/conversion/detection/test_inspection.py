import json

import pytest
import torch

from hf_zhclip.conversion import inspect
from hf_zhclip.conversion.errors import InputError

from tests import checkpoints as c
from tests.weights import seeded_state_dict


def test_a_training_checkpoint_is_told_from_its_headers(original):
    found = inspect(original("cn_clip_vit").source, config=original("cn_clip_vit").arguments["config"])

    assert found.name == "epoch3.pt"
    assert found.container == "torch.save zip"
    assert found.wrappers == ("module.",)
    assert found.training == {"epoch": 3, "step": 77, "name": "tiny", "optimizer": "…"}
    assert found.architecture == "ViT 64x2/16@BERT 32x2"
    assert found.dtypes == {"float32": 71}
    sizes = {key: torch.Size(shape).numel() for key, shape in c.cn_clip_vit().items()}
    assert found.parameters == {
        tower: sum(size for key, size in sizes.items() if key.split(".")[0] == tower)
        for tower in ("bert", "visual", "text_projection", "logit_scale")
    }
    assert "visual.transformer.resblocks.{0...1}.ln_1.weight [64]" in found.keys


def test_the_page_for_people_says_the_same(original):
    found = inspect(original("cn_clip_vit").source)

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


def test_facts_that_are_not_stated_are_asked_for(original):
    architecture = inspect(original("cn_clip_vit").source).architecture

    assert architecture.startswith("not stated in full: ")
    assert "vision_head_width: one of 2, 4, 8, 16, 32" in architecture


def test_what_no_source_claims_is_still_described(tmp_path):
    torch.save({"model.a.0.w": torch.ones(2, 3), "model.a.1.w": torch.ones(2, 3).half()}, tmp_path / "x.pt")

    found = inspect(tmp_path / "x.pt")

    assert (found.format, found.title, found.architecture) == (None, None, None)
    assert "no format that is known here" in found.why
    assert found.keys == ("model.a.{0...1}.w [2, 3]",)
    assert found.dtypes == {"float32": 1, "float16": 1}
    assert found.verdict == "unknown"
    assert "not a format that is converted" in found.text()


def test_what_is_undecided_is_called_so_and_not_unknown(tmp_path):
    found = inspect(c.taiyi_folder(tmp_path / "taiyi", head=True))

    assert (found.format, found.verdict) == (None, "undecided")
    assert "taiyi: undecided: say --format" in found.text()
    assert "not a format" not in found.text()


def test_a_converted_repo_is_called_so(repo):
    found = inspect(repo("cn_clip_vit").path)

    assert (found.format, found.verdict) == (None, "converted")
    assert f"{found.name}: already converted" in found.text()
    assert "not a format" not in found.text()


def test_a_damaged_model_of_a_known_format_is_described_as_far_as_it_goes(tmp_path):
    tensors = seeded_state_dict(c.cn_clip_vit())
    del tensors["visual.conv1.weight"], tensors["bert.embeddings.position_embeddings.weight"]
    torch.save(tensors, tmp_path / "x.pt")

    found = inspect(tmp_path / "x.pt")

    assert found.format == "cn_clip"
    assert "not stated in full" in found.architecture
    assert "visual.conv1.weight" in found.architecture


def test_a_stated_format_is_held_against_the_keys(original):
    assert inspect(original("taiyi_head").source, format="taiyi").certainty == "stated"
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


def test_pictures_that_the_folder_prepares_otherwise_are_said_before_a_conversion_refuses_them(tmp_path):
    folder = c.chinese_clip_folder(tmp_path / "crop")
    (folder / "preprocessor_config.json").write_text('{"resample": 2, "size": {"height": 64, "width": 64}}')
    assert "resample 2 (3 was wanted)" in inspect(folder).architecture
