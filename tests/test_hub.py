"""A hub that stays silent, or answers nonsense."""

import contextlib
import gzip
import http.server
import json
import shutil
import socket
import threading
import time
from types import SimpleNamespace

import datasets.config
import pytest
from huggingface_hub import constants, file_download, hf_api
from huggingface_hub.utils import get_session

import zhclip_cli
from hf_zhclip import ZhCLIPConfig, hub, hub_files, pace

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


@pytest.fixture
def served(monkeypatch, tmp_path):
    """A hub that has the repo user/repo; its client wants 1,024 bytes a second over 0.3 seconds."""
    with serve(tmp_path / "server", TOKENS) as served:
        served.add("user/repo", {"config.json": b"{}", "x.pt": b"x" * 5_000})
        connect(monkeypatch, served, "hf_writer", tmp_path / "home")
        monkeypatch.setattr(pace, "WINDOW", 0.3)
        yield served


TOO_SLOW = "it moved fewer than 1,024 bytes a second for 0 seconds"


@pytest.mark.parametrize(
    ("words", "request_"),
    [
        (["inspect", "user/repo"], "GET /api/models"),
        (["inspect", "user/repo:x.pt"], "GET /user/repo/resolve"),
        (["embed", "user/repo", "PICTURES", "OUT"], "GET /user/repo/resolve/.*config.json"),
        (["push", "OUT", "user/repo"], "GET /api/models"),
    ],
)
def test_a_hub_that_sends_a_byte_now_and_then_is_given_up(words, request_, served, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "PICTURES", **{"1.png": picture()})
    if words[0] == "push":
        repo_of(tmp_path / "OUT", FILES)
    served.add("user/repo", {"config.json": json.dumps({"x": "x" * 1_000}).encode()})
    served.plan(request_, byte_delay=0.05)
    assert zhclip_cli.main(words) == 1
    assert TOO_SLOW in capsys.readouterr().err
    assert len(served.asked(request_)) <= 2


def test_a_hub_that_sends_a_byte_of_a_header_now_and_then_is_given_up(trickling, served, capsys, monkeypatch):
    monkeypatch.setattr(hf_api.api, "endpoint", trickling)
    assert zhclip_cli.main(["inspect", "user/repo"]) == 1
    assert TOO_SLOW in capsys.readouterr().err


def test_a_hub_of_data_that_sends_a_byte_now_and_then_is_given_up(trickling, served, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    served.endpoint = trickling
    connect(monkeypatch, served, "hf_writer", tmp_path / "home")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", trickling)
    assert zhclip_cli.main(["data", "user/name", "OUT", "--to", "tsv"]) == 1
    assert TOO_SLOW in capsys.readouterr().err


def test_a_hub_that_ends_each_answer_after_some_bytes_is_given_up(served, capsys, monkeypatch):
    served.plan("GET /user/repo/resolve", drop_after=150)  # the client asks for the rest, as often as it gets a chunk
    monkeypatch.setattr(file_download, "time", SimpleNamespace(sleep=lambda seconds: time.sleep(0.05)))
    monkeypatch.setattr(hub_files, "CHUNK", 100)
    monkeypatch.setattr(pace, "LEAST_RATE", 10**6)
    assert zhclip_cli.main(["inspect", "user/repo:x.pt"]) == 1
    assert "it moved fewer than 1,000,000 bytes a second" in capsys.readouterr().err
    assert len(served.asked("GET /user/repo/resolve")) < 20


def test_a_hub_that_takes_a_push_slowly_is_given_up(served, capsys, tmp_path, monkeypatch):
    folder = repo_of(tmp_path / "OUT", {**FILES, "model.safetensors": b"x" * 20_000_000})  # more than buffers take
    monkeypatch.setattr(pace, "LEAST_RATE", 10**7)
    served.plan("PUT /storage", reader_delay=0.02)
    assert zhclip_cli.main(["push", str(folder), "user/repo"]) == 1
    assert "it moved fewer than 10,000,000 bytes a second" in capsys.readouterr().err


def test_an_answer_that_has_no_end_is_given_up(served, capsys, monkeypatch):
    monkeypatch.setattr(hub, "MOST_JSON_BYTES", 10**6)
    served.plan("GET /api/models", endless=True)
    assert zhclip_cli.main(["inspect", "user/repo"]) == 1
    assert "an answer of more than 1,000,000 bytes" in capsys.readouterr().err


def test_an_answer_that_lasts_too_long_is_given_up(served, capsys, monkeypatch):
    monkeypatch.setattr(hub, "LONGEST_ANSWER", 0.2)
    served.plan("GET /api/models", endless=True)
    assert zhclip_cli.main(["inspect", "user/repo"]) == 1
    assert "an answer lasted longer than 0 seconds" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["inspect", "user/repo:x.pt"], ["embed", "user/repo", "PICTURES", "OUT"]])
