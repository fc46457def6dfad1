"""An exchange with the Hugging Face hub: its amounts go to a terminal alone, and a silent hub is given up."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from huggingface_hub import set_client_factory

from .amounts import amounts_of_the_hub

SILENCE = 60.0
"""Seconds without a byte after which a request is given up; the client itself waits for ever for most requests."""

TRIES = 2
"""Requests that a thread makes to a hub that answers none of them; the client itself makes up to seven."""

_unanswered = threading.local()


@contextmanager
def exchange() -> Iterator[None]:
    """Within it, a silent hub is given up: each request after `SILENCE` or its own limit, and all after `TRIES`."""
    from huggingface_hub.utils import _http  # here, because a release may move it, and most runs ask no hub

    _unanswered.count = 0
    before = _http._GLOBAL_CLIENT_FACTORY  # no function gives it
    set_client_factory(_patient(before))
    try:
        with amounts_of_the_hub():
            yield
    finally:
        set_client_factory(before)


def _patient(factory: Callable[[], Any]) -> Callable[[], Any]:
    def make() -> Any:
        client = factory()
        hooks = client.event_hooks
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
    limits = request.extensions.get("timeout", {})
    request.extensions["timeout"] = {
        kind: SILENCE if limits.get(kind) is None else limits[kind] for kind in ("connect", "read", "write", "pool")
    }


def _answered(response: Any) -> None:
    _unanswered.count = 0
