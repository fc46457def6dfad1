"""float16 and int8: what the graphs give, how much smaller they are, and what is refused."""

import json
import re
import shutil

import numpy as np
import onnx
import onnx_ir
import pytest

from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.exports.exporting import export
from hf_zhclip.conversion.exports.onnx import costs, graphs, precisions, writing
from hf_zhclip.conversion.exports.onnx.losses import read_data
from hf_zhclip.conversion.exports.onnx.towers import TEXT
from hf_zhclip.conversion.repos.repo import read_repo
from hf_zhclip.data import read
from hf_zhclip.examples import demo
from hf_zhclip.examples import scenes as drawn
from hf_zhclip.inference import load_onnx

from tests.conversion.exports.onnx.alike import families
from tests.conversion.helpers import contents, entries
from tests.thorough import thorough

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


@pytest.mark.any_version
def test_two_exports_in_int8_are_the_same_graphs(lowered):
    first, second = (contents(lowered(name, precision="int8", accept_loss=True)) for name in ("A", "B"))
    measured = {"README.md", "zhclip_onnx_report.json"}  # they state seconds
    assert {name for name in first if first[name] != second[name]} <= measured


# The user's own data


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
    """Two folders of 200 captioned pictures: for calibration, and for the check."""
    folder = tmp_path_factory.mktemp("drawings")
    gallery = [scene for scene, _ in drawn.held_out_gallery()]
    for name, chosen in (("ours", gallery[:200]), ("others", gallery[-200:])):
        (folder / name).mkdir()
        for number, scene in enumerate(chosen):
            drawn.draw(scene).save(folder / name / f"{number:04}{drawn.caption(scene.facts)}.png")
    return folder


@pytest.mark.any_version
@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_the_loss_of_int8_is_measured_on_the_users_data(kind, scenes, drawings, lowered):
    calibrate = {"calibrate": drawings / "others"} if kind == "static" else {}
    folder = lowered(precision="int8", check=drawings / "ours", accept_loss=True, **calibrate)

    report = json.loads((folder / "zhclip_onnx_report.json").read_text(encoding="utf-8"))
    assert report["quantisation"] == kind
    data = read(drawings / "ours")
    texts, pictures = [each.text for each in data.texts], [picture for _, picture in data.pictures]
    model, repo = load_onnx(folder), demo.Converted(scenes[0])
    pairs = {
        "text": (model.encode_text(texts), repo.encode_text(texts).numpy()),
        "image": (model.encode_image(pictures), repo.encode_image(pictures).numpy()),
    }
    for tower in report["loss"]["towers"]:
        found, wanted = pairs[tower["tower"]]
        cosines = (found * wanted).sum(axis=1)
        assert (tower["items"], tower["smallest"]) == (200, pytest.approx(cosines.min(), abs=1e-6))
        assert tower["mean"] == pytest.approx(cosines.mean(), abs=1e-6)
        assert 0.999 < tower["smallest"] < tower["mean"] < 1
    tops = [np.argsort(-pairs["text"][side] @ pairs["image"][side].T, axis=1)[:, :10] for side in (0, 1)]
    shared = [len(set(found) & set(wanted)) / 10 for found, wanted in zip(*tops, strict=True)]
    assert report["loss"]["agreement"] == pytest.approx(np.mean(shared), abs=1e-9)
    assert 0.97 < report["loss"]["agreement"] < 1
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert f"| image | 200 | {report['loss']['towers'][1]['smallest']:.6f} |" in readme
    assert f"{report['loss']['agreement']:.2%} stay among its 10 nearest" in readme
    assert ("depends a little on the other texts or pictures of its batch" in readme) == (kind == "dynamic")
    assert str(drawings) not in readme and str(drawings) not in json.dumps(report)


