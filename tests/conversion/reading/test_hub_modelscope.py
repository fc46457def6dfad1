import contextlib
import http.client
import itertools
import shutil
import socket
import sys
import threading
import time
from types import ModuleType, SimpleNamespace

import pytest
from huggingface_hub import ModelCard

from hf_zhclip import hub, pace
from hf_zhclip.conversion import convert
from hf_zhclip.conversion.errors import InputError, WorkError
from hf_zhclip.conversion.reading import hub_modelscope
from hf_zhclip.conversion.reading.hub import locate, published, read_source

from tests.checkpoints.cn_clip import cn_clip_file
from tests.checkpoints.modelscope import modelscope_folder

ENTRY = "multi-modal_clip-vit-base-patch16_zh"


class NotExistError(Exception):
    """As in modelscope.hub.errors."""


class RequestError(Exception):
    """As in modelscope.hub.errors."""


def missing():
    error = RequestError("HTTP 404")
    error.response = SimpleNamespace(status_code=404)
    return error


@pytest.fixture
def package(monkeypatch):
    """A stand-in for the package, whose two functions note what they are asked."""
    modelscope, hub, errors = (
        ModuleType("modelscope"),
        ModuleType("modelscope.hub"),
        ModuleType("modelscope.hub.errors"),
    )
    errors.NotExistError, errors.RequestError = NotExistError, RequestError
    modelscope.calls, modelscope.answer = [], "cache/damo/model"

    def fetch(kind):
        def call(repo, *file, **options):
            modelscope.calls.append((kind, repo, *file))
            modelscope.options = options
            if isinstance(modelscope.answer, Exception):
                raise modelscope.answer
            return modelscope.answer

        return call

    modelscope.snapshot_download, modelscope.model_file_download = fetch("folder"), fetch("file")
    for module in (modelscope, hub, errors):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return modelscope


def test_a_folder_or_a_file_of_modelscope_is_fetched_by_its_own_package(package):
    assert locate("modelscope:damo/model").as_posix() == "cache/damo/model"
    # By these names in modelscope/hub/snapshot_download.py, of old versions too; the suite is offline.
    assert package.options["local_files_only"] is True
    assert {"*.json", "*pytorch_model*.bin"} <= set(package.options["allow_file_pattern"])
    locate("modelscope:damo/model:sub/x.pt")

    assert package.calls == [("folder", "damo/model"), ("file", "damo/model", "sub/x.pt")]


def test_a_source_from_modelscope_keeps_its_name(package, tmp_path):
    package.answer = str(cn_clip_file(tmp_path / "x.pt"))

    assert read_source("modelscope:damo/model:x.pt").name == "modelscope:damo/model:x.pt"


def test_a_name_of_the_catalogue_is_fetched_where_it_is_published(package):
    locate(ENTRY)

    assert package.calls == [("folder", f"damo/{ENTRY}")]
    assert published(f"modelscope:damo/{ENTRY}").name == published(ENTRY).name == ENTRY
    assert published(f"damo/{ENTRY}") is None  # that is on the hub, if anywhere
    assert published(f"modelscope:damo/{ENTRY}:x.pt") is None


@pytest.mark.quick(1)
@pytest.mark.usefixtures("written_card")
@pytest.mark.parametrize("source", [ENTRY, f"modelscope:damo/{ENTRY}"])
def test_a_repo_from_modelscope_is_named_as_there_and_has_no_base_model_on_the_hub(package, source, tmp_path):
    package.answer = str(modelscope_folder(tmp_path / "cache"))

    report = convert(source, tmp_path / "out")

    (recorded,) = report.sources
    assert (recorded["name"], recorded["hub"]) == (f"modelscope:damo/{ENTRY}", None)
    assert report.conversion["catalogue"] == ENTRY
    assert report.conversion["command"] == f"zhclip convert modelscope:damo/{ENTRY} out"
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "base_model" not in ModelCard(text).data.to_dict()
    assert f"[modelscope:damo/{ENTRY}](https://www.modelscope.cn/models/damo/{ENTRY})" in text


@pytest.mark.parametrize(
    ("raised", "kind", "message"),
    [
        (NotExistError("no model"), InputError, "modelscope:damo/model does not exist on ModelScope: no model"),
        (missing(), InputError, "modelscope:damo/model does not exist on ModelScope: HTTP 404"),
        (RequestError("status 500"), WorkError, "modelscope:damo/model could not be downloaded: status 500"),
        (OSError("no route"), WorkError, "could not be downloaded: no route"),
    ],
)
def test_what_the_package_raises_is_told(package, raised, kind, message):
    package.answer = raised

    with pytest.raises(kind, match=message):
        locate("modelscope:damo/model")


@pytest.mark.parametrize(
    "fault", [AttributeError("'list' has no get"), RecursionError(), KeyError("Data"), TypeError()]
)
def test_an_answer_that_makes_the_package_fail_ends_in_words(package, fault):
    package.answer = fault
    with pytest.raises(WorkError, match="^modelscope:damo/model could not be downloaded: ."):
        locate("modelscope:damo/model")


@pytest.fixture
def asked(package, monkeypatch):
    """The package requests, of which the server leaves every request without an answer; what it is asked with."""
    adapters, limits = ModuleType("requests.adapters"), []

    class HTTPAdapter:
        max_retries = 5

        def send(self, request, stream=False, timeout=None, verify=True, cert=None, proxies=None):
            limits.append((timeout, self.max_retries))
            if request == "silence":
                raise OSError("timed out")
            headers = {"Content-Length": "5000"}
            return SimpleNamespace(
                headers=headers, raw=SimpleNamespace(stream=lambda *given: itertools.repeat(b"x" * 1_000))
            )

    class HTTPConnection(http.client.HTTPConnection):
        """As urllib3's, whose class is made from the same class."""

    adapters.HTTPAdapter = HTTPAdapter
    connection = ModuleType("urllib3.connection")
    connection.HTTPConnection = adapters.HTTPConnection = HTTPConnection
    for module in (ModuleType("requests"), adapters, ModuleType("urllib3"), connection):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(HTTPAdapter, "max_retries", _Retries(5))
    adapters.limits = limits
    return adapters


