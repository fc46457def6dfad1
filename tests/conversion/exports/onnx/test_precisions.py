"""float16 and int8: what the graphs give, how much smaller they are, and what is refused."""

import json
import shutil

import numpy as np
import onnx
import pytest

from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.exports.exporting import export
from hf_zhclip.conversion.exports.onnx import costs, writing
from hf_zhclip.examples import scenes as drawn
from hf_zhclip.inference import load_onnx

from tests.checkpoints import FAMILIES
from tests.conversion.helpers import contents, entries

GALLERY = [scene for scene, _ in drawn.held_out_gallery()[:40]]


@pytest.fixture
def lowered(scenes, tmp_path, monkeypatch):
    """Exports the scenes in a precision, without torch's exporter and without the seconds of the timing."""
    repo, float32 = scenes
    monkeypatch.setattr(
        writing, "write_graph", lambda module, tower, repo, opset, file: shutil.copyfile(float32 / tower.file, file)
    )
    monkeypatch.setattr(costs, "SECONDS", 0)

    def make(name="OUT", **options):
        export(repo, tmp_path / name, to="onnx", **options)
        return tmp_path / name

    return make


def vectors(folder):
    model = load_onnx(folder)
    texts, pictures = [drawn.caption(each.facts) for each in GALLERY], [drawn.draw(each) for each in GALLERY]
    return {"text": model.encode_text(texts), "image": model.encode_image(pictures)}


@pytest.mark.parametrize(
    ("options", "least", "smaller"),
    [
        ({"precision": "float16"}, 0.99999, 0.52),
        ({"precision": "int8", "accept_loss": True}, 0.999, 0.35),
    ],
    ids=["float16", "int8"],
)
def test_a_lower_precision_gives_nearly_the_same_vectors_from_smaller_files(options, least, smaller, scenes, lowered):
    folder = lowered(**options)
    assert entries(folder) == entries(scenes[1])
    found, wanted = vectors(folder), vectors(scenes[1])
    for tower, file in (("text", "text_model.onnx"), ("image", "vision_model.onnx")):
        assert found[tower].dtype == np.float32
        assert abs(np.linalg.norm(found[tower], axis=1) - 1).max() < 1e-6
        assert least < (found[tower] * wanted[tower]).sum(axis=1).min() < 1
        assert (folder / file).stat().st_size < smaller * (scenes[1] / file).stat().st_size
        onnx.checker.check_model(folder / file, full_check=True)
    report = json.loads((folder / "zhclip_onnx_report.json").read_text(encoding="utf-8"))
    assert report["precision"] == options["precision"]
    for tower, cost in zip(report["towers"], report["costs"], strict=True):
        assert (tower["bound"], tower["tower"]) == (None, cost["tower"])
        assert cost["bytes"] == (folder / tower["file"]).stat().st_size
        assert cost["float32_bytes"] == (scenes[1] / tower["file"]).stat().st_size
        assert min(cost["speed"], cost["float32_speed"], cost["threads"]) > 0 and cost["processor"]
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert f"| image | {report['towers'][1]['cosine']:.6f} |" in readme
    assert f"| text | {report['costs'][0]['bytes'] / 1e6:.1f} | 6.1 |" in readme


def test_two_exports_in_int8_are_the_same_graphs(lowered):
    first, second = (contents(lowered(name, precision="int8", accept_loss=True)) for name in ("A", "B"))
    measured = {"README.md", "zhclip_onnx_report.json"}  # they state seconds
    assert {name for name in first if first[name] != second[name]} <= measured


def test_int8_says_that_its_loss_is_not_measured_until_the_loss_is_accepted(lowered, tmp_path):
    with pytest.raises(InputError, match="the loss is not measured on your data. Pass --accept-loss .* float16"):
        export(tmp_path / "repo", tmp_path / "OUT", to="onnx", precision="int8")
    assert entries(tmp_path) == set()
    lowered(precision="int8", accept_loss=True)
    lowered("HALF", precision="float16")


def test_float32_has_no_loss_to_accept(lowered, tmp_path):
    with pytest.raises(
        InputError, match="--accept-loss has no effect: float32 loses nothing. Leave --accept-loss out"
    ):
        export(tmp_path / "repo", tmp_path / "OUT", to="onnx", accept_loss=True)
    assert entries(tmp_path) == set()
    lowered()


def test_too_large_a_loss_is_refused_with_its_figures_until_it_is_accepted(lowered, tmp_path, monkeypatch):
    monkeypatch.setattr(costs, "LEAST_COSINE", 0.9999999)
    with pytest.raises(
        InputError, match=r"loses too much: .* is 0\.99999\d \(text\) and 0\.99999\d \(image\), and"
    ) as said:
        lowered(precision="float16")
    assert "pass --accept-loss" in str(said.value)
    assert entries(tmp_path) == set()
    lowered("A", precision="float16", accept_loss=True)
    lowered("B")


def test_a_resnet_is_refused_in_dynamic_int8(repo, exported, tmp_path, monkeypatch):
    float32 = exported("cn_clip_resnet")
    monkeypatch.setattr(
        writing, "write_graph", lambda module, tower, repo, opset, file: shutil.copyfile(float32 / tower.file, file)
    )
    monkeypatch.setattr(costs, "SECONDS", 0)
    with pytest.raises(
        InputError, match="The image tower cannot take dynamic int8: 38% of its weights belong to convolutions"
    ):
        export(repo("cn_clip_resnet").path, tmp_path / "OUT", to="onnx", precision="int8", accept_loss=True)
    assert entries(tmp_path) == set()
    export(repo("cn_clip_resnet").path, tmp_path / "OUT", to="onnx", precision="float16")


@pytest.mark.quick(1)
@pytest.mark.parametrize("precision", ["float16", "int8"])
@pytest.mark.parametrize("family", [each for each in FAMILIES if "resnet" not in each])
def test_every_family_takes_a_lower_precision(family, precision, repo, exported, tmp_path, monkeypatch):
    float32 = exported(family)
    monkeypatch.setattr(
        writing, "write_graph", lambda module, tower, repo, opset, file: shutil.copyfile(float32 / tower.file, file)
    )
    monkeypatch.setattr(costs, "SECONDS", 0)
    export(repo(family).path, tmp_path / "OUT", to="onnx", precision=precision, accept_loss=True)
    for tower in json.loads((tmp_path / "OUT" / "zhclip_onnx_report.json").read_text(encoding="utf-8"))["towers"]:
        assert tower["cosine"] > (0.999 if precision == "float16" else 0.9)
