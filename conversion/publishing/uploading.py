"""A parcel -> one commit on the hub, which is read back as a check; an error always says what has changed."""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from hf_zhclip.hub import NONSENSE, exchange

from ..errors import InputError, WorkError, ZhclipError
from ..reading.files import CARD
from ..reading.hub_errors import explain, unclear
from . import card_file
from .notice import with_notice
from .packing import Content, Parcel, content_of, is_ours
from .pushed import Pushed, pushed


@exchange()
def send(
    parcel: Parcel,
    repo_id: str,
    private: bool,
    revision: str | None,
    create_pr: bool,
    progress: Callable[[str], None],
) -> Pushed:
    """Sends a parcel; the arguments are those of `push`.

    Raises:
        InputError: the hub does not accept the parcel as it was requested.
        WorkError: the hub or the network failed; the message says what has changed in the repo.
    """
    from huggingface_hub import HfApi

    _check_login()
    api = HfApi()
    with _told(repo_id, "No file was pushed."):
        repo, made = _repo(api, repo_id, private)
    if private and not repo.private:
        raise InputError(
            f"{repo_id} is on the hub already, and everybody can read the repo. Make the repo private in its "
            "settings, or choose another name. No file was pushed."
        )
    with _told(repo_id, f"No file was pushed.{made}"):
        head = _head(api, repo_id, revision, create_pr)
        there = _remote_files(api, repo_id, head)
        parcel, kept = _with_their_card(api, parcel, repo_id, head, there.get(CARD))
    sent = tuple(name for name, content in parcel.files.items() if not _same(there.get(name), content))
    removed = tuple(sorted(name for name in there if is_ours(name) and name not in parcel.files))
    if not sent and not removed:
        return pushed(repo_id, parcel, commit=head, kept=kept)
    size = sum(parcel.files[name].size for name in sent)
    progress(f"Sending {len(sent)} files ({size:,} bytes) to {repo_id}")
    with _told(repo_id, _unchanged(repo_id, create_pr) + made, _perhaps(create_pr)):
        commit = api.create_commit(
            repo_id,
            _operations(parcel, sent, removed),
            commit_message="Upload a model converted with hf_zhclip",
            revision=revision,
            create_pr=create_pr,
            parent_commit=head,
        )
    progress(f"Reading back commit {commit.oid}")
    with _told(
        repo_id,
        f"Commit {commit.oid} is on the hub, but could not be read back and compared. Check the commit before you use "
        "it.",
    ):
        there = _remote_files(api, repo_id, commit.oid)
    _check_arrived(parcel, there, removed, repo_id, commit.oid)
    return pushed(
        repo_id, parcel, commit=commit.oid, pull_request=commit.pr_url, sent=sent, removed=removed, kept=kept
    )


def _check_login() -> None:
    from huggingface_hub import constants, get_token

    if get_token() is None:
        raise InputError(
            f"You are not logged in to the hub at {constants.ENDPOINT}. Log in with `hf auth login`, or set HF_TOKEN "
            "to a token with the right to write. No file was pushed."
        )


def _repo(api: Any, repo_id: str, private: bool) -> tuple[Any, str]:
    """The hub's description of the repo, which is created if it does not exist, and a sentence if it was created."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        return api.model_info(repo_id), ""
    except RepositoryNotFoundError:
        api.create_repo(repo_id, private=private or None, exist_ok=True)
    return api.model_info(repo_id), f" The repo {repo_id} was created, and is empty."


def _head(api: Any, repo_id: str, revision: str | None, create_pr: bool) -> str:
    """The commit to push onto; a missing branch is created."""
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        return api.model_info(repo_id, revision=revision).sha
    except RevisionNotFoundError:
        if revision is None or create_pr or revision.startswith("refs/"):
            raise
    api.create_branch(repo_id, branch=revision, exist_ok=True)
    return api.model_info(repo_id, revision=revision).sha


def _remote_files(api: Any, repo_id: str, commit: str) -> dict[str, Any]:
    """A commit's files by name; folders have no size."""
    rows = api.list_repo_tree(repo_id, revision=commit, recursive=True)
    return {row.path: row for row in rows if hasattr(row, "size")}


def _with_their_card(
    api: Any, parcel: Parcel, repo_id: str, commit: str, remote: Any
) -> tuple[Parcel, tuple[str, ...]]:
    """The parcel with the hub's own card instead of ours, if a person edited it there, and the names of such files."""
    if remote is None or parcel.own_card or _same(remote, parcel.files[CARD]):
        return parcel, ()
    with tempfile.TemporaryDirectory() as folder:
        theirs = Path(api.hf_hub_download(repo_id, CARD, revision=commit, local_dir=folder)).read_bytes()
    if card_file.is_generated(theirs.decode(errors="replace")):
        return parcel, ()
    return replace(parcel, files={**parcel.files, CARD: content_of(with_notice(theirs, parcel.unverified))}), (CARD,)


def _operations(parcel: Parcel, sent: tuple[str, ...], removed: tuple[str, ...]) -> list[Any]:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    return [
        *(CommitOperationAdd(name, parcel.files[name].source) for name in sent),
        *(CommitOperationDelete(name, is_folder=False) for name in removed),
    ]


def _same(remote: Any, content: Content) -> bool:
    """Whether the hub's file has this content: large files are known by SHA-256, other files by git's blob hash."""
    if remote is None or remote.size != content.size:
        return False
    if remote.lfs is not None:
        return remote.lfs.sha256 == content.sha256
    return remote.blob_id == hashlib.sha1(b"blob %d\0" % content.size + content.read()).hexdigest()


def _check_arrived(
    parcel: Parcel, there: Mapping[str, Any], removed: tuple[str, ...], repo_id: str, commit: str
) -> None:
    wrong = [name for name, content in parcel.files.items() if not _same(there.get(name), content)]
    wrong += [name for name in removed if name in there]
    if wrong:
        raise WorkError(
            f"Commit {commit} of {repo_id} differs from the local files: {', '.join(wrong)}. A file may have changed "
            "while it was sent. Run the command again before anybody uses this commit."
        )


@contextmanager
def _told(repo_id: str, state: str, state_if_unclear: str | None = None) -> Iterator[None]:
    """Reports errors of the hub's client, and what is on the hub now."""
    from huggingface_hub.errors import HTTPError

    try:
        yield
    except ZhclipError:
        raise
    # The client raises RuntimeError for a failed upload, and ValueError for a refused card, too.
    except (HTTPError, OSError, RuntimeError, *NONSENSE) as error:
        told = explain(error, repo_id)
        after = state_if_unclear if state_if_unclear and unclear(error) else state
        raise type(told)(f"{told} {after}") from error


def _unchanged(repo_id: str, create_pr: bool) -> str:
    return "No pull request was opened." if create_pr else f"No file of {repo_id} was changed."


def _perhaps(create_pr: bool) -> str:
    if create_pr:
        return (
            "No pull request was opened, or only the hub's answer was lost. Look on the hub before you run the "
            "command again."
        )
    return (
        "Either all files are on the hub, or no file was changed. Run the command again: it sends the missing files "
        "and checks the other files."
    )
