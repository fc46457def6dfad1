"""A command that is killed anywhere leaves OUT absent, old or complete, and the next try leaves nothing else."""

import os
import shutil
import signal

import pytest
from PIL import Image

import zhclip_cli
from hf_zhclip.conversion import convert

from tests import kills
from tests.checkpoints import FAMILIES
from tests.conversion.helpers import answer_here, contents, entries, save_time
from tests.data.made import tsv

pytestmark = pytest.mark.skipif(os.name != "posix", reason="forks and kills")

SHARES = 10
shares = pytest.mark.parametrize(
    "share", [pytest.param(number, marks=[pytest.mark.thorough] if number else []) for number in range(SHARES)]
)
"""The first share of the moments runs in `make test`, the others in `make test-thorough`."""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    found = FAMILIES["cn_clip_vit"](tmp_path_factory.mktemp("source"))
    return [found.source, "--config", found.arguments["config"]]


@pytest.fixture(scope="module")
def repo(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("repo") / "REPO"
    with pytest.MonkeyPatch.context() as patch:
        save_time(patch)
        convert(source[0], out, config=source[2])
    return out


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    save_time(monkeypatch)


def command(*words):
    return lambda: zhclip_cli.main(list(map(str, words)))


def check(run, place, share, out="OUT", old=None, every=SHARES):
    """Kills at each moment of a share, by SIGKILL and SIGTERM in turns."""
    if old:
        shutil.copytree(old, place / out)
    names = kills.points(run, place)
    complete = contents(place / out)
    assert names
    for moment in range(share, len(names), every):
        shutil.rmtree(place / out)
        if old:
            shutil.copytree(old, place / out)
        sent = signal.SIGTERM if moment % 2 else signal.SIGKILL

        code = kills.exit_code(run, place, moment, sent)

        assert code in ({-9} if sent == signal.SIGKILL else {0, 1}), names[moment]
        found = contents(place / out) if (place / out).exists() else {}
        assert any(alike(found, each) for each in ({}, contents(old) if old else {}, complete)), names[moment]
        if sent == signal.SIGTERM:
            assert entries(place) <= {out}, names[moment]
        assert kills.exit_code(run, place) == (0 if old or not found else 2), names[moment]
        assert entries(place) == {out} and alike(contents(place / out), complete), names[moment]


def alike(found, wanted):
    """Whether two folders hold the same files, apart from what tells the time."""
    return {name: len(each) for name, each in found.items()} == {name: len(each) for name, each in wanted.items()}


@shares
def test_convert(share, source, tmp_path):
    check(command("convert", source[0], tmp_path / "OUT", *source[1:]), tmp_path, share)


@shares
def test_convert_with_force(share, source, tmp_path, repo):
    check(command("convert", source[0], tmp_path / "OUT", *source[1:], "--force"), tmp_path, share, old=repo)


@shares
@pytest.mark.parametrize("to", ["transformers", "source"])
def test_export(to, share, repo, tmp_path, monkeypatch):
    monkeypatch.setattr("hf_zhclip.conversion.exports.exporting.in_fresh_process", answer_here)
    check(command("export", repo, tmp_path / "OUT", "--to", to), tmp_path, share)


@shares
@pytest.mark.parametrize("old", [b"", b"old"], ids=["new", "force"])
def test_export_to_a_file(old, share, repo, tmp_path):
    """cn_clip's file."""
    place, out = tmp_path / "place", tmp_path / "place" / "OUT.pt"
    place.mkdir()
    run = command("export", repo, out, "--to", "cn_clip", *(["--force"] if old else []))
    if old:
        out.write_bytes(old)
    names = kills.points(run, place)
    complete = out.read_bytes()
    for moment in range(share, len(names), SHARES):
        out.unlink()
        if old:
            out.write_bytes(old)

        assert kills.exit_code(run, place, moment) == -9, names[moment]

        found = out.read_bytes() if out.exists() else b""
        assert len(found) in (len(old), len(complete)), names[moment]
        assert kills.exit_code(run, place) == (0 if old or not found else 2), names[moment]
        assert entries(place) == {"OUT.pt"} and len(out.read_bytes()) == len(complete), names[moment]


def test_a_card_and_figures_that_are_noted(repo, split, tmp_path):
    """Each of the two files is old or complete."""
    place, old, out = tmp_path / "place", tmp_path / "old", tmp_path / "place" / "OUT"
    shutil.copytree(repo, old)
    assert zhclip_cli.main(["card", str(old), "--force"]) == 0
    shutil.copytree(old, out)
    run = command("evaluate", out, split, "--device", "cpu", "--card")
    names = kills.points(run, place)
    before, complete = contents(old), contents(out)
    assert names and complete != before
    for moment, name in enumerate(names):
        shutil.rmtree(out)
        shutil.copytree(old, out)

        assert kills.exit_code(run, place, moment) == -9, name

        found = {name: each for name, each in contents(out).items() if not name.startswith(".")}
        assert all(each in (before.get(name), complete.get(name)) for name, each in found.items()), name
        assert set(before) <= set(found), name
        assert kills.exit_code(run, place) == 0, name
        assert contents(out) == complete, name


@pytest.mark.thorough
@pytest.mark.parametrize("share", [0, 3, 6, 9])
@pytest.mark.parametrize("layout", ["plain", "transformers.js"])
def test_export_to_onnx(layout, share, repo, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    words = ["export", repo, tmp_path / "OUT", "--to", "onnx", "--layout", layout]
    check(command(*words), tmp_path, share, every=4 * SHARES)  # each costs ten seconds


@pytest.fixture
def split(tmp_path_factory):
    return tsv(tmp_path_factory.mktemp("split"))


@shares
@pytest.mark.parametrize("to", ["tsv", "lmdb", "parquet"])
def test_data(to, share, split, tmp_path):
    for package in {"lmdb": ("lmdb",), "parquet": ("datasets", "pyarrow")}.get(to, ()):
        pytest.importorskip(package)
    check(command("data", split, tmp_path / "OUT", "--to", to), tmp_path, share)


@shares
@pytest.mark.parametrize("force", [[], ["--force"]], ids=["new", "force"])
def test_evaluate(force, share, repo, split, tmp_path, tmp_path_factory):
    words = ["evaluate", repo, split, "--device", "cpu"]
    old = None
    if force:
        old = tmp_path_factory.mktemp("old") / "OUT"
        assert zhclip_cli.main([*map(str, words), "--out", str(old)]) == 0
    check(command(*words, "--out", tmp_path / "OUT", *force), tmp_path, share, old=old)


@pytest.fixture
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for number in range(4):
        Image.new("RGB", (8, 8), (number * 40, 90, 200 - number * 30)).save(folder / f"{number}颜色{number}.png")
    return folder


def names_of(place):
    return {path.relative_to(place).as_posix() for path in place.rglob("*")}


@shares
def test_train(share, repo, data, tmp_path):
    words = ["train", repo, data, tmp_path / "OUT", "--recipe", "full", "--max_steps", 2, "--save_steps", 1]
    words += ["--per_device_train_batch_size", 2, "--use_cpu", "--logging_steps", 1]
    names = kills.points(command(*words), tmp_path)
    complete, weights = names_of(tmp_path), (tmp_path / "OUT" / "model.safetensors").read_bytes()
    for moment in range(share * 8, len(names), SHARES * 8):  # a training has many, and costs seconds
        for path in tmp_path.iterdir():
            shutil.rmtree(path)
        sent = signal.SIGTERM if moment % 2 else signal.SIGKILL

        code = kills.exit_code(command(*words), tmp_path, moment, sent)

        assert code in ({-9} if sent == signal.SIGKILL else {0, 1}), names[moment]
        if not (tmp_path / "OUT").exists():
            again = kills.exit_code(command(*words), tmp_path)  # refused where there is a checkpoint to go on from
            assert again == 0 or kills.exit_code(command(*words, "--resume"), tmp_path) == 0, names[moment]
        assert names_of(tmp_path) == complete, names[moment]
        assert (tmp_path / "OUT" / "model.safetensors").read_bytes() == weights, names[moment]
