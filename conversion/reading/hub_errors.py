"""Errors of the hub's client -> the message to the user: what the hub said, and what to do."""

import re
from collections.abc import Callable, Mapping
from json import JSONDecodeError
from typing import Any

from ..errors import InputError, WorkError, ZhclipError
from .files import CARD

FULL = re.compile(r"storage|quota|exceed|too large|upgrade your plan", re.IGNORECASE)
"""How the hub says that no space is left; it does so with status 403."""

XET = re.compile(r"HTTP status \w+ error \((?P<status>\d{3})")
"""How hf_xet, which transfers large files, reports a status: as text in a ConnectionError."""


Told = tuple[type[ZhclipError], str, str]
"""The error's class, what was found, and what to do."""


def explain(error: Exception, name: str) -> ZhclipError:
    """The user's error for a failed call of huggingface_hub about the repo `name`.

    An InputError if the user can fix the cause (a name, a revision, a card), otherwise a WorkError.
    """
    if isinstance(error, ValueError) and CARD in str(error):
        said = " ".join(str(error).split())
        return InputError(f"The hub refused the card: {said}. Correct the metadata at the top of {CARD}.")
    kind, found, remedy = _told(_origin(error), name)
    return kind(f"{found} {remedy}")


def unclear(error: Exception) -> bool:
    """Whether the failed call may have made a commit: the request was sent, and the hub did not refuse it."""
    cause = _origin(error)
    status = getattr(getattr(cause, "response", None), "status_code", 500)
    return "/commit/" in _asked(cause) and status >= 500


def _asked(error: BaseException) -> str:
    """The requested address, from the error's answer, or from the error itself if it has no answer."""
    asked: Any = getattr(error, "response", error)
    try:
        return str(asked.request.url)
    except (AttributeError, RuntimeError):  # the HTTP package raises RuntimeError if it has no request
        return ""


def _origin(error: BaseException) -> BaseException:
    """The first error, which the client wraps: in RuntimeError (upload) or LocalEntryNotFoundError (download)."""
    from huggingface_hub.errors import HTTPError

    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    # hf_raise_for_status raises its own error from the HTTP package's error; the outer error knows more.
    return next((each for each in chain if isinstance(each, HTTPError)), chain[-1])


def _told(error: BaseException, name: str) -> Told:
    response: Any = getattr(error, "response", None)
    if status := getattr(response, "status_code", None):
        return _of_answer(status, _said(error), response.headers, name)
    if (xet := XET.search(str(error))) is None:
        return _of_silence(error, name)
    if xet["status"] == "404":
        remedy = "If the hub is a mirror or your own hub, set HF_HUB_DISABLE_XET=1 and run the command again."
        return WorkError, f"The hub does not store large files of {name} with xet: {_said(error)}", remedy
    return _of_answer(int(xet["status"]), _said(error), {}, name)


def _of_answer(status: int, said: str, headers: Mapping[str, str], name: str) -> Told:
    reason = headers.get("X-Error-Code")
    if reason in BY_REASON:
        return BY_REASON[reason](name, said)
    if status in (403, 413) and FULL.search(said):
        return WorkError, f"The hub has no room for {name} (status {status}): {said}", _more_room(name)
    if status == 429:
        return WorkError, f"The hub refuses more requests for now (status 429): {said}", _wait(headers)
    if status in BY_STATUS:
        return BY_STATUS[status](name, said)
    if status >= 500 or status == 408:
        return WorkError, f"The hub failed (status {status}): {said}", "Try again later."
    remedy = "Correct what the hub names, and run the command again."
    return WorkError, f"The hub refused the request for {name} (status {status}): {said}", remedy


