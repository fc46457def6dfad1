"""push(): a verified folder -> a repo on the hub."""

import re
from collections.abc import Callable
from pathlib import Path

from ..errors import InputError
from .packing import pack
from .pushed import Pushed, pushed
from .uploading import send


def push(
    out: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    create_pr: bool = False,
    dry_run: bool = False,
    force_unverified: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> Pushed:
    """Publishes a converted folder as `user/name` in one commit; the folder itself does not change.

    Args:
        out: a folder that `convert` made.
        repo_id: `user/name`; the repo is created if it does not exist.
        private: create a private repo; an existing public repo is refused.
        revision: the branch for the commit, created if it does not exist; the default is `main`.
        create_pr: propose the commit as a pull request.
        dry_run: only show what would be sent; needs neither the network nor a token.
        force_unverified: continue if the report is missing, failed or out of date; the card says so.
        progress: called with one line before each long step.

    Raises:
        InputError: the folder is not verified, or an argument is wrong.
        WorkError: the hub or the network failed; the message says what has changed in the repo.
    """
    _check_arguments(repo_id, revision, create_pr)
    progress(f"Hashing the files of {out}")
    parcel = pack(Path(out), repo_id, force_unverified)
    if dry_run:
        return pushed(repo_id, parcel, dry_run=True)
    return send(parcel, repo_id, private, revision, create_pr, progress)


def _check_arguments(repo_id: str, revision: str | None, create_pr: bool) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise InputError(f"{repo_id!r} can't be the name of a repo: {error} Wanted: user/name.") from error
    if repo_id.count("/") != 1:
        raise InputError(f"{repo_id!r} does not name the repo's owner. Wanted: user/name (`hf auth whoami`).")
    if revision is None:
        return
    if not revision.strip() or re.fullmatch(r"[0-9a-f]{40}", revision):
        raise InputError(f"--revision {revision!r} is no branch. Wanted: the name of a branch.")
    if create_pr and revision.startswith("refs/pr/"):
        raise InputError(f"{revision} is a pull request already. Push to it without --create-pr.")
