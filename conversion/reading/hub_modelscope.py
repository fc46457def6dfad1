"""`modelscope:user/repo[:file]` -> a local path, by the modelscope package if it is installed."""

import importlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from huggingface_hub.constants import HF_HUB_OFFLINE

from hf_zhclip import hub
from hf_zhclip.budget import MOST_JSON_BYTES
from hf_zhclip.errors import is_fault
from hf_zhclip.hub_files import check_room
from hf_zhclip.pace import PacedSocket

from ..errors import InputError, WorkError

ID = re.compile(r"modelscope:(?P<repo>[\w.-]+/[\w.-]+)(?::(?P<file>[^:]+))?")
ABSENT = "{} does not exist on ModelScope: {}. Look for the right name on ModelScope's pages."

FOLDER = ["*.json", "*.txt", "*.safetensors", "*pytorch_model*.bin"]
"""The files that a folder's weights need; sample files and pictures of the page are not downloaded."""


def download(source: str) -> Path:
    """The local path of a source on ModelScope, in the modelscope package's own cache.

    Raises:
        InputError: the package is not installed, or nothing with this name exists on ModelScope.
        WorkError: ModelScope cannot be reached.
    """
    match = ID.fullmatch(source)
    if match is None:
        raise InputError(f"{source} is no name on ModelScope. Wanted: modelscope:user/repo or …/repo:file.")
    check_inside(match["repo"], match["file"])
    modelscope, errors = _package()
    options = {"local_files_only": HF_HUB_OFFLINE}
    faults: list[str] = []
    try:
        with _exchange(faults):
            if match["file"]:
                return Path(modelscope.model_file_download(match["repo"], match["file"], **options))
            return Path(modelscope.snapshot_download(match["repo"], allow_file_pattern=FOLDER, **options))
    except errors.NotExistError as error:
        raise InputError(ABSENT.format(source, error)) from error
    except BaseException as error:  # nonsense makes the package fail with any kind
        if not is_fault(error) or isinstance(error, MemoryError):
            raise
        if getattr(getattr(error, "response", None), "status_code", None) == 404:
            raise InputError(ABSENT.format(source, error)) from error
        reason = faults[0] if faults else str(error) or type(error).__name__
        raise WorkError(f"{source} could not be downloaded: {reason}") from error


MOST_REQUESTS = 10_000
"""The requests of a download: one for each page of the list and each file, and one for each 160 MB of a large file."""


@contextmanager
def _exchange(faults: list[str]) -> Iterator[None]:
    """Within it, the package's requests have the limits of `hf_zhclip.hub`: a server that holds it up is given up.

    Args:
        faults: gets what the server did, in words; after the first fault nothing more is asked.
    """
    try:
        adapter = importlib.import_module("requests.adapters").HTTPAdapter
    except ImportError:  # of a package that asks in another way
        yield
        return
    before, seen = adapter.send, {"requests": 0, "unanswered": 0}

    def send(self: Any, request: Any, stream: bool = False, timeout: Any = None, *given: Any, **named: Any) -> Any:
        seen["requests"] += 1
        if seen["requests"] > MOST_REQUESTS:
            raise OSError(f"the server makes its client ask more than {MOST_REQUESTS:,} times")
        if faults:
            raise TimeoutError(faults[0])
        if seen["unanswered"] >= hub.TRIES:
            raise TimeoutError(f"it gave no answer to {hub.TRIES} requests")
        self.max_retries = type(self.max_retries)(0, read=False)  # the package itself tries again
        try:
            answer = before(self, request, stream, _limited(timeout), *given, **named)
        except Exception:
            seen["unanswered"] += 1
            raise
        seen["unanswered"] = 0
        if stream:
            _check_room(answer, faults)
        else:
            answer.raw.stream = hub.bounded(answer.raw.stream)  # which reads the content
        return answer

    adapter.send = send
    try:
        with _paced(faults):
            yield
    finally:
        adapter.send = before


MOST_UNSTATED = MOST_JSON_BYTES
"""The bytes of a file whose size the server does not state: only texts that it compresses are sent so."""


def _check_room(answer: Any, faults: list[str]) -> None:
    """Refuses a file that the disk cannot hold.

    Raises:
        WorkError: see above.
    """
    size, folder = answer.headers.get("Content-Length") or "", os.environ.get("MODELSCOPE_CACHE") or Path.home()
    try:
        check_room("the file", [int(size) if size.isdecimal() else 0], folder, "MODELSCOPE_CACHE")
    except WorkError as error:
        faults.append(str(error))
        raise


@contextmanager
def _paced(faults: list[str]) -> Iterator[None]:
    """Within it, the package's connections are held to the least rate of `hf_zhclip.pace`."""
    connection = importlib.import_module("urllib3.connection").HTTPConnection  # which requests brings
    before = connection.getresponse

    def getresponse(self: Any) -> Any:
        sock = self.sock
        self.sock = paced = PacedSocket(sock, faults)
        try:
            answer = before(self)
            paced.most = MOST_UNSTATED if answer.headers.get("Content-Length") is None else None
            return answer
        finally:
            if isinstance(self.sock, PacedSocket):  # and not closed
                self.sock = sock

    connection.getresponse = getresponse
    try:
        yield
    finally:
        connection.getresponse = before


def _limited(timeout: Any) -> Any:
    """The limits of a request for connecting and for each answer, in seconds; no limit is longer than the hub's."""
    pair = timeout if isinstance(timeout, tuple) else (timeout, timeout)
    return tuple(hub.SILENCE if not isinstance(each, int | float) else min(each, hub.SILENCE) for each in pair)


def check_inside(repo: str, file: str | None) -> None:
    """Refuses a file that is no path inside its repository, on either hub.

    Raises:
        InputError: the path is absolute, contains `..`, or contains backslashes.
    """
    if file is not None and (file.startswith("/") or "\\" in file or ".." in file.split("/")):
        raise InputError(
            f"{file!r} is no path inside {repo}. Wanted: a file, named as on the repository's page. For a file on "
            "this machine, write its path alone."
        )


def _package() -> tuple[ModuleType, ModuleType]:
    try:
        return importlib.import_module("modelscope"), importlib.import_module("modelscope.hub.errors")
    except ImportError as error:
        raise InputError(
            f"The package modelscope fetches modelscope: sources, but it is not installed ({error}). Run "
            "`pip install modelscope`, or fetch the files yourself and name their folder."
        ) from error
