"""Steps in float64 on CPU give the losses and the weights of cn_clip's own training functions."""

import json
import os
import subprocess
import sys

import pytest
import torch

from hf_zhclip.conversion import convert

from tests.checkpoints.cn_clip import cn_clip_file
from tests.conversion.helpers import save_time
from tests.newcomer import ROOT
from tests.training.beside_cn_clip import (
    FACTS,
    GATHERED,
    OPTIMISER,
    SHAPES,
    batches,
    farthest,
    trained_by_cn_clip,
    trained_by_us,
)

pytestmark = pytest.mark.parity

SHIM = ROOT / "tests" / "parity" / "shim"


@pytest.fixture(scope="module")
def repos(tmp_path_factory):
    """Converted checkpoints without dropout, by cn_clip's names of the vision towers."""
    folder = tmp_path_factory.mktemp("repos")
    (folder / "facts.json").write_text(json.dumps(FACTS))
    with pytest.MonkeyPatch.context() as patch:
        save_time(patch)
        for vision, shapes in SHAPES.items():
            file = cn_clip_file(folder / f"{vision}.pt", shapes())
            convert(file, folder / vision, config=folder / "facts.json")
    return {vision: folder / vision for vision in SHAPES}


# cn_clip's arguments, ours, and the steps
WAYS = {
    "full": ("ViT-B-16", {}, {}, 1),
    "full, ResNet": ("RN50", {}, {}, 1),
    "several steps": ("ViT-B-16", {}, {}, 5),
    "frozen vision": ("ViT-B-16", {"freeze_vision": True}, {"freeze": "vision"}, 2),
    "frozen vision, ResNet": ("RN50", {"freeze_vision": True}, {"freeze": "vision"}, 2),
    "patches dropped": ("ViT-B-16", {"mask_ratio": 0.5}, {"patch_dropping": 0.5}, 1),
}


@pytest.mark.parametrize("way", WAYS)
def test_losses_and_weights_are_those_of_its_training(way, repos, tmp_path):
    vision, theirs, ours, steps = WAYS[way]
    data = batches(steps, 6)

    wanted, their_weights = trained_by_cn_clip(vision, data, steps, **theirs)
    losses, our_weights = trained_by_us(repos[vision], tmp_path, data, steps, **ours)

    assert losses == pytest.approx(wanted, abs=1e-9)
    assert farthest(our_weights, their_weights) < 1e-9


@pytest.mark.parametrize("vision", SHAPES)
def test_accumulation_with_its_feature_cache_is_that_of_its_training(vision, repos, tmp_path):
    """Its batches are the chunks of ours."""
    chunks = batches(6, 4)
    wanted, their_weights = trained_by_cn_clip(vision, chunks, 2, accum_freq=3)

    whole = [tuple(torch.cat(each) for each in zip(*chunks[start : start + 3], strict=True)) for start in (0, 3)]
    losses, our_weights = trained_by_us(repos[vision], tmp_path, whole, 2, cache_chunk=4, as_cn_clip=True)

    assert losses == pytest.approx(wanted, abs=1e-9)
    assert farthest(our_weights, their_weights) < 1e-9


def test_a_scale_above_its_limit_is_clamped_to_the_limit(repos, tmp_path):
    """With a rate at which the first step leaves the range."""
    data = batches(1, 6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(OPTIMISER, "lr", 2.0)
        _, their_weights = trained_by_cn_clip("ViT-B-16", data, 1)
        _, our_weights = trained_by_us(repos["ViT-B-16"], tmp_path, data, 1, learning_rate=2.0)

    assert our_weights["logit_scale"].item() == their_weights["logit_scale"].item()


@pytest.fixture(scope="module")
def gathered(repos, tmp_path_factory):
    """What two gloo processes found, by the name of the way."""
    out = tmp_path_factory.mktemp("gathered")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    ran = subprocess.run(
        [*command, "-m", "tests.training.beside_cn_clip", str(repos["ViT-B-16"]), str(out)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SHIM), os.environ.get("PYTHONPATH", ""), str(ROOT)])},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads((out / "found.json").read_text())


@pytest.mark.parametrize("way", GATHERED)
def test_two_processes_give_its_losses_and_weights(way, gathered):
    found = gathered[way]
    assert found["found"] == pytest.approx(found["wanted"], abs=1e-9)
    assert found["farthest"] < 1e-9
