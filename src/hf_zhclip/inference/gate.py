"""What a client of the page may ask for: what the page itself asks for, within bounds."""

import json
import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from types import NoneType
from typing import Any

from ..budget import MIB
from ..errors import InputError
from ..json_files import Field, brief, check_fields, is_kind, parse_json
from ..telling import shown

JOIN, UPLOAD, FILE = "/gradio_api/queue/join", "/gradio_api/upload", "/gradio_api/file="
"""Where the page asks for an event, sends a picture, and shows the picture that was sent."""

READ = re.compile(
    "(?!/gradio_api/|/pictures/).*"  # the page and its parts
    "|/pictures/[0-9]+"
    "|/gradio_api/(queue/data|upload_progress|startup-events|info|app_id|theme.css|heartbeat/[0-9A-Za-z_-]+)",
    re.DOTALL,
)
"""The addresses that the page reads."""

MOST_BODY = 2**18
"""The bytes of a request, beside uploads: the longest sentence takes half of it where each character is escaped."""

MOST_UPLOAD, AROUND = 64 * MIB, 2**16
"""The bytes of a picture that is dropped, which a camera's largest files do not reach, and of the form around it."""

MOST_UNREAD = 4 * MOST_UPLOAD
"""The bytes of a request that are dropped before it is told that it is too large; of a larger one, the line is cut."""

MOST_STORED, MOST_FILES = 4 * MOST_UPLOAD, 1_000
"""What the uploads may take together, on a disk that may be memory; then the oldest go."""


class _Refused(Exception):
    """A request that is not let through.

    Args:
        status: of HTTP.
        told: why, for the client.
        unread: the bytes of the body that are read and dropped before the answer.
    """

    def __init__(self, status: int, told: str, unread: int = 0):
        super().__init__(told)
        self.status, self.told, self.unread = status, shown(told), unread


class Gate:
    """Lets through what the page itself asks for, within bounds; all else is answered with 4xx.

    Gradio has more addresses than this page needs, and opens files that a client names: it checks them only in a page
    that it launched itself.

    Args:
        app: what answers.
        uploads: the folder of what was dropped on the page, without links.
        events: the values that each event of the page takes.
    """

    def __init__(self, app: Any, uploads: Path, events: Mapping[int, Sequence["Check"]]):
        self.app, self.uploads, self.events = app, uploads, events

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        more = True

        async def heard() -> Any:
            nonlocal more
            message = await receive()
            more = message.get("more_body", False)
            return message

        try:
            most = self._most(scope["method"], scope["path"], headers)
            if scope["path"] == JOIN:
                content = await _body(heard, most)
                await _bounded(self.app, most, *_replaced(scope, heard, self._checked(content)), send)
                return
            if scope["path"] == UPLOAD:
                _make_room(self.uploads)
            await _bounded(self.app, most, scope, heard, send)
        except _Gone:
            pass
        except _Refused as refused:
            left = refused.unread  # a browser shows an answer only if all that it sends is taken
            while more and left > 0:
                left -= len((await heard()).get("body", b""))
            content = json.dumps({"detail": refused.told}).encode()
            kind = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
            await send({"type": "http.response.start", "status": refused.status, "headers": kind})
            await send({"type": "http.response.body", "body": content})

    def _most(self, method: str, path: str, headers: Mapping[str, str]) -> int:
        """The most bytes that the body of a request may have.

        Raises:
            _Refused: the request is not let through, whatever its body says.
        """
        if method not in ("GET", "HEAD", "POST"):
            raise _Refused(405, "The page asks with GET and POST alone.")
        if _is_foreign(method, headers):
            raise _Refused(403, "Another page asked. This server answers its own page.")
        if path.startswith(FILE):
            known = method != "POST" and _is_stored(path.removeprefix(FILE), self.uploads)
        else:
            known = path in (JOIN, UPLOAD) if method == "POST" else bool(READ.fullmatch(path))
        if not known:
            raise _Refused(404, "Not found.")
        most = MOST_UPLOAD + AROUND if path == UPLOAD else MOST_BODY
        length = headers.get("content-length", "0")
        if not re.fullmatch("[0-9]+", length):
            raise _Refused(400, "The length of the body is no number.")
        if len(length) > 18 or int(length) > most:
            raise _too_large(most, len(length) <= 18 and int(length) <= MOST_UNREAD)
        return most

    def _checked(self, content: bytes) -> bytes:
        """The body of a request for an event, made anew from the values that the page has, so that no other arrives.

        Raises:
            _Refused: a value is none that the page sends.
        """
        try:
            asked = parse_json(content, "the request")
            check_fields(asked, ASKED, "the request")
        except InputError as error:
            raise _Refused(422, str(error)) from error
        kept = {name: asked[name] for name in ASKED if name in asked}
        checks = self.events.get(kept["fn_index"])
        if checks is None or len(checks) != len(kept["data"]):
            raise _Refused(422, "The page has no such event.")
        if not re.fullmatch("[0-9A-Za-z_-]{1,64}", kept["session_hash"]) or not _is_small(kept.get("trigger_id") or 0):
            raise _Refused(422, "The request does not say which page asks.")
        kept["data"] = [check(value, self.uploads) for check, value in zip(checks, kept["data"], strict=True)]
        return json.dumps(kept).encode()


