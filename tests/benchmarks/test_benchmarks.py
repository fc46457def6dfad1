"""The scripts' shared module by hand, and the smallest version of what each script measures; nothing is timed here."""

import importlib
import json
import sys

import numpy as np
import pytest
import torch

from tests.newcomer import ROOT
from tests.small_models import VARIANTS, build


@pytest.fixture
def script(monkeypatch):
    """Imports a script of benchmarks/, where the scripts find each other."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and "benchmarks" in sys.modules[name].__file__:
            del sys.modules[name]


@pytest.fixture
def measuring(script):
    return script("measuring")


def test_a_ratio_is_the_median_of_the_rounds_ratios_by_either_clock(measuring):
    ours = [measuring.Seconds(1.0, 2.0), measuring.Seconds(2.0, 2.0), measuring.Seconds(4.0, 2.0)]
    theirs = [measuring.Seconds(3.0, 2.0), measuring.Seconds(4.0, 4.0), measuring.Seconds(40.0, 6.0)]
    assert measuring.ratio(ours, theirs) == 3.0  # of 3, 2 and 10
    assert measuring.ratio(ours, theirs, 1) == 2.0


def test_a_table_has_medians_and_ratios_to_those_who_took_part(measuring):
    found = {
        "ours": [measuring.Seconds(0.5, 1.0), measuring.Seconds(0.25, 1.0), measuring.Seconds(1.0, 1.0)],
        "peer": [measuring.Seconds(1.0, 2.0), measuring.Seconds(1.0, 2.0), measuring.Seconds(1.0, 2.0)],
    }
    table = measuring.table("How fast?", found, 10, ["peer", "absent"], ["A note."])
    assert table.columns == ["", "items a second", "processor ms an item", "times peer (by processor time)"]
    assert table.rows == [["ours", "20.0", "100.00", "2.00 (2.00)"], ["peer", "10.0", "200.00", "1"]]
    assert measuring.printed(table).splitlines()[-1] == "A note."


def test_all_sides_take_turns_after_they_are_warm(measuring):
    calls = []
    sides = {name: lambda name=name: calls.append(name) for name in "ab"}
    found = measuring.in_turns(sides, rounds=2, least=0)
    assert calls == ["a", "a", "b", "b", "a", "b", "a", "b"]
    assert {name: len(each) for name, each in found.items()} == {"a": 2, "b": 2}


def test_tables_are_written_as_data_with_the_machine(measuring, tmp_path, capsys):
    measuring.give([measuring.Table("Q", ["", "x"], [["a", "1"]])], tmp_path / "a.json", "Why.")
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["tables"] == [{"question": "Q", "columns": ["", "x"], "rows": [["a", "1"]], "notes": []}]
    assert content["explained"] == "Why." and content["machine"]["torch"] == torch.__version__
    assert "| a | 1 |" in capsys.readouterr().out


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_floor_does_the_products_of_every_tower_that_is_fused(script, variant):
    floor = script("floor")
    model = build(variant)
    for tower, pooling in ((model.text_model, model.config.text_pooling), (model.vision_model, "pooler")):
        if tower.config.model_type in floor.TOWERS:
            floor.floor(tower, pooling, batch=2, length=3)()


def test_the_gpu_script_compares_small_models_on_the_cpu(script, tmp_path):
    gpu = script("gpu")
    own = gpu.make(tmp_path, gpu.SMALL)
    given = gpu.inputs(2, "cpu", torch.float32)
    for what, call in {**gpu.calls(own)}.items():
        assert call(**given[what]).shape == (2, 512)
        assert gpu.peer_calls(gpu.peer(gpu.SMALL))[what](**given[what]).shape == (2, 512)


def test_the_retrieval_script_makes_vectors_of_length_1_and_scales_seconds(script):
    retrieval, measuring = script("retrieval_cost"), script("measuring")
    assert np.allclose(np.linalg.norm(retrieval.random_vectors(3, 0).numpy(), axis=1), 1)
    assert retrieval.scaled(retrieval.less(measuring.Seconds(3, 2), measuring.Seconds(1, 1)), 4) == (8, 4)


def test_the_onnx_script_gives_every_side_ids_of_its_length(script):
    onnx_speed = script("onnx_speed")
    given = onnx_speed.inputs(2)
    assert given["input_ids"].shape == (2, 52) and given["pixel_values"].shape == (2, 3, 224, 224)


def test_results_are_one_file_of_all_scripts_and_a_script_that_fails_is_told(script, tmp_path, monkeypatch):
    results = script("results")
    monkeypatch.setattr(results, "HERE", tmp_path)
    (tmp_path / "measuring.py").write_text("told = print")
    (tmp_path / "good.py").write_text(
        "from measuring import told\nimport sys, json\n"
        "json.dump({'tables': [{'question': 'Q', 'columns': ['', 'x'], 'rows': [['a', '1']], 'notes': ['N.']}],"
        "'explained': 'Why.'}, open(sys.argv[-1], 'w'))\n"
    )
    (tmp_path / "old.py").write_text("print('3 s')")
    (tmp_path / "bad.py").write_text((tmp_path / "good.py").read_text() + "raise SystemExit(7)")
    found = {name: results.ran(name, ["FOLDER"], tmp_path) for name in ("good.py", "old.py", "bad.py")}
    text = "\n".join(results.section(name, ["FOLDER"], each) for name, each in found.items())
    assert "## `good.py FOLDER`\n\n**Q**\n\n|  | x |\n| --- | --- |\n| a | 1 |\n\nN.\n\nWhy.\n" in text
    assert "```\n3 s\n```" in text
    assert text.count("**Q**") == 2 and "```\nFailed with code 7: tables may be missing.\n```" in text


def test_every_script_stands_in_the_list_of_make_bench(script):
    named = {path.name for path in (ROOT / "benchmarks").glob("*.py")}
    assert named - {"measuring.py", "floor.py", "results.py", "gpu.py"} == set(script("results").SCRIPTS)
