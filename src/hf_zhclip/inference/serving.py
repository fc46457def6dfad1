"""`serve`: the page of a corpus on this machine alone; nothing is sent elsewhere."""

import errno
import importlib
import logging
import os
import re
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import PIL.Image
import PIL.ImageOps

from ..budget import check_regular
from ..data.reading import read_pictures
from ..data.split import opened
from ..errors import InputError, ZhclipError
from ..extras import extra
from ..paths import resolved
from ..steady import whole
from .corpus import Corpus
from .embedder import check_counts
from .gate import Gate, events_of
from .searching import TOP_K, Index, check_threshold

HOST = "127.0.0.1"
PORT = 7860

SMALL, LARGE = 384, 1600
"""The longest side of a picture in the grid, and of a picture alone, in pixels."""

POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'"
)
"""What the browser may ask for: this server alone. Gradio's page needs scripts inside of the page."""

HEADERS = ((b"content-security-policy", POLICY.encode()), (b"cross-origin-resource-policy", b"same-origin"))

THREAD = "zhclip page"
"""The name of the server's thread."""

ENDING = 5.0
"""Seconds that the server has to end after a signal, before its uploads are removed all the same."""


def serve(
    out: str | os.PathLike[str],
    top_k: int = TOP_K,
    threshold: float | None = None,
    model: str | os.PathLike[str] | None = None,
    device: str | None = None,
    port: int = PORT,
    tell: Callable[[str], None] = print,
) -> None:
    """Opens the page of a corpus on this machine, until Ctrl-C.

    Args:
        out: the folder that `zhclip embed` wrote.
        top_k: the results that the page shows at first.
        threshold: the least cosine at first.
        model: see `search`.
        device: see `search`.
        port: the port on 127.0.0.1.
        tell: takes the page's address, and what `search` tells.

    Raises:
        InputError: as `search` does; or the port is in use, or gradio is not installed.
    """
    check_counts(top_k=top_k)
    check_threshold(threshold)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # gradio reads it once, when it is imported
    extra("gradio", "zhclip search --serve")
    with _listening(port) as listening, _folder() as uploads:
        os.environ["GRADIO_TEMP_DIR"] = str(uploads)  # dropped pictures go with the page
        index = Index.open(out, model, device, tell)
        app = _app(index, os.fspath(out), top_k, threshold, uploads, tell)
        tell(f"http://{HOST}:{listening.getsockname()[1]} shows {out}. Ctrl-C ends it.")
        with suppress(KeyboardInterrupt):
            _run(app, listening)


