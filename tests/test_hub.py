"""A hub that stays silent, or answers nonsense."""

import socket

import datasets.config
import pytest
from huggingface_hub import constants, file_download
from huggingface_hub.utils import get_session

import zhclip_cli
from hf_zhclip import hub

from tests.conversion.publishing.pushing import FILES, TOKENS, repo_of
from tests.data.made import picture, write
from tests.loopback_hub import connect, serve


@pytest.fixture
def silent(monkeypatch, tmp_path):
    """A hub that takes connections and never says a word."""
    with serve(tmp_path / "server", TOKENS) as served, socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(50)
        served.endpoint = f"http://127.0.0.1:{listening.getsockname()[1]}"
        connect(monkeypatch, served, "hf_writer", tmp_path / "home")
        monkeypatch.setattr(hub, "SILENCE", 0.2)
        monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.2)
        monkeypatch.setattr(file_download, "_ETAG_RETRY_TIMEOUT", 0.2, raising=False)  # of newer clients
        yield


@pytest.mark.parametrize("words", [["inspect", "user/repo"], ["convert", "user/repo:x.pt", "OUT"]])
def test_a_silent_hub_is_given_up_where_a_source_is_read(words, silent, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert zhclip_cli.main(words) == 1
    assert "did not answer, or stopped answering" in capsys.readouterr().err


def test_a_silent_hub_is_given_up_where_a_repo_is_loaded(silent, capsys, tmp_path):
    write(tmp_path / "pictures", **{"1.png": picture()})
    assert zhclip_cli.main(["embed", "user/repo", str(tmp_path / "pictures"), str(tmp_path / "OUT")]) == 1
    assert "did not answer, or stopped answering" in capsys.readouterr().err


def test_a_silent_hub_is_given_up_where_data_are_read(silent, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)  # read from the environment by the first import
    assert zhclip_cli.main(["data", "user/name", "OUT", "--to", "tsv"]) == 1
    assert "could not be asked for on the hub: it gave no answer to 2 requests" in capsys.readouterr().err


def test_a_silent_hub_is_given_up_where_a_repo_is_pushed(silent, capsys, tmp_path):
    assert zhclip_cli.main(["push", str(repo_of(tmp_path / "OUT", FILES)), "user/repo"]) == 1
    assert "did not answer, or stopped answering" in capsys.readouterr().err


def test_limits_that_a_request_has_stay():
    request = get_session().build_request("GET", "http://hub", timeout=7.0)
    hub._limit(request)
    assert set(request.extensions["timeout"].values()) == {7.0}


def test_after_an_exchange_the_client_is_as_it_was():
    def hooks():
        return list(get_session().event_hooks["request"])

    before = hooks()
    with hub.exchange():
        assert hooks() == [*before, hub._limit]
    assert hooks() == before
