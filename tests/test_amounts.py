"""The amounts of long steps: on a terminal, after a delay, and nowhere else."""

import contextlib
import importlib
import io

import pytest
import torch

from hf_zhclip import amounts
from hf_zhclip.conversion.proof import fresh_process
from hf_zhclip.conversion.reading.files import sha256
from hf_zhclip.conversion.repos.write import write_weights

HUB = importlib.import_module("huggingface_hub.utils.tqdm")
WORKS = (
    "import time; from hf_zhclip.amounts import expect, step; expect(9); [step() for _ in range(7)]; time.sleep(1.5); "
)
ANSWERS = "open(sys.argv[2], 'w').write('{}')"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Amounts are wanted, and appear at once."""
    monkeypatch.setattr(HUB, "are_progress_bars_disabled", lambda name: False)
    monkeypatch.setattr(amounts, "DELAY", 0)


@pytest.fixture
def file(tmp_path):
    (tmp_path / "模型.bin").write_bytes(bytes(5_000_000))
    return tmp_path / "模型.bin"


def seen(stderr: io.StringIO, work, *arguments) -> str:
    """What a piece of work writes to this stderr."""
    with contextlib.redirect_stderr(stderr):
        work(*arguments)
    return stderr.getvalue()


def test_hashing_shows_bytes_and_leaves_a_clean_line(file):
    shown = seen(Terminal(), sha256, file)
    assert "Hashing 模型.bin" in shown and "/5.00M" in shown
    assert shown.rpartition("\r")[0].rpartition("\r")[2].strip() == ""


def test_writing_shows_bytes(tmp_path):
    shown = seen(Terminal(), write_weights, tmp_path, {"a": torch.zeros(1000, 250)}, "keep", "5GB", False)
    assert "Writing" in shown and "/1.00M" in shown


def test_verifying_shows_the_computations_of_the_fresh_process():
    shown = seen(Terminal(), fresh_process.answered, WORKS + ANSWERS, {})
    assert "Verifying:" in shown and " 7/9 " in shown


def test_a_stderr_that_is_no_terminal_stays_empty(file):
    assert seen(io.StringIO(), sha256, file) == ""


def test_a_short_step_and_a_user_who_wants_none_see_nothing(monkeypatch, file):
    monkeypatch.setattr(amounts, "DELAY", 60)
    assert seen(Terminal(), sha256, file) == ""
    monkeypatch.setattr(amounts, "DELAY", 0)
    monkeypatch.setattr(HUB, "are_progress_bars_disabled", lambda name: True)
    assert seen(Terminal(), sha256, file) == ""