def _listening(port: int) -> socket.socket:
    """A socket that waits for the browser.

    Raises:
        InputError: the port is in use, or is no port that may be used.
    """
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if os.name == "posix":  # elsewhere, it would let two servers share a port
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((HOST, port))
        found.listen()
    except (OSError, OverflowError) as error:
        found.close()
        used = getattr(error, "errno", None) == errno.EADDRINUSE
        why = "is in use by another program" if used else f"cannot be opened ({error})"
        raise InputError(f"found --port {port}, which {why}. Name a free port, such as --port {PORT + 1}.") from error
    return found


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder for what is dropped on the page; it is removed also where a thread still writes to it."""
    with tempfile.TemporaryDirectory(prefix="zhclip_search_", ignore_cleanup_errors=True) as folder:
        yield resolved(folder)


def _run(app: Any, listening: socket.socket) -> None:
    """Answers until a signal comes, or the server ends.

    The server has a thread of its own: where it hangs, a signal ends the main thread all the same, which then removes
    the uploads.
    """
    uvicorn = importlib.import_module("uvicorn")
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it tells the owner of a client's mistakes
    # The page keeps a connection open, for which the server would wait at its end.
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
    ended = threading.Event()  # an interrupt of `Thread.join` makes Python 3.11 believe that the thread has ended

    def answer() -> None:
        try:
            server.run(sockets=[listening])
        finally:
            ended.set()

    threading.Thread(target=answer, name=THREAD, daemon=True).start()
    try:
        while not ended.wait(0.2):  # on Windows, a signal does not end a longer wait
            pass
    finally:
        server.should_exit = True
        ended.wait(ENDING)


def _app(
    index: Index, title: str, top_k: int, threshold: float | None, uploads: Path, tell: Callable[[str], None]
) -> Any:
    """The server: the page, and the pictures of the corpus by the numbers of their rows."""
    import gradio
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.routing import Route

    from . import page

    open_picture = _opener(index.corpus, tell)

    def picture(request: Any) -> Any:
        return _answer(open_picture, _row_number(request.path_params["row"]), "large" in request.query_params)

    blocks = page.build(index, title, top_k, threshold)
    middleware = [
        # Another host's name would be that of a foreign page that means this machine.
        Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"]),
        Middleware(_OnlyHere),
        Middleware(Gate, uploads=uploads, events=events_of(blocks)),
    ]
    app = Starlette(routes=[Route("/pictures/{row}", picture)], middleware=middleware)
    return gradio.mount_gradio_app(
        app,
        blocks,
        path="/",
        server_name=HOST,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        ssr_mode=False,
        pwa=False,
        show_error=True,
        theme=page.THEME,
        css=page.CSS,
    )


class _OnlyHere:
    """Tells the browser to ask nobody else, and to give no other page what it was given."""

    def __init__(self, app: Any):
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *HEADERS]
            await send(message)

        await self.app(scope, receive, sent)


# The pictures


def _row_number(text: str) -> int | None:
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None


def _opener(corpus: Corpus, tell: Callable[[str], None]) -> Callable[[int], PIL.Image.Image]:
    """What gives the picture of a row, from a file below the folder that was embedded, or through its reader.

    The call raises an InputError where the picture is gone, broken or outside of the folder.
    """
    given = corpus.manifest.input
    if given["root"] is not None:
        root = Path(given["root"])
        if not root.is_dir():
            tell(f"{root} is gone; the page finds pictures and cannot show them.")
        return lambda row: _file(root, corpus.paths[row])
    try:
        pictures = read_pictures(given["path"], given["split"], given["format"], given["pictures"]).pictures
    except ZhclipError as error:
        tell(f"The pictures cannot be shown: {error}")
        return lambda row: _refused(given["path"])
    numbers = {each: number for number, each in enumerate(pictures.ids)}
    return lambda row: pictures[numbers[corpus.ids[row]]][1] if corpus.ids[row] in numbers else _refused(row)


def _file(root: Path, path: str) -> PIL.Image.Image:
    """A picture below a folder; links that lead out of the folder are not followed."""
    file = resolved(root / path)
    if not path or not file.is_relative_to(resolved(root)):
        raise InputError(f"{path!r} is no path below {root}.")
    check_regular(file, "a picture")
    try:
        return opened(whole(file), path)
    except OSError as error:
        raise InputError(f"{path} is gone.") from error


def _refused(what: Any) -> PIL.Image.Image:
    raise InputError(f"{what} is gone.")


def _answer(open_picture: Callable[[int], PIL.Image.Image], row: int | None, large: bool) -> Any:
    """A picture for the browser."""
    from starlette.responses import Response

    try:
        content = _drawn(_refused(row) if row is None else open_picture(row), large)
    except (ZhclipError, IndexError):
        return Response("gone", 404, media_type="text/plain")
    return Response(content, media_type="image/webp", headers={"Cache-Control": "max-age=3600"})


def _drawn(picture: PIL.Image.Image, large: bool) -> bytes:
    """A picture's WebP, made anew from its pixels: the bytes of a file could be anything to a browser."""
    picture = PIL.ImageOps.exif_transpose(picture)
    small = max(picture.size) <= SMALL
    picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    picture.thumbnail((LARGE, LARGE) if large else (SMALL, SMALL))
    content = BytesIO()
    picture.save(content, "WEBP", lossless=small, quality=90)
    return content.getvalue()
