import hashlib
import time

import pytest

from hf_zhclip.conversion.reading import hashing
from hf_zhclip.conversion.reading.hashing import Hashes


def test_the_hash_of_a_file_is_that_of_hashlib_whether_it_was_begun_or_not(tmp_path):
    contents = {"begun": bytes(3_000_000), "not begun": b"abc", "empty": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)

    with Hashes() as hashes:
        hashes.begin(tmp_path / name for name in ("begun", "empty"))
        found = {name: hashes.of(tmp_path / name) for name in contents}

    assert found == {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def test_a_file_is_read_once_and_beside_other_work(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(hashing, "digest", lambda path, *given: read.append(path) or path.name)
    monkeypatch.setattr(hashing, "sha256", None)
    (tmp_path / "a").write_bytes(b"")

    with Hashes() as hashes:
        hashes.begin([tmp_path / "a", tmp_path / "a"])
        while not read:
            time.sleep(0.001)
        assert hashes.of(tmp_path / "a") == hashes.of(tmp_path / "a") == "a"

    assert read == [tmp_path / "a"]


def test_a_run_that_fails_does_not_wait_for_the_hashes(tmp_path, monkeypatch):
    def endless(path, advance, is_over):
        while not is_over():
            time.sleep(0.001)

    monkeypatch.setattr(hashing, "digest", endless)
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(ZeroDivisionError), Hashes() as hashes:
        hashes.begin([tmp_path / "a", tmp_path / "b"])
        1 / 0  # noqa: B018


def test_a_disk_that_does_not_answer_in_time_is_an_error_and_no_endless_wait(tmp_path, monkeypatch):
    def late(*given):
        raise TimeoutError(110, "Connection timed out")  # of a network's disk; futures raise the same class

    monkeypatch.setattr(hashing, "digest", late)
    (tmp_path / "a").write_bytes(b"")
    with Hashes() as hashes, pytest.raises(OSError, match="Connection timed out"):
        hashes.begin([tmp_path / "a"])
        hashes.of(tmp_path / "a")


def test_a_file_that_is_gone_is_an_error_where_its_hash_is_asked_for(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    with Hashes() as hashes:
        hashes.begin([tmp_path / "b"])
        assert hashes.of(tmp_path / "a") == hashlib.sha256().hexdigest()
        with pytest.raises(FileNotFoundError):
            hashes.of(tmp_path / "b")