def _of_silence(error: BaseException, name: str) -> Told:
    from huggingface_hub import constants
    from huggingface_hub.errors import HFValidationError, HTTPError, OfflineModeIsEnabled

    said = _first_line(error)
    match error:
        case _ if constants.HF_HUB_OFFLINE or isinstance(error, OfflineModeIsEnabled):
            return WorkError, f"Offline mode is on, so the hub is not asked for {name}.", "Unset HF_HUB_OFFLINE."
        case HFValidationError():
            return InputError, f"{name} can't be the name of a repo: {said}", "Wanted: user/name."
        case HTTPError() | TimeoutError():
            remedy = "Check the network (HF_ENDPOINT, HTTPS_PROXY), then run the command again."
            return WorkError, f"The hub at {constants.ENDPOINT} did not answer, or stopped answering: {said}.", remedy
        case ValueError() if FULL.search(str(error)):
            return WorkError, f"The hub has no room for {name}: {' '.join(str(error).split())}.", _more_room(name)
        case TypeError() | LookupError() | AttributeError() | JSONDecodeError() | UnicodeDecodeError():
            found = f"The hub at {constants.ENDPOINT} gave an answer that its client does not understand: {said}."
            return WorkError, found, "Check the network (HF_ENDPOINT, a login page), then run the command again."
        case _:
            return WorkError, f"The exchange with the hub failed for {name}: {said}.", "Run the command again."


def _more_room(name: str) -> str:
    return f"Free some storage of {name.split('/')[0]}, or upgrade its plan; then run the command again."


def _no_repo(name: str, said: str) -> Told:
    remedy = "Check the name. For a private repo, log in with `hf auth login` as a user who may see the repo."
    return InputError, f"There is no repo {name} on the hub that you can see: {said}", remedy


def _no_revision(name: str, said: str) -> Told:
    return InputError, f"{name} has no such revision: {said}", "Name an existing branch."


def _gated(name: str, said: str) -> Told:
    remedy = f"Ask for access on the page of {name}, and log in with `hf auth login`."
    return WorkError, f"{name} is gated: {said}", remedy


def _bad_request(name: str, said: str) -> Told:
    remedy = "Correct what the hub names, and run the command again."
    return InputError, f"The hub refused the request for {name} as invalid (status 400): {said}", remedy


def _no_login(name: str, said: str) -> Told:
    remedy = "Log in with `hf auth login`, or set HF_TOKEN to a valid token."
    return WorkError, f"The hub does not know who sent the request for {name} (status 401): {said}", remedy


def _forbidden(name: str, said: str) -> Told:
    remedy = "Log in as a user who has the right (`hf auth login`, or HF_TOKEN), or name your own repo."
    return WorkError, f"You have no right for this request to {name} (status 403): {said}", remedy


def _not_found(name: str, said: str) -> Told:
    return InputError, f"The hub has no {name} (status 404): {said}", "Check the name of the user and of the repo."


def _overtaken(name: str, said: str) -> Told:
    return WorkError, f"Somebody else changed {name} at the same time: {said}", "Run the command again."


BY_REASON: dict[str, Callable[[str, str], Told]] = {
    "RepoNotFound": _no_repo,
    "RevisionNotFound": _no_revision,
    "GatedRepo": _gated,
}
"""By the hub's header X-Error-Code."""

BY_STATUS: dict[int, Callable[[str, str], Told]] = {
    400: _bad_request,
    401: _no_login,
    403: _forbidden,
    404: _not_found,
    409: _overtaken,
    412: _overtaken,
}


def _wait(headers: Mapping[str, str]) -> str:
    from huggingface_hub.utils import parse_ratelimit_headers

    limit = parse_ratelimit_headers(headers)
    seconds = headers.get("Retry-After") or (limit and str(limit.reset_in_seconds))
    return f"Wait {seconds} seconds, then run the command again." if seconds else "Wait some minutes, then try again."


def _said(error: BaseException) -> str:
    """The hub's own message, ended by a full stop, or the first line of the client's message."""
    message = getattr(error, "server_message", None) or _first_line(error)
    return " ".join(message.split()).rstrip(".!") + "."


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
