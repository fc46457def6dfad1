"""Signals end a command in a line, and leave nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import zhclip_cli
from hf_zhclip.staging import staging
from zhclip_cli import list as command
from zhclip_cli import signals, streams

from tests.checkpoints import FAMILIES
from tests.conversion.helpers import entries, save_time

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture
def original(tmp_path):
    (tmp_path / "source").mkdir()
    found = FAMILIES["cn_clip_vit"](tmp_path / "source")
    return [str(found.source), str(tmp_path / "to" / "OUT"), "--config", str(found.arguments["config"])]


def ended(tmp_path, run):
    """The exit code of a child that calls a function, and what it said."""
    child = os.fork()
    if not child:
        with open(tmp_path / "said", "w") as said:
            os.dup2(said.fileno(), 2)
        sys.stderr = open(2, "w", closefd=False, buffering=1)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background ignores them
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        code = 99
        try:
            code = run()
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    assert os.WIFEXITED(status), f"killed by signal {os.WTERMSIG(status)}"
    return os.WEXITSTATUS(status), (tmp_path / "said").read_text()


@pytest.mark.parametrize(
    ("name", "words"), [("SIGINT", "interrupted"), ("SIGTERM", "ended by SIGTERM"), ("SIGHUP", "ended by SIGHUP")]
)
@pytest.mark.parametrize("step", ["Reading", "Writing", "Verifying"])
def test_a_signal_ends_a_conversion_in_a_line_and_leaves_nothing(name, words, step, original, tmp_path, monkeypatch):
    save_time(monkeypatch)

    def send(line):
        if line.startswith(step):
            os.kill(os.getpid(), getattr(signal, name))

    monkeypatch.setattr("zhclip_cli.convert.print_progress", send)

    code, said = ended(tmp_path, lambda: zhclip_cli.main(["convert", *original]))

    assert (code, said) == (1, f"zhclip: {words}; no half-written file was left.\n")
    assert entries(tmp_path) == {"source", "said"}


def test_a_signal_that_nohup_ignores_is_ignored(tmp_path, monkeypatch):
    def run():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        return zhclip_cli.main(["list"])

    monkeypatch.setattr(command, "run", lambda options, as_json: os.kill(os.getpid(), signal.SIGHUP) or 0)
    assert ended(tmp_path, run) == (0, "")


def test_a_second_signal_does_not_stop_the_cleaning(tmp_path, monkeypatch):
    def run(options, as_json):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            (tmp_path / "cleaned").touch()

    monkeypatch.setattr(command, "run", run)

    code, said = ended(tmp_path, lambda: zhclip_cli.main(["list"]))

    assert (code, said) == (1, "zhclip: ended by SIGTERM; no half-written file was left.\n")
    assert (tmp_path / "cleaned").exists()


def test_a_second_signal_at_the_end_of_the_process_changes_neither_its_words_nor_its_code(tmp_path, monkeypatch):
    tell = streams.tell

    def run():
        code = zhclip_cli.main()
        os.kill(os.getpid(), signal.SIGTERM)  # while Python ends
        return code

    monkeypatch.setattr(sys, "argv", ["zhclip", "list"])
    monkeypatch.setattr(command, "run", lambda options, as_json: os.kill(os.getpid(), signal.SIGHUP))
    monkeypatch.setattr(streams, "tell", lambda line: os.kill(os.getpid(), signal.SIGTERM) or tell(line))

    assert ended(tmp_path, run) == (1, "zhclip: ended by SIGHUP; no half-written file was left.\n")


def test_a_signal_after_the_work_changes_neither_its_words_nor_its_code(tmp_path, monkeypatch):
    def run():
        code = zhclip_cli.main()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            os.kill(os.getpid(), number)  # while Python ends
        return code

    monkeypatch.setattr(sys, "argv", ["zhclip", "list"])
    monkeypatch.setattr(command, "run", lambda options, as_json: 0)

    assert ended(tmp_path, run) == (0, "")


LATE = """
import ctypes, os, signal, sys
from zhclip_cli import list, main

