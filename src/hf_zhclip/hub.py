"""An exchange with the Hugging Face hub: its amounts go to a terminal alone, and a silent hub is given up."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from huggingface_hub import set_client_factory
from huggingface_hub.utils import _http

from .amounts import amounts_of_the_hub

SILENCE = 60.0
"""Seconds without a byte after which a request is given up; the client itself waits for ever for most requests."""


@contextmanager
def exchange() -> Iterator[None]:
    """Within it, a request to the hub ends in an error after `SILENCE`, unless the request has limits of its own."""
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
        client.event_hooks = {**client.event_hooks, "request": [*client.event_hooks["request"], _limit]}
        return client

    return make


def _limit(request: Any) -> None:
    """Sets the limits that a request lacks: most functions of the client state that they have none."""
    limits = request.extensions.get("timeout", {})
    request.extensions["timeout"] = {
        kind: SILENCE if limits.get(kind) is None else limits[kind] for kind in ("connect", "read", "write", "pool")
    }
