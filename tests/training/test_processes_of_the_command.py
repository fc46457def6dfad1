"""`zhclip train` under torchrun: two processes finish one repository."""

import os
import subprocess
import sys

import pytest

from hf_zhclip.conversion import convert
from hf_zhclip.conversion.repos.report import read_report

from tests.checkpoints import cn_clip
from tests.conversion.helpers import save_time
from tests.newcomer import ROOT
from tests.training.test_training import pictures


@pytest.mark.thorough
def test_two_processes_finish_one_repository(tmp_path, monkeypatch):
    save_time(monkeypatch)
    convert(
        cn_clip.cn_clip_file(tmp_path / "a.pt"),
        tmp_path / "REPO",
        config=cn_clip.cn_clip_config(tmp_path / "facts.json"),
    )
    pictures(tmp_path / "data")
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "zhclip_cli"]
    words += ["train", "REPO", "data", "OUT", "--recipe", "full", "--max_steps", "2"]
    ran = subprocess.run(
        [*words, "--per_device_train_batch_size", "2", "--learning_rate", "0.01"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(ROOT)])},
        capture_output=True,
        encoding="utf-8",
        timeout=200,
    )
    assert ran.returncode == 0, ran.stderr
    assert read_report(tmp_path / "OUT").passed and ran.stdout.count("trained and verified") == 1