libc = ctypes.CDLL(None)
# The functions get the exit code first: kill(0, SIGTERM), which is for this group of processes, or raise(1), a SIGHUP.
libc.on_exit(*LAST)
list.run = lambda options, as_json: WORK
sys.argv = ["zhclip", "list"]
signal.signal(signal.SIGHUP, signal.SIG_DFL)
sys.exit(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="on_exit of glibc")
@pytest.mark.parametrize(
    ("work", "last", "code", "said"),
    [
        ("0", "libc.kill, signal.SIGTERM", 0, ""),
        (
            "os.kill(os.getpid(), signal.SIGTERM)",
            "libc['raise'], None",
            1,
            "zhclip: ended by SIGTERM; no half-written file was left.\n",
        ),
    ],
)
def test_a_signal_after_python_s_own_end_changes_neither_words_nor_code(work, last, code, said):
    program = [sys.executable, "-c", LATE.replace("WORK", work).replace("*LAST", last)]
    found = subprocess.run(program, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert (found.returncode, found.stderr) == (code, said)


def test_a_process_that_does_not_end_after_its_last_words_is_ended(tmp_path, monkeypatch):
    def run():
        zhclip_cli.main()
        time.sleep(60)

    monkeypatch.setattr(sys, "argv", ["zhclip", "list"])
    monkeypatch.setattr(signals, "PATIENCE", 0.2)
    monkeypatch.setattr(command, "run", lambda options, as_json: os.kill(os.getpid(), signal.SIGTERM))

    begun = time.monotonic()
    code, said = ended(tmp_path, run)

    assert code == 1 and said.startswith("zhclip: ended by SIGTERM; no half-written file was left.\n")
    assert time.monotonic() - begun < 30


def test_a_signal_whose_exception_is_lost_ends_the_run_nevertheless(tmp_path, monkeypatch):
    def run(options, as_json):
        with staging(tmp_path / "OUT", 0, False):
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            except KeyboardInterrupt:
                time.sleep(60)

    monkeypatch.setattr(command, "run", run)
    monkeypatch.setattr(signals, "PATIENCE", 0.2)

    code, said = ended(tmp_path, lambda: zhclip_cli.main(["list"]))

    assert (code, said) == (1, "zhclip: ended by SIGTERM. No half-written file was left.\n")
    assert entries(tmp_path) == {"said"}


def test_signals_mean_after_a_command_what_they_meant_before():
    def meanings():
        return [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGBUS)]

    before = meanings()
    assert zhclip_cli.main(["list"]) == 0
    assert meanings() == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_source_that_shrinks_while_it_is_read_is_told_in_a_line(original, tmp_path, monkeypatch):
    save_time(monkeypatch)
    whole = Path(original[0]).read_bytes()

    def shrink(line):
        if line.startswith("Writing"):
            os.truncate(original[0], 100)

    monkeypatch.setattr("zhclip_cli.convert.print_progress", shrink)
    code, said = ended(tmp_path, lambda: zhclip_cli.main(["convert", *original]))

    assert code == 1
    assert said.startswith("zhclip: a file became shorter while it was read, or its disk failed. Fetch the file again")
    assert said.count("\n") == 1
    assert entries(tmp_path) == {"source", "said"}

    Path(original[0]).write_bytes(whole)
    monkeypatch.setattr("zhclip_cli.convert.print_progress", lambda line: None)
    assert ended(tmp_path, lambda: zhclip_cli.main(["convert", *original])) == (0, "")


def changed_meanwhile(original, tmp_path, monkeypatch, change):
    """The exit code and the words of an export of a repo whose weights change before they are written."""
    save_time(monkeypatch)
    monkeypatch.setattr("zhclip_cli.convert.print_progress", lambda line: None)
    repo = tmp_path / "repo"
    assert zhclip_cli.main(["convert", original[0], str(repo), *original[2:]]) == 0

    def changing(line):
        if line.startswith("Writing"):
            change(repo / "model.safetensors")

    monkeypatch.setattr("zhclip_cli.export.print_progress", changing)

    def run():
        signal.alarm(60)
        return zhclip_cli.main(["export", str(repo), str(tmp_path / "to" / "OUT"), "--to", "transformers"])

    found = ended(tmp_path, run)
    assert entries(tmp_path) == {"source", "said", "repo"}
    return found


def test_weights_that_shrink_while_they_are_copied_unchanged_are_told_in_a_line(original, tmp_path, monkeypatch):
    code, said = changed_meanwhile(original, tmp_path, monkeypatch, lambda file: os.truncate(file, 100))

    assert code == 1 and said.count("\n") == 1
    assert said.startswith("zhclip: a file became shorter while it was read, or its disk failed. Fetch the file again")


def test_weights_that_are_replaced_while_a_repo_is_exported_are_told_in_a_line(original, tmp_path, monkeypatch):
    def replace(file):
        (file.parent / "new").write_bytes(bytes(5000))
        (file.parent / "new").rename(file)

    code, said = changed_meanwhile(original, tmp_path, monkeypatch, replace)

    assert code == 2 and said.count("\n") == 1
    assert "repo does not load any more" in said and "Wait until nothing writes it, and try again." in said


@pytest.mark.thorough
@pytest.mark.parametrize("after", [0.01, 0.05, 0.2, 0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6])
def test_the_command_itself_ends_in_a_line_at_any_moment(after, original, tmp_path):
    """After Python itself has started: before, its own start is interrupted."""
    ready = "import os, sys; os.write(1, b'.'); import zhclip_cli; sys.exit(zhclip_cli.main(sys.argv[1:]))"
    with subprocess.Popen(
        [sys.executable, "-c", ready, "convert", *original], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.read(1) == b"."
        time.sleep(after)
        process.terminate()
        said = process.stderr.read().decode().splitlines()

    if process.returncode == 0:
        assert entries(tmp_path / "to") == {"OUT"}
        return
    assert said[-1] == "zhclip: ended by SIGTERM; no half-written file was left." and process.returncode == 1
    assert not any("Traceback" in line for line in said)
    assert entries(tmp_path) == {"source"}
