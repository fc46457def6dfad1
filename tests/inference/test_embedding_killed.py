"""A run of `embed` with two ranks that is killed and goes on gives what an uninterrupted run gives, bit for bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hf_zhclip.inference import Corpus, Embedder

from tests.inference.killed import HOW
from tests.inference.test_embedder import made
from tests.newcomer import ROOT

BROKEN = 17


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
def test_a_run_of_two_ranks_that_is_killed_at_any_moment_goes_on_to_the_same_bits(count, kills, points, tmp_path):
    small = made()
    small.model.float().save_pretrained(tmp_path / "repo")
    small.processor.save_pretrained(tmp_path / "repo")
    many_pictures(tmp_path / "pictures", count)
    (tmp_path / "corpora").mkdir()
    words = [tmp_path / "repo", tmp_path / "pictures", tmp_path / "corpora", str(kills), points]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(ROOT)])}
    ran = subprocess.run(
        [sys.executable, "-m", "tests.inference.killed", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
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
    embedder = Embedder.from_pretrained(tmp_path / "repo", batch_size=HOW["batch_size"])
    wanted = embedder.encode_images([tmp_path / "pictures" / name for name in names])
    assert np.abs(np.concatenate(list(corpus.blocks())) - wanted).max() < 1e-5
