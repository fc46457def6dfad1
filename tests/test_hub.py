"""A hub that stays silent, or answers nonsense."""

import http.server
import socket
import threading

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


ANSWERS = {
    "a login page": b"<html>log in</html>",
    "a list": b"[1, 2, 3]",
    "null": b"null",
    "a text": b'"x"',
    "fields of other kinds": b'{"siblings": 5, "sha": [], "id": {}}',
    "no JSON": b"\xff\xfe{",
}


@pytest.fixture
def nonsense(monkeypatch, tmp_path):
    """A hub that gives the same answer to each request: its `answer` and its `headers`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(served.status)
            for name, value in {"Content-Length": str(len(served.answer)), **served.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(served.answer)

        do_HEAD = do_POST = do_GET

        def log_message(self, *_):
            pass

    with (
        serve(tmp_path / "server", TOKENS) as served,
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server,
    ):
        served.status, served.answer, served.headers = 200, b"", {}
        served.endpoint = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        connect(monkeypatch, served, "hf_writer", tmp_path / "home")
        yield served
        server.shutdown()


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("command", ["inspect", "push"])
def test_a_hub_that_answers_nonsense_is_told_in_a_line(command, answer, nonsense, capsys, tmp_path):
    nonsense.answer = answer
    words = {"inspect": ["user/repo"], "push": [str(repo_of(tmp_path / "OUT", FILES)), "user/repo"]}[command]
    assert zhclip_cli.main([command, *words]) == 1
    said = capsys.readouterr().err
    assert f"The hub at {nonsense.endpoint} gave an answer that its client does not understand" in said


@pytest.mark.parametrize("place", ["http://[::bad", "file:///etc/passwd", "/user/repo/resolve/main/x.pt"])
def test_a_hub_that_sends_the_client_to_a_place_that_is_none_is_told_in_a_line(place, nonsense, capsys):
    nonsense.status, nonsense.headers = 302, {"Location": place}
    assert zhclip_cli.main(["inspect", "user/repo:x.pt"]) == 1
    assert "user/repo could not be downloaded, and is not in the cache." in capsys.readouterr().err


YEAR = 365 * 24 * 3600
IN_2099 = "Thu, 01 Jan 2099 00:00:00 GMT"


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    "headers", [{"Retry-After": f"{YEAR}"}, {"Retry-After": IN_2099}, {"ratelimit": f'"api";r=0;t={YEAR}'}]
)
def test_a_hub_that_lets_its_client_wait_for_a_year_is_given_up(status, headers, nonsense, capsys, monkeypatch):
    nonsense.status, nonsense.headers = status, headers
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    assert zhclip_cli.main(["inspect", "user/repo:x.pt"]) == 1
    assert f"(status {status})" in capsys.readouterr().err
    assert sum(slept) < 60


def test_the_client_s_own_list_is_not_taken_from_a_hub(nonsense, capsys, tmp_path, monkeypatch):
    agents = pytest.importorskip("huggingface_hub.utils._detect_agent")
    (tmp_path / "agents.json").write_text("[1, 2, 3]")
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(tmp_path / "agents.json"))
    monkeypatch.setattr(agents, "_registry", None)
    with hub.exchange():
        assert agents.detect_agent() is None


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