@pytest.mark.any_version
def test_int8_says_that_its_loss_is_not_measured_until_it_is_measured_or_accepted(lowered, drawings, tmp_path):
    with pytest.raises(InputError) as said:
        export(tmp_path / "repo", tmp_path / "OUT", to="onnx", precision="int8")
    assert "the loss is not measured on your data. Pass --check FOLDER, with at least 200 of your" in str(said.value)
    assert "or --accept-loss, or --precision float16." in str(said.value)
    assert entries(tmp_path) == set()
    lowered("A", precision="int8", check=drawings / "ours")
    readme = (lowered("B", precision="int8", accept_loss=True) / "README.md").read_text(encoding="utf-8")
    assert "The loss is not measured on data of whoever made the export" in readme
    lowered("C", precision="float16")


@pytest.mark.any_version
@pytest.mark.parametrize(("bound", "least"), [("LEAST_COSINE", 0.99999), ("LEAST_AGREEMENT", 0.999)])
def test_too_large_a_loss_on_the_users_data_is_refused_with_its_figures_until_it_is_accepted(
    bound, least, lowered, drawings, tmp_path, monkeypatch
):
    monkeypatch.setattr(costs, bound, least)
    with pytest.raises(InputError) as said:
        lowered(precision="int8", check=drawings / "ours")
    assert re.search(
        r"^dynamic int8 loses too much. Beside the repo's own embeddings, the smallest cosine is 0\.999\d+ \(text, "
        r"mean 0\.999\d+\) and 0\.999\d+ \(image, mean 0\.999\d+\), and 0\.9\d+ of the 10 nearest pictures agree; "
        r"at least 0\.9\d+ and 0\.9\d+ were wanted\. Choose another --precision, or pass --accept-loss\. Nothing was "
        r"written\.$",
        str(said.value),
    )
    assert entries(tmp_path) == set()
    lowered("A", precision="int8", check=drawings / "ours", accept_loss=True)
    lowered("B", precision="float16", check=drawings / "ours")


@pytest.mark.any_version
def test_too_large_a_loss_of_float16_is_refused_without_data_of_the_user_too(lowered, tmp_path, monkeypatch):
    monkeypatch.setattr(costs, "LEAST_COSINE", 0.99999999)
    with pytest.raises(InputError, match="float16 loses too much. .* smallest cosine is 0.99999. .text. and 0.99999"):
        lowered(precision="float16")
    assert entries(tmp_path) == set()


@pytest.mark.any_version
def test_too_little_data_is_refused_before_the_work(lowered, scenes, drawings, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    for each in sorted((drawings / "ours").iterdir())[:199]:
        shutil.copyfile(each, few / each.name)
    with pytest.raises(InputError) as said:
        lowered(precision="int8", check=few)
    assert f"--check {few} holds 199 different texts and 199 pictures; at least 200 of each were wanted." in str(
        said.value
    )
    assert entries(tmp_path) == {"few"}
    lowered(precision="int8", calibrate=few, check=drawings / "ours")


def test_data_of_several_splits_are_read_together(scenes, drawings, tmp_path):
    for name, each in (("train", "ours"), ("test", "others")):
        shutil.copytree(drawings / each, tmp_path / "both" / name)
    assert read_data(str(tmp_path / "both"), read_repo(scenes[0]), "--check").counts() == {"text": 400, "image": 400}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accept_loss": True}, "--accept-loss has no effect: float32 loses nothing. Leave --accept-loss out."),
        ({"check": "x"}, "--check has no effect: float32 loses nothing. Leave --check out."),
        ({"calibrate": "x"}, "--calibrate is an option of int8. Leave --calibrate out, or pass --precision int8."),
        ({"precision": "float16", "calibrate": "x"}, "--calibrate is an option of int8."),
        (
            {"precision": "int8", "calibrate": "x", "check": "./x"},
            "--calibrate and --check are the same data, ./x: the loss would look smaller than it is. Name other data",
        ),
    ],
)
def test_options_that_do_not_fit_together_are_refused_before_anything_is_read(options, message, tmp_path):
    with pytest.raises(InputError) as said:
        export(tmp_path / "repo", tmp_path / "OUT", to="onnx", **options)
    assert message in str(said.value)
    assert entries(tmp_path) == set()


