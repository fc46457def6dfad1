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


def check(run, place, share, out="OUT", old=None):
    """Kills at each moment of a share, by SIGKILL and SIGTERM in turns."""
    if old:
        shutil.copytree(old, place / out)
    names = kills.points(run, place)
    complete = contents(place / out)
    assert names
    for moment in range(share, len(names), SHARES):
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
