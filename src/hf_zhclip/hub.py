"""An exchange with the Hugging Face hub: amounts go to a terminal alone, and a hub that holds it up is given up."""

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import Any

from huggingface_hub import set_client_factory

from .amounts import amounts_of_the_hub
from .budget import MOST_JSON_BYTES
from .hub_files import bounded_files
from .pace import pace_stream

SILENCE = 60.0
"""Seconds without a byte after which a request is given up; the client itself waits for ever for most requests."""

TRIES = 2
"""Requests that a thread makes to a hub that answers none of them; the client itself makes up to seven."""

LONGEST_WAIT = 300.0
"""Seconds; the Hugging Face hub counts requests in windows of this length."""

LONGEST_ANSWER = 300.0
"""Seconds for an answer that is no file; the longest list of a repo's files takes a few."""

LIMIT = re.compile(r";\s*t=(?P<seconds>\d{1,9})")
"""The hub's header ratelimit: `"api";r=0;t=55`."""

NONSENSE = (ValueError, TypeError, LookupError, AttributeError)
"""What the client raises for an answer of another kind than it expects, as a login page of a network is."""

_unanswered = threading.local()


@contextmanager
def exchange() -> Iterator[None]:
    """Within it, a hub that holds its client up is given up.

    It is silent: each request is given up after `SILENCE` or its own limit, and all after `TRIES`. It sends too
    slowly: see `pace`. Its answers last too long or are too large: see `bounded`. It sends more than it stated: see
    `hub_files`.
    """
    from huggingface_hub.utils import _http  # here, because a release may move it, and most runs ask no hub

    _unanswered.count = 0
    _ask_for_no_agents()
    before = _http._GLOBAL_CLIENT_FACTORY  # no function gives it
    set_client_factory(_patient(before))
    try:
        with amounts_of_the_hub(), bounded_files():
            yield
    finally:
        set_client_factory(before)


def _ask_for_no_agents() -> None:
    """Keeps newer clients from a request of their own: they ask each hub for a list of programs, and keep the answer.

    An answer that is no such list would end every request of every program for a day in a traceback.
    """
    with suppress(ImportError, AttributeError):  # other releases keep no such list
        from huggingface_hub.utils import _detect_agent

        _detect_agent._registry = _detect_agent._EMPTY_REGISTRY


def _patient(factory: Callable[[], Any]) -> Callable[[], Any]:
    def make() -> Any:
        client = factory()
        hooks, send = client.event_hooks, client.send

        def mark(request: Any, *given: Any, stream: bool = False, **named: Any) -> Any:
            request.extensions["is_file"] = stream
            return send(request, *given, stream=stream, **named)

        client.send = mark
        client.event_hooks = {
            "request": [*hooks["request"], _limit],
            "response": [*hooks["response"], _answered],
        }
        return client

    return make


def _limit(request: Any) -> None:
    """Sets the limits that a request lacks: most functions of the client state that they have none.

    Raises:
        TimeoutError: the last requests of this thread had no answer.
    """
    _unanswered.count = getattr(_unanswered, "count", 0) + 1
    if _unanswered.count > TRIES:
        _unanswered.count = 0
        raise TimeoutError(f"it gave no answer to {TRIES} requests")
    request.extensions["trace"] = _trace
    limits = request.extensions.get("timeout", {})
    request.extensions["timeout"] = {
        kind: SILENCE if limits.get(kind) is None else limits[kind] for kind in ("connect", "read", "write", "pool")
    }


def _trace(event: str, info: Mapping[str, Any]) -> None:
    """Holds each new connection to the least rate; a connection with TLS comes as a second one."""
    if event.endswith(("connect_tcp.complete", "start_tls.complete")):
        pace_stream(info["return_value"])


def _answered(response: Any) -> None:
    """Counts an answer, and ends a request that the client would repeat after a long wait.

    Raises:
        HfHubHTTPError: the hub wants the client to wait for longer than `LONGEST_WAIT`.
    """
    from huggingface_hub.errors import HfHubHTTPError

    _unanswered.count = 0
    if response.status_code >= 400 and (wait := _wait(response.headers)) > LONGEST_WAIT:
        raise HfHubHTTPError(f"it wants {wait:.0f} seconds to pass before the next request", response=response)
    if not (response.request.extensions.get("is_file") and response.status_code in (200, 206)):
        response.iter_bytes = bounded(response.iter_bytes)  # which read() uses


def bounded(iter_bytes: Callable[..., Iterator[bytes]]) -> Callable[..., Iterator[bytes]]:
    """Ends an answer that is no file and goes on for too long, which the client would keep in memory.

    Raises:
        ValueError: while it is read: it is larger than any JSON of a model.
        TimeoutError: while it is read: it lasts longer than `LONGEST_ANSWER`.
    """

    def pieces(*given: Any, **named: Any) -> Iterator[bytes]:
        end, size = time.monotonic() + LONGEST_ANSWER, 0
        for piece in iter_bytes(*given, **named):
            size += len(piece)
            if size > MOST_JSON_BYTES:
                raise ValueError(f"an answer of more than {MOST_JSON_BYTES:,} bytes")
            if time.monotonic() > end:
                raise TimeoutError(f"an answer lasted longer than {LONGEST_ANSWER:.0f} seconds")
            yield piece

    return pieces


def _wait(headers: Mapping[str, str]) -> float:
    """The seconds that a hub wants its client to wait; 0 where it states none."""
    limit, after = LIMIT.search(headers.get("ratelimit", "")), headers.get("Retry-After", "").strip()
    seconds = float(limit["seconds"]) if limit else 0.0
    if after.isdecimal():
        return max(seconds, float(after))
    try:
        return max(seconds, parsedate_to_datetime(after).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):  # no date; the client does not heed it
        return seconds