ASKED = {
    "data": Field((list,)),
    "fn_index": Field((int,)),
    "session_hash": Field((str,)),
    "trigger_id": Field((int, NoneType), needed=False),
}


def _is_foreign(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a browser asks for another page; a link that leads here is none."""
    linked = method != "POST" and headers.get("sec-fetch-mode") == "navigate"
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and not linked:
        return True
    return "origin" in headers and headers["origin"].partition("://")[2] != headers.get("host")


def _is_stored(place: str, uploads: Path) -> bool:
    """Whether a client means a file that it uploaded; nothing outside of the folder is looked at."""
    if os.path.normpath(place) != place or not place.startswith(f"{uploads}{os.sep}"):
        return False
    try:
        found = os.lstat(place)
    except (OSError, ValueError):
        return False
    return os.path.realpath(place) == place and stat.S_ISREG(found.st_mode) and found.st_size <= MOST_UPLOAD


def _make_room(uploads: Path) -> None:
    """Removes the oldest uploads where all take too much, together with the next."""
    with suppress(OSError):  # a file that another request removes
        files = [(each.stat(), each) for each in uploads.rglob("*") if each.is_file()]
        files.sort(key=lambda each: each[0].st_mtime, reverse=True)
        sizes = accumulate(found.st_size for found, _ in files)
        for number, (size, (_, file)) in enumerate(zip(sizes, files, strict=True), start=1):
            if size > MOST_STORED or number > MOST_FILES:
                file.unlink()
                with suppress(OSError):  # it holds other files
                    file.parent.rmdir()


# Bodies


class _Gone(Exception):
    """The client has left."""


def _too_large(most: int, is_read: bool = True) -> _Refused:
    told = f"请求太大。The request is too large: {most:,} bytes at most were wanted."
    return _Refused(413, told, MOST_UNREAD if is_read else 0)


async def _body(receive: Any, most: int) -> bytes:
    content = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise _Gone
        content += message.get("body", b"")
        if len(content) > most:
            raise _too_large(most)
        if not message.get("more_body"):
            return bytes(content)


def _replaced(scope: Any, receive: Any, content: bytes) -> tuple[Any, Any]:
    """The request with another body."""
    sent = [{"type": "http.request", "body": content, "more_body": False}]

    async def first() -> Any:
        return sent.pop() if sent else await receive()

    other = [each for each in scope["headers"] if each[0] not in BODY_HEADERS]
    headers = [*other, (b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    return {**scope, "headers": headers}, first


BODY_HEADERS = (b"content-type", b"content-length", b"content-encoding", b"transfer-encoding")


async def _bounded(app: Any, most: int, scope: Any, receive: Any, send: Any) -> None:
    """Answers, unless the body grows beyond its bound, or the application fails for it.

    Raises:
        _Refused: it did.
    """
    size, began = 0, False
    refused: _Refused | None = None

    async def counted() -> Any:
        nonlocal size, refused
        message = await receive()
        size += len(message.get("body", b""))
        if size > most:
            refused = _too_large(most)
            raise refused
        return message

    async def sent(message: Any) -> None:
        nonlocal began, refused
        if message["type"] == "http.response.start" and message["status"] >= 500 and scope["path"] == UPLOAD:
            refused = refused or _Refused(400, "The upload cannot be read, or there is no room for it.")
        if refused is None or began:  # a framework answers the error of its own accord
            began = True
            await send(message)

    try:
        await app(scope, counted, sent)
    except Exception:
        if refused is None:
            raise
    if refused is not None and not began:
        raise refused


# Values


Check = Callable[[Any, Path], Any]
"""Takes a value that a client sent, and the folder of uploads; gives the value for the page, or raises _Refused."""


def _sentence(value: Any, uploads: Path) -> str:
    if not isinstance(value, str):
        raise _Refused(422, f"found {brief(value)}; a sentence was wanted.")
    return value


def _picture(value: Any, uploads: Path) -> dict[str, Any] | None:
    place = value.get("path") if isinstance(value, dict) else value
    if place is None:
        return None
    if not isinstance(value, dict) or not isinstance(place, str) or not _is_stored(place, uploads):
        raise _Refused(422, "没有打开网址或路径：请拖入文件。No address and no path is opened: drop a file.")
    return {"path": place, "meta": {"_type": "gradio.FileData"}}


def _state(value: Any, uploads: Path) -> None:
    """The server keeps it; what a client says of it has no effect."""


def _number_of(least: float, most: float) -> Check:
    def number(value: Any, uploads: Path) -> float:
        if not is_kind(value, (float,)) or not least <= value <= most:
            raise _Refused(422, f"found {brief(value)}; a number from {least} to {most} was wanted.")
        return value

    return number


def _is_small(number: int) -> bool:
    return abs(number) < 2**31


def events_of(blocks: Any) -> dict[int, list[Check]]:
    """The values that each event of gradio's page takes, by the kinds of its inputs."""
    kinds: dict[str, Callable[[Any], Check]] = {
        "Textbox": lambda box: _sentence,
        "Image": lambda picture: _picture,
        "State": lambda state: _state,
        "Slider": lambda slider: _number_of(slider.minimum, slider.maximum),
    }
    return {
        number: [kinds[type(each).__name__](each) for each in event.inputs] for number, event in blocks.fns.items()
    }