@pytest.mark.thorough
def test_what_the_refused_options_name_is_exported(lowered, drawings):
    lowered("A")
    lowered("B", precision="int8", calibrate=drawings / "ours", check=drawings / "others")


# Towers


@pytest.mark.any_version
def test_a_resnet_is_refused_in_dynamic_int8_and_taken_in_static(repo, exported, drawings, tmp_path, monkeypatch):
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
    export(repo("cn_clip_resnet").path, tmp_path / "HALF", to="onnx", precision="float16")
    options = {"precision": "int8", "calibrate": drawings / "ours", "accept_loss": True}
    export(repo("cn_clip_resnet").path, tmp_path / "STATIC", to="onnx", **options)
    sizes = [(folder / "vision_model.onnx").stat().st_size for folder in (tmp_path / "STATIC", float32)]
    assert sizes[0] < 0.4 * sizes[1]


@pytest.mark.any_version
@pytest.mark.parametrize("precision", [thorough("float16"), "int8"])
@pytest.mark.parametrize("family", [each for each in families("hf_clip") if each != thorough("cn_clip_resnet")])
def test_every_family_takes_a_lower_precision(family, precision, repo, exported, tmp_path, monkeypatch):
    float32 = exported(family)
    monkeypatch.setattr(
        writing, "write_graph", lambda module, tower, repo, opset, file: shutil.copyfile(float32 / tower.file, file)
    )
    monkeypatch.setattr(costs, "SECONDS", 0)
    export(repo(family).path, tmp_path / "OUT", to="onnx", precision=precision, accept_loss=True)
    for tower in json.loads((tmp_path / "OUT" / "zhclip_onnx_report.json").read_text(encoding="utf-8"))["towers"]:
        assert tower["cosine"] > (0.999 if precision == "float16" else 0.9)


@pytest.mark.thorough
@pytest.mark.parametrize(("precision", "calibrated"), [("float16", False), ("int8", False), ("int8", True)])
def test_weights_over_the_limit_are_read_from_beside_the_graph_and_written_there(
    precision, calibrated, scenes, drawings, tmp_path, monkeypatch
):
    monkeypatch.setattr(graphs, "MOST_BYTES", 1_000_000)
    monkeypatch.setattr(precisions, "MOST_BYTES", 1_000_000)
    (tmp_path / "source").mkdir()
    graphs.save(onnx_ir.load(scenes[1] / TEXT.file), tmp_path / "source" / TEXT.file)
    assert (tmp_path / "source" / "text_model.onnx_data").exists()
    repo = read_repo(scenes[0])
    batches = read_data(str(drawings / "ours"), repo, "--calibrate").inputs(TEXT, repo) if calibrated else None
    shutil.copytree(scenes[1], tmp_path / "OUT")

    precisions.lower(TEXT, precision, tmp_path / "source" / TEXT.file, tmp_path / "OUT" / TEXT.file, batches)

    assert (tmp_path / "OUT" / TEXT.file).stat().st_size < 100_000
    assert (tmp_path / "OUT" / "text_model.onnx_data").stat().st_size > 1_000_000
    facts = tmp_path / "OUT" / "zhclip_onnx.json"
    stated = json.loads(facts.read_text(encoding="utf-8"))
    del stated["files"]  # which would refuse the graph that was written here
    facts.write_text(json.dumps(stated), encoding="utf-8")
    texts = [drawn.caption(each.facts) for each in GALLERY]
    cosines = (load_onnx(tmp_path / "OUT").encode_text(texts) * load_onnx(scenes[1]).encode_text(texts)).sum(axis=1)
    assert cosines.min() > 0.999