def test_a_hub_that_sends_more_than_it_stated_is_stopped(words, served, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "PICTURES", **{"1.png": picture()})
    served.plan("GET /user/repo/resolve", endless=True)
    assert zhclip_cli.main(words) == 1
    size = {"inspect": "5,000", "embed": "2"}[words[0]]
    assert f"The hub sent more than the {size} bytes that it stated of a file" in capsys.readouterr().err
    assert not list((tmp_path / "home").rglob("*.incomplete"))


def test_a_hub_that_sends_compressed_bytes_that_grow_is_stopped(nonsense, capsys):
    nonsense.answer = gzip.compress(b"x" * 10**6)
    nonsense.headers = {
        **{"ETag": '"abc"', "X-Repo-Commit": "0" * 40, "X-Linked-Size": "5000", "X-Linked-ETag": '"abc"'},
        "Content-Encoding": "gzip",
    }
    assert zhclip_cli.main(["inspect", "user/repo:x.pt"]) == 1
    assert "The hub sent more than the 5,000 bytes that it stated of a file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["inspect", "user/repo:x.pt"], "x.pt"),
        (["inspect", "user/whole"], "user/whole"),
        (["embed", "user/whole", "PICTURES", "OUT"], "user/whole"),
    ],
)
def test_files_that_the_disk_cannot_hold_are_not_fetched(words, name, served, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "PICTURES", **{"1.png": picture()})
    config = ZhCLIPConfig(architectures=["ZhCLIPModel"]).to_json_string()
    weights = {"config.json": config.encode(), "model.safetensors": b"x" * 5_000}
    served.add("user/whole", weights)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(hub_files.shutil, "disk_usage", lambda place: usage._replace(free=4_999))
    assert zhclip_cli.main(words) == 1
    said = capsys.readouterr().err
    assert "bytes to download, but the disk of" in said and "has room for 4,999" in said and name in said
    assert not served.asked("GET /user/.*(safetensors|pt)")


@pytest.fixture
def trickling():
    """A server that sends a byte of a header now and then."""
    listening = socket.create_server(("127.0.0.1", 0))

    def accept():
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=send, args=(connection,), daemon=True).start()

    def send(connection):
        with contextlib.suppress(OSError):  # the client went away
            connection.recv(2**16)  # hf_xet fails at once on an answer before its request
            connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while True:
                time.sleep(0.05)
                connection.sendall(b"x")

    threading.Thread(target=accept, daemon=True).start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    listening.close()


def test_a_server_of_xet_that_sends_a_byte_now_and_then_is_given_up(trickling, nonsense, capsys, monkeypatch):
    pytest.importorskip("hf_xet")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    monkeypatch.setattr(pace, "WINDOW", 1.0)
    nonsense.headers = {
        **{"ETag": '"abc"', "X-Repo-Commit": "0" * 40, "X-Linked-Size": "5000", "X-Linked-ETag": '"abc"'},
        **{"X-Xet-Hash": "a" * 64, "X-Xet-Refresh-Route": f"{nonsense.endpoint}/token"},
        **{"X-Xet-Cas-Url": trickling, "X-Xet-Access-Token": "x", "X-Xet-Token-Expiration": "9999999999"},
    }
    assert zhclip_cli.main(["inspect", "user/repo:x.pt"]) == 1
    assert "it moved fewer than 1,024 bytes a second for 1 seconds" in capsys.readouterr().err


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
