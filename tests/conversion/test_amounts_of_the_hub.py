"""What the hub's client shows of a download and of a push: amounts on a terminal, and nothing anywhere else."""

import contextlib
import importlib
import io
import os
import re
import struct
import sys
import threading

import pytest
from huggingface_hub import constants

import zhclip_cli

from tests import checkpoints
from tests.conversion.helpers import contents
from tests.loopback_hub import connect, serve

AMOUNT = re.compile(r"%\||it/s|B/s|\r|\x1b")
HUB = importlib.import_module("huggingface_hub.utils.tqdm")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub with a folder to convert, for a user who has not switched the amounts off."""
    for module in (HUB, constants):
        monkeypatch.setattr(module, "HF_HUB_DISABLE_PROGRESS_BARS", None)
    monkeypatch.setattr(HUB, "progress_bar_states", {})
    checkpoints.chinese_clip.chinese_clip_folder(tmp_path / "SOURCE")
    with serve(tmp_path / "server", {"hf_writer": ("user",)}) as hub:
        connect(monkeypatch, hub, "hf_writer", tmp_path / "home")
        hub.add("user/source", contents(tmp_path / "SOURCE"))
        yield hub


@contextlib.contextmanager
def terminal():
    """A pseudo-terminal of 120 columns as stderr; gives a list that holds in the end what was shown there."""
    pty, fcntl, termios = (pytest.importorskip(name) for name in ("pty", "fcntl", "termios"))
    top, bottom = pty.openpty()
    fcntl.ioctl(bottom, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    shown, parts = [], []

    def listen():
        with contextlib.suppress(OSError):  # Linux reports the end of a terminal as an error
            while part := os.read(top, 4096):
                parts.append(part)

    listener = threading.Thread(target=listen)
    listener.start()
    with open(bottom, "w", encoding="utf-8") as stderr, contextlib.redirect_stderr(stderr):
        yield shown
    listener.join()
    os.close(top)
    shown.append(b"".join(parts).decode())


@contextlib.contextmanager
def no_terminal():
    shown = []
    with contextlib.redirect_stderr(io.StringIO()):
        yield shown
        shown.append(sys.stderr.getvalue())


def run(stderr, *words):
    """What a command shows on this stderr."""
    with stderr() as shown:
        assert zhclip_cli.main([*map(str, words)]) == 0
    return shown[0]


def test_a_download_shows_an_amount_on_a_terminal_and_only_there(hub, tmp_path, monkeypatch):
    shown = run(terminal, "convert", "user/source", tmp_path / "OUT")
    told = "Reading user/source"
    assert told in shown and re.search(r"\d[kM]?B ?/ ?\d|\d/\d+ \[", shown), shown

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "another cache"))
    plain = run(no_terminal, "convert", "user/source", tmp_path / "AGAIN")
    assert told in plain and not AMOUNT.search(plain), plain


def test_a_push_shows_an_amount_on_a_terminal_and_only_there(hub, repo, tmp_path):
    folder = repo("cn_clip_vit").path
    shown = run(terminal, "push", folder, "user/a")
    told = "Sending "
    assert told in shown and re.search(r"model.safetensors: +\d+%\|.*/\d.*B/s", shown), shown

    plain = run(no_terminal, "push", folder, "user/b")
    assert told in plain and not AMOUNT.search(plain), plain
