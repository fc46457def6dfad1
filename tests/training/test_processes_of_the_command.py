"""`zhclip train` under torchrun: two processes finish one repository."""

import pytest

from hf_zhclip.conversion import convert
from hf_zhclip.conversion.repos.report import read_report

from tests.checkpoints import cn_clip
from tests.conversion.helpers import save_time
from tests.training.test_training import pictures
from tests.training.torchrun import two_processes_of


@pytest.mark.thorough
def test_two_processes_finish_one_repository(tmp_path, monkeypatch):
    save_time(monkeypatch)
    convert(
        cn_clip.cn_clip_file(tmp_path / "a.pt"),
        tmp_path / "REPO",
        config=cn_clip.cn_clip_config(tmp_path / "facts.json"),
    )
    pictures(tmp_path / "data")
    words = ["train", "REPO", "data", "OUT", "--recipe", "full", "--max_steps", "2"]
    words += ["--per_device_train_batch_size", "2", "--learning_rate", "0.01"]
    printed = two_processes_of("zhclip_cli", *words, cwd=tmp_path)
    assert read_report(tmp_path / "OUT").passed and printed.count("trained and verified") == 1
