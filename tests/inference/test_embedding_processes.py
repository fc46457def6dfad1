"""`embed` in processes of its own: runs that are killed go on to the same bits, and the memory stays flat."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hf_zhclip.inference import Corpus, Embedder

from tests.inference.killed import HOW
from tests.inference.test_embedder import made
from tests.newcomer import ROOT
from tests.training.torchrun import two_processes_of

BROKEN = 17


@pytest.fixture
def repo(tmp_path):
    small = made()
    small.model.float().save_pretrained(tmp_path / "repo")
    small.processor.save_pretrained(tmp_path / "repo")
    return tmp_path / "repo"


def in_fresh_process(*words) -> dict:
    """What a Python program prints as JSON."""
    ran = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(ROOT)])},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def many_pictures(folder: Path, count: int) -> Path:
    """Small pictures of noise; one of them is broken."""
    folder.mkdir()
    values = np.random.default_rng(0).integers(0, 256, (count, 6, 5, 3), dtype=np.uint8)
    for number, value in enumerate(values):
        Image.fromarray(value).save(folder / f"{number:05d}.png", compress_level=1)
    (folder / f"{BROKEN:05d}.png").write_bytes(b"broken")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in sorted(folder.iterdir())}


@pytest.mark.parametrize(
    ("count", "kills", "points"),
    [(150, 3, "points"), pytest.param(2_000, 50, "no-points", marks=pytest.mark.thorough)],
    ids=["few", "many"],
)
def test_a_run_of_two_ranks_that_is_killed_at_any_moment_goes_on_to_the_same_bits(
    count, kills, points, repo, tmp_path
):
    many_pictures(tmp_path / "pictures", count)
    (tmp_path / "corpora").mkdir()
    words = ("-m", "tests.inference.killed", repo, tmp_path / "pictures", tmp_path / "corpora", kills, points)
    found = in_fresh_process(*words)
    print(found)
    assert len(found["shards_at_kills"]) == kills

    whole = files(tmp_path / "corpora" / "whole")
    assert len(whole) == -(-count // HOW["shard_size"]) + 1
    for each in (tmp_path / "corpora").iterdir():
        assert files(each) == whole, each.name

    corpus = Corpus.open(tmp_path / "corpora" / "whole")
    names = [f"{number:05d}.png" for number in range(count) if number != BROKEN]
    assert list(corpus.ids) == list(corpus.paths) == names
    assert [each.id for each in corpus.manifest.sides["image"].failed] == [f"{BROKEN:05d}.png"]
    embedder = Embedder.from_pretrained(repo, batch_size=HOW["batch_size"])
    wanted = embedder.encode_images([tmp_path / "pictures" / name for name in names])
    assert np.abs(np.concatenate(list(corpus.blocks())) - wanted).max() < 1e-5


@pytest.mark.skipif(sys.platform != "linux", reason="the script needs Linux")
def test_the_memory_does_not_grow_with_the_number_of_pictures(repo, tmp_path):
    """Decoded, 3,000 of these pictures take 105 MiB, and their files 46 MiB."""
    script = ROOT / "benchmarks" / "embed_memory.py"
    found = in_fresh_process(script, tmp_path, "--items", 300, 3_000, "--repo", repo, "--shard-size", 100, "--json")
    assert found["3000"] - found["300"] < 12 * 2**20


@pytest.mark.thorough
def test_the_command_runs_in_two_processes_of_torchrun_and_goes_on_after_a_signal(repo, tmp_path):
    many_pictures(tmp_path / "pictures", 100)
    words = ["zhclip_cli", "embed", "repo", "pictures", "OUT", "--shard-size", "16", "--batch-size", "8"]
    alone = subprocess.Popen([sys.executable, "-m", *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while alone.poll() is None and not (tmp_path / "OUT" / "image-000000.safetensors").exists():
        time.sleep(0.005)
    alone.terminate()
    _, said = alone.communicate()
    if alone.returncode:  # it may have ended by itself before the signal
        assert (alone.returncode, "the same command goes on" in said) == (1, True), said

    printed = two_processes_of(*words, cwd=tmp_path)

    assert printed.count("99 of 100 pictures are embedded") == 1
    assert {each.name for each in (tmp_path / "OUT").iterdir()} == {
        "zhclip_corpus.json",
        *(f"image-{number:06d}.safetensors" for number in range(7)),
    }
    assert len(Corpus.open(tmp_path / "OUT")) == 99