class _Retries(int):
    def __new__(cls, count, read=None):
        return super().__new__(cls, count)


def test_a_server_of_modelscope_that_stays_silent_is_given_up(package, asked, monkeypatch):
    def ask_again_and_again(repo, **options):
        for _ in range(100):
            try:
                asked.HTTPAdapter().send("silence", timeout=(10, 3600))
            except TimeoutError:
                raise
            except OSError:
                continue

    before = asked.HTTPAdapter.send
    monkeypatch.setattr(package, "snapshot_download", ask_again_and_again)
    with pytest.raises(WorkError, match="could not be downloaded: it gave no answer to 2 requests"):
        locate("modelscope:damo/model")
    assert asked.limits == [((10, 60.0), 0)] * 2
    assert asked.HTTPAdapter.send is before


def test_a_server_of_modelscope_that_lists_without_end_is_given_up(package, asked, monkeypatch):
    def list_for_ever(repo, **options):
        while True:
            asked.HTTPAdapter().send("page")

    monkeypatch.setattr(package, "snapshot_download", list_for_ever)
    monkeypatch.setattr(hub_modelscope, "MOST_REQUESTS", 20)
    with pytest.raises(WorkError, match="makes its client ask more than 20 times"):
        locate("modelscope:damo/model")
    assert asked.limits == [((60.0, 60.0), 0)] * 20


def test_an_answer_of_modelscope_that_has_no_end_is_given_up(package, asked, monkeypatch):
    def read(repo, **options):
        return b"".join(asked.HTTPAdapter().send("page").raw.stream(10_240))

    monkeypatch.setattr(package, "snapshot_download", read)
    monkeypatch.setattr(hub, "MOST_JSON_BYTES", 10**6)
    with pytest.raises(WorkError, match="could not be downloaded: an answer of more than 1,000,000 bytes"):
        locate("modelscope:damo/model")


def test_a_file_of_modelscope_that_the_disk_cannot_hold_is_not_fetched(package, asked, monkeypatch, tmp_path):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=4_999))
    monkeypatch.setattr(package, "snapshot_download", lambda repo, **_: asked.HTTPAdapter().send("file", stream=True))
    with pytest.raises(WorkError, match="has 5,000 bytes to download, but .* another disk with MODELSCOPE_CACHE"):
        locate("modelscope:damo/model")


def test_a_file_of_modelscope_that_has_no_end_is_given_up(package, asked, monkeypatch):
    listening = socket.create_server(("127.0.0.1", 0))

    def send():
        connection, _ = listening.accept()
        with contextlib.suppress(OSError):  # the client went away
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                connection.sendall(b"3e8\r\n" + b"x" * 1_000 + b"\r\n")

    def read(repo, **options):
        connection = asked.HTTPConnection(*listening.getsockname(), timeout=10)
        connection.request("GET", "/")
        answer = connection.getresponse()
        with pytest.raises(TimeoutError):
            while answer.read(10_000):
                pass
        asked.HTTPAdapter().send("the rest", stream=True)

    threading.Thread(target=send, daemon=True).start()
    monkeypatch.setattr(package, "snapshot_download", read)
    monkeypatch.setattr(hub_modelscope, "MOST_UNSTATED", 10**6)
    with listening, pytest.raises(WorkError, match="it sent more than 1,000,000 bytes of an answer of no stated size"):
        locate("modelscope:damo/model")
    assert not asked.limits


@pytest.mark.parametrize("begin", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"])
def test_a_server_of_modelscope_that_sends_a_byte_now_and_then_is_given_up(begin, package, asked, monkeypatch):
    listening = socket.create_server(("127.0.0.1", 0))

    def trickle():
        connection, _ = listening.accept()
        with contextlib.suppress(OSError):  # the client went away
            connection.sendall(begin)
            while True:
                time.sleep(0.05)
                connection.sendall(b"x")

    def read(repo, **options):
        connection = asked.HTTPConnection(*listening.getsockname(), timeout=10)
        connection.request("GET", "/")
        return connection.getresponse().read()

    threading.Thread(target=trickle, daemon=True).start()
    before = asked.HTTPConnection.getresponse
    monkeypatch.setattr(package, "snapshot_download", read)
    monkeypatch.setattr(pace, "WINDOW", 0.3)
    with listening, pytest.raises(WorkError, match="it moved fewer than 1,024 bytes a second"):
        locate("modelscope:damo/model")
    assert asked.HTTPConnection.getresponse is before


@pytest.mark.parametrize("source", ["modelscope:", "modelscope:model", "modelscope:a/b/c", "modelscope:a/b:"])
def test_what_is_no_name_of_modelscope_is_refused(package, source):
    with pytest.raises(InputError, match="is no name on ModelScope"):
        locate(source)

    assert package.calls == []


@pytest.mark.parametrize("file", ["../../x", "/etc/passwd", "a/../x"])
def test_a_file_outside_of_a_repository_is_refused(package, file):
    with pytest.raises(InputError, match="is no path inside damo/model. Wanted: a file, named as"):
        locate(f"modelscope:damo/model:{file}")

    assert package.calls == []


def test_without_the_package_the_way_to_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "modelscope", None)

    with pytest.raises(InputError, match="pip install modelscope"):
        locate("modelscope:damo/model")
