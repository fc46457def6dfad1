"""What cannot become graphs is refused in words, and a failure leaves nothing behind."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file

import zhclip_cli
from hf_zhclip import extras
from hf_zhclip.conversion.errors import InputError, ParityError, WorkError
from hf_zhclip.conversion.exports.exporting import export
from hf_zhclip.conversion.exports.onnx import graphs, writing

from tests.conversion.helpers import contents, entries


def refused(kind, *arguments, **options):
    with pytest.raises(kind) as caught:
        export(*arguments, to="onnx", **options)
    return str(caught.value)


@pytest.fixture
def written(exported, monkeypatch):
    """Puts a family's graphs, which are made once, in the place of torch's exporter, which costs seconds."""

    def take(family: str, change=lambda model: None) -> None:
        folder = exported(family)  # before the exporter is replaced

        def write_graph(module, tower, repo, opset, file):
            model = onnx.load(folder / tower.file)
            change(model)
            onnx.save(model, file)

        monkeypatch.setattr(writing, "write_graph", write_graph)

    return take


# Arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ddp": True}, "--ddp writes keys as cn_clip's training does"),
        ({"also_legacy": True}, "--also-legacy writes files for older transformers"),
        ({"max_shard_size": "1GB"}, "--max-shard-size does not apply to ONNX"),
        ({"precision": "float64"}, "There is no --precision 'float64'; wanted float32"),
        ({"opset": 17}, "--opset 17 cannot be written; wanted 18 to 25. Without --opset, 20 is written."),
        ({"opset": 26}, "--opset 26 cannot be written; wanted 18 to 25"),
    ],
)
def test_an_option_that_a_graph_has_not_is_refused_before_anything_is_read(arguments, message, tmp_path):
    assert message in refused(InputError, tmp_path / "OUT", tmp_path / "x", **arguments)
    assert entries(tmp_path) == set()


@pytest.mark.parametrize("option", [{"precision": "float32"}, {"opset": 20}])
def test_an_option_of_graphs_alone_is_refused_elsewhere(option, tmp_path):
    (name,) = option
    with pytest.raises(InputError, match=f"--{name} is an option of ONNX. Leave --{name} out, or pass --to onnx."):
        export(tmp_path / "OUT", tmp_path / "x", to="transformers", **option)


@pytest.mark.parametrize("missing", ["onnx", "onnx_ir", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_asked_for_by_its_extra(missing, tmp_path, monkeypatch):
    real = extras.importlib.import_module

    def import_module(name):
        if name == missing:
            raise ImportError(f"No module named {name!r}")
        return real(name)

    monkeypatch.setattr(extras.importlib, "import_module", import_module)
    said = refused(InputError, tmp_path / "OUT", tmp_path / "x")
    assert f"An export to ONNX needs the package {missing}" in said
    assert 'pip install "hf-zhclip[onnx]"' in said


def test_a_torch_that_fixes_sizes_in_silence_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(graphs.torch, "__version__", "2.8.0+cpu")
    assert "torch 2.8.0+cpu is installed, but an export to ONNX needs torch 2.9 or newer" in refused(
        InputError, tmp_path / "OUT", tmp_path / "x"
    )


# The place


def test_what_exists_is_not_overwritten_and_force_replaces_an_export_alone(repo, exported, written, tmp_path):
    written("cn_clip_vit")
    photos, out = tmp_path / "photos", tmp_path / "ONNX"
    photos.mkdir()
    (photos / "config.json").write_text("{}")
    shutil.copytree(exported("cn_clip_vit"), out)
    (out / "zhclip_onnx.py").write_text("old")
    path = repo("cn_clip_vit").path

    assert "exists already, and is not overwritten" in refused(InputError, path, out)
    assert "so --force does not replace it" in refused(InputError, path, photos, force=True)
    assert (out / "zhclip_onnx.py").read_text() == "old" and entries(photos) == {"config.json"}

    export(path, out, to="onnx", force=True)
    assert (out / "zhclip_onnx.py").read_text() != "old"
    assert entries(tmp_path) == {"photos", "ONNX"}


def test_a_disk_without_space_is_told_before_the_work(repo, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(9, 8, 1))
    assert "has 1 bytes free, but" in refused(WorkError, repo("cn_clip_vit").path, tmp_path / "x")
    assert entries(tmp_path) == set()


# The repo


def test_an_unconverted_folder_is_told_the_command_that_converts_it(original, tmp_path, capsys):
    source = original("bert_clip").source
    assert zhclip_cli.main(["export", str(source), str(tmp_path / "x"), "--to", "onnx"]) == 2
    assert "zhclip convert" in capsys.readouterr().err
    assert entries(tmp_path) == set()


def test_a_repo_whose_verification_failed_is_refused(repo, tmp_path):
    out = shutil.copytree(repo("cn_clip_vit").path, tmp_path / "OUT")
    report = json.loads((out / "conversion_report.json").read_text(encoding="utf-8"))
    (cosine,) = [
        each for each in report["comparisons"] if (each["step"], each["measure"]) == ("text", "smallest cosine")
    ]
    cosine.update(result=0.5, passed=False)
    (out / "conversion_report.json").write_text(json.dumps({**report, "passed": False}), encoding="utf-8")

    said = refused(InputError, out, tmp_path / "x")

    assert "conversion_report.json says that the verification failed" in said
    assert "smallest cosine 0.5 " in said and said.endswith("Convert the original again.")
    assert entries(tmp_path) == {"OUT"}


def test_a_repo_whose_weights_changed_after_its_proof_is_exported_and_the_readme_says_so(repo, written, tmp_path):
    written("cn_clip_vit")
    out = shutil.copytree(repo("cn_clip_vit").path, tmp_path / "OUT")
    tensors = load_file(out / "model.safetensors")
    tensors["logit_scale"] += 0.5  # in no embedding, so that the graphs stay right
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})

    export(out, tmp_path / "x", to="onnx")
    readme = (tmp_path / "x" / "README.md").read_text(encoding="utf-8")

    assert "files changed or missing after the report was written: model.safetensors." in readme


# The graphs


def test_a_wrong_number_leaves_nothing_and_names_the_tower_and_the_difference(repo, written, tmp_path):
    def change(model):
        names = {each.name for each in model.graph.output}
        if "image_embeds" in names:
            (weight,) = [each for each in model.graph.initializer if each.name.endswith("class_embedding")]
            values = onnx.numpy_helper.to_array(weight).copy()
            values[..., 0] += 0.1  # to all numbers alike, the first norm would take it out again
            weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))

    written("cn_clip_vit", change)
    said = refused(ParityError, repo("cn_clip_vit").path, tmp_path / "x")
    assert said.startswith("The image tower in onnxruntime does not compute what")
    assert re.search(r"differ by up to 0\.\d+, and at most 1e-05 is allowed\. Nothing was written\.$", said)
    assert entries(tmp_path) == set()


def test_a_number_that_is_none_is_no_result(repo, written, tmp_path):
    def change(model):
        for weight in model.graph.initializer:
            if weight.name.endswith("class_embedding"):
                values = onnx.numpy_helper.to_array(weight) * float("nan")
                weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))

    written("cn_clip_vit", change)
    assert "differ by up to nan" in refused(ParityError, repo("cn_clip_vit").path, tmp_path / "x")
    assert entries(tmp_path) == set()


def test_an_operator_that_fails_when_it_runs_leaves_nothing_and_names_the_tower(repo, written, tmp_path):
    # The legacy exporter wrote such a file of an RN50 without an error: a size of one batch in a Reshape.
    def change(model):
        if model.graph.output[0].name == "text_embeds":
            shape = onnx.numpy_helper.from_array(torch.tensor([7, -1]).numpy(), "seven_rows")
            model.graph.initializer.append(shape)
            last = model.graph.node[-1]
            kept = last.output[0]
            last.output[0] = "before"
            model.graph.node.append(onnx.helper.make_node("Reshape", ["before", "seven_rows"], [kept]))

    written("cn_clip_vit", change)
    said = refused(WorkError, repo("cn_clip_vit").path, tmp_path / "x")
    assert said.startswith("The text tower does not run in onnxruntime ")
    assert "Reshape" in said and said.endswith("Nothing was written.")
    assert entries(tmp_path) == set()


def test_an_operator_that_torch_cannot_export_leaves_nothing_and_names_the_tower(repo, tmp_path, monkeypatch):
    def export_fails(*arguments, **options):
        raise RuntimeError("What to do: a page of advice") from ValueError("no operator for aten.cat")

    monkeypatch.setattr(graphs.torch.onnx, "export", export_fails)
    said = refused(WorkError, repo("cn_clip_vit").path, tmp_path / "x")
    assert said == f"torch {torch.__version__} could not export the text tower: no operator for aten.cat"
    assert entries(tmp_path) == set()


# Large weights


def test_weights_over_the_limit_lie_beside_the_graph_and_load(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(graphs, "MOST_BYTES", 1_000_000)  # the text tower has 2.8 MB, the vision tower 0.6
    for name in ("text_model.onnx", "vision_model.onnx"):
        graphs.save(onnx_ir.load(exported("cn_clip_vit") / name), tmp_path / name)

    assert entries(tmp_path) == {"text_model.onnx", "text_model.onnx_data", "vision_model.onnx"}
    assert (tmp_path / "text_model.onnx").stat().st_size < 500_000
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in entries(tmp_path) - {"moved"}:
        (tmp_path / name).rename(moved / name)
    inputs = {name: np.array([[101, 5, 6, 102]]) for name in ("input_ids", "attention_mask")}
    found, wanted = (
        onnxruntime.InferenceSession(folder / "text_model.onnx", providers=["CPUExecutionProvider"]).run(None, inputs)
        for folder in (moved, exported("cn_clip_vit"))
    )
    assert (found[0] == wanted[0]).all()


# What users see, and nothing of the maker


def test_two_exports_from_two_folders_are_the_same_bytes_and_name_no_place(
    repo, exported, tmp_path, monkeypatch, capfd
):
    first = contents(exported("cn_clip_vit"))
    copy = shutil.copytree(repo("cn_clip_vit").path, tmp_path / "another" / "name")
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    monkeypatch.chdir(tmp_path)
    ONNXRegistry.from_torchlib.cache_clear()  # it warns of operators that it cannot have
    capfd.readouterr()

    assert zhclip_cli.main(["export", str(copy), "elsewhere", "--to", "onnx"]) == 0

    second = contents(tmp_path / "elsewhere")
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    places = {str(Path.home()), os.getcwd(), str(Path(__file__).parents[4]), str(copy.parent), "site-packages", ".py:"}
    found = {(name, place) for name, content in second.items() for place in places if place.encode() in content}
    assert found == set()
    for name in ("text_model.onnx", "vision_model.onnx"):
        assert b"stack_trace" not in second[name] and b"pkg.torch" not in second[name]

    # Nothing of the exporter's own words.
    out, err = capfd.readouterr()
    assert err.splitlines() == [
        f"Reading {copy}",
        "Exporting the text tower",
        "Running text_model.onnx in onnxruntime against the repo",
        "Exporting the image tower",
        "Running vision_model.onnx in onnxruntime against the repo",
    ]
    assert "elsewhere: ONNX, float32, opset 20: text_model.onnx, vision_model.onnx" in out
    assert "the largest difference of an embedding is" in out
    code = out.partition("To load it:\n")[2]
    exec("\n".join(line[4:] for line in code.splitlines()), {})
    assert capfd.readouterr().out.splitlines() == ["(2, 48)", "(1, 48)"]
