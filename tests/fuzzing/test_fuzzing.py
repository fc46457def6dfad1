"""A share of `make fuzz`, and that its run finds what it is there to find."""

import os
import subprocess
import sys
import time
import zipfile
from random import Random

import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzzing import mutations, running, targets
from tests.fuzzing.running import Log, make_seeds, prepared, run

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="cases run in forked children")

CASES = 100
SEED = 20261126


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def seeds(place):
    names = (
        *("convert hf_clip", "convert open_clip", "data tsv", "data lmdb", "recipe", "notes", "export", "corpus"),
        *("export data", "searched", "features", "picture", "repo"),
    )
    return make_seeds(place / "seeds", names)


def test_changed_files_end_in_words_and_reach_every_step(seeds, place, monkeypatch):
    monkeypatch.setitem(running.WEIGHTS, "convert", 30)  # two seeds, where `make fuzz` has 26
    log = Log()
    for ending in run(SEED, range(CASES), seeds, place, workers=1):
        log.add(ending)
    assert [(each.case, each.what, each.finding) for each in log.findings] == []
    assert log.count == CASES
    assert log.short(least=5) == []


@settings(max_examples=25, deadline=None, derandomize=True)
@given(case=st.integers(0, 2**32))
def test_any_case_ends_in_words(seeds, place, case):
    for ending in run(SEED, [case], seeds, place, workers=1):
        assert ending.finding is None, f"case {case} of the seed {SEED}, {ending.what}"


def acted(action, seeds, place, monkeypatch, cases=1):
    """The endings of cases whose target does something of its own."""
    monkeypatch.setitem(targets.TARGETS, "picture", (action,))
    return list(run(SEED, range(cases), {"picture": seeds["picture"]}, place, workers=1))


def raises(folder, out, reach, say):
    raise KeyError("x")


def dies(folder, out, reach, say):
    os.abort()


def waits(folder, out, reach, say):
    time.sleep(60)


def grows(folder, out, reach, say):
    bytearray(200 * 2**20)


def writes_beside(folder, out, reach, say):
    (out.parent / "other").write_text("x")


def writes_elsewhere(folder, out, reach, say):
    (out.parent.parent / "other").write_text("x")


def writes_the_canary(folder, out, reach, say):
    (folder / mutations.CANARY).touch()


def changes_the_source(folder, out, reach, say):
    (folder / "x").touch()


def starts_a_process(folder, out, reach, say):
    subprocess.run(["true"], check=True)


def says_an_escape(folder, out, reach, say):
    say("\x1b[2J")


def prints_an_escape(folder, out, reach, say):
    print("\u202egnp", file=sys.stderr)


def a_library_prints_an_escape(folder, out, reach, say):
    os.write(2, b"\x1b[2J")


@pytest.mark.parametrize(
    ("action", "found"),
    [
        (raises, "KeyError"),
        (dies, "crash: exit code -6"),
        (waits, "hang"),
        (grows, "memory"),
        (writes_beside, "outside OUT"),
        (writes_elsewhere, "outside OUT"),
        (writes_the_canary, "canary"),
        (changes_the_source, "outside OUT"),
        (starts_a_process, "outside OUT"),
        (says_an_escape, "control character"),
        (prints_an_escape, "control character"),
        (a_library_prints_an_escape, "control character"),
    ],
)
def test_a_fault_is_found_and_belongs_to_its_case(action, found, seeds, place, monkeypatch):
    monkeypatch.setattr(running, "WALL_SECONDS", 0.5 if action is waits else 30)
    monkeypatch.setattr(running, "MOST_MIB", 100)
    endings = acted(action, seeds, place, monkeypatch, cases=2)
    assert sorted(each.case for each in endings) == [0, 1]
    assert all(found in each.finding for each in endings), endings


def test_a_case_is_the_same_each_time(seeds, tmp_path):
    made = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        told = prepared(seeds["corpus"], folder, Random("7/3"))
        made.append((told, {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}))
    assert made[0] == made[1]


def test_changed_containers_have_right_checksums_and_lengths(tmp_path):
    torch.save({"w": torch.ones(100)}, tmp_path / "seed.pt")
    content = (tmp_path / "seed.pt").read_bytes()
    for number in range(30):
        path = tmp_path / "x.pt"
        path.write_bytes(mutations.of_zip(content, Random(number), True))
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None


def test_most_changed_graphs_can_be_parsed_and_differ(seeds):
    content = (seeds["export"] / "export" / "text_model.onnx").read_bytes()
    made = [mutations.of_graph(content, Random(number), False) for number in range(200)]
    assert sum(each != content for each in made) > 170
    for each in made:
        onnx.load_model_from_string(each)


def test_no_seed_is_changed(seeds, place):
    before = {path: path.read_bytes() for path in seeds["corpus"].rglob("*") if path.is_file()}
    list(run(1, range(20), {"corpus": seeds["corpus"]}, place, workers=1))
    assert {path: path.read_bytes() for path in before} == before


def test_a_step_that_too_few_cases_reach_is_named():
    log = Log()
    assert log.short(least=1) == list(targets.STAGES)
    assert any(line.startswith("read") for line in log.lines())


ACCEPTED = (
    "data lmdb",
    "recipe",
    "notes",
    "export",
    "export data",
    "corpus",
    "searched",
    "features",
    "picture",
    "repo",
)


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_seed_is_accepted_as_it_is(name, seeds, tmp_path, monkeypatch):
    """So that what is refused is refused for its change."""
    (tmp_path / "source").symlink_to(seeds[name])
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    steps: list[str] = []
    targets.TARGETS[name.split()[0]][0](seeds[name], tmp_path / "OUT", steps.append, steps.append)
    assert steps
