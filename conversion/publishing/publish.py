"""push(): a verified folder -> one commit on the hub, which is read back before it is called done."""

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import InputError, WorkError
from ..reading.files import sha256
from ..reading.hub_errors import explain, unclear
from ..reading.namesakes import refuse_namesake
from ..repos.doors import CODE_FILES
from ..repos.report import FILE, Report, read_report
from ..telling import masked
from ..words import SEMICOLON, Words, joined

CARD = "README.md"

OURS = (
    CARD,
    FILE,
    "config.json",
    "model.safetensors",
    "model-?????-of-?????.safetensors",
    "model.safetensors.index.json",
    "processor_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Normalize/config.json",
    *CODE_FILES,
)
"""Names of a converted repo's files: what goes where no report names them, and what goes from the hub when it left."""

NEVER = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".npz", ".h5", ".msgpack")
"""Endings that no converted repo holds: pickles run code when they are read, the rest would be loaded beside ours."""

TOKEN = re.compile(rb"\bhf_(?:[A-Za-z0-9]{30,}|(?:oauth|jwt)_[A-Za-z0-9_.-]{30,})")
"""A token of the hub; dots and underscores are in names of this package too, hf_zhclip.conversion… ."""

HEADER = re.compile(rb"\A(?:\xef\xbb\xbf)?---[ \t]*\r?\n.*?^---[ \t]*(\r?\n|\Z)", re.DOTALL | re.MULTILINE)
"""A card's metadata."""

NOTICE = (
    "> **Not verified / 未经验证**: nothing shows that this model computes what its original computes: {reason}. / "
    "没有证据表明该模型与原模型的计算结果一致。\n"
)
OLD_NOTICE = re.compile("\n> \\*\\*Not verified / 未经验证\\*\\*: [^\n]*\n\n?".encode())

NO_REPORT = Words(f"there is no {FILE}", f"没有 {FILE}")
UNREADABLE = Words(f"its {FILE} can't be read, or is of another version", f"其 {FILE} 无法读取，或版本不符")
NO_EMBEDDINGS = Words("only its tensors were compared, no embeddings", "只比较了张量，没有比较向量")
FAILED = Words("its verification failed", "它没有通过验证")
FOREIGN = Words(
    f"its {FILE} names {{files}}, which no converted repo holds",
    f"其 {FILE} 列出了 {{files}}，这不是转换得到的仓库里的文件",
)
OUT_OF_DATE = Words("these files are not those that were verified ({how})", "文件与验证时的不同（{how}）")
CHANGED = Words("changed since then: {files}", "有改动：{files}")
MISSING = Words("missing, or links to elsewhere: {files}", "缺失或链接到别处：{files}")
"""Why a folder is not verified; the last two are what can differ."""


@dataclass(frozen=True)
class Content:
    """A file to publish: where it lies, or its bytes."""

    source: Path | bytes
    size: int
    sha256: str

    def read(self) -> bytes:
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()


@dataclass(frozen=True)
class Parcel:
    """What of a folder is published: the files by name, the rest of the folder, and why it is not verified if so.

    `own_card`: README.md is the user's, so that one on the hub gives way to it.
    """

    files: Mapping[str, Content]
    left_out: tuple[str, ...]
    unverified: Words | None
    own_card: bool


@dataclass(frozen=True)
class Pushed:
    """What was published, or would be; `files` are the repo's with their sizes, `sent` those that were not there.

    `kept` are files that somebody edited on the hub, and that stay as they are there.
    """

    repo_id: str
    url: str
    commit: str | None
    pull_request: str | None
    files: Mapping[str, int]
    sent: tuple[str, ...]
    removed: tuple[str, ...]
    kept: tuple[str, ...]
    left_out: tuple[str, ...]
    unverified: str | None
    dry_run: bool

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        """What was done, and in a dry run every file with its size."""
        rows = [f"{size:>15,}  {name}" for name, size in self.files.items()] if self.dry_run else []
        return "\n".join([self._headline(), *rows, *self._notes()])

    def _headline(self) -> str:
        total = f"{len(self.files)} files, {sum(self.files.values()):,} bytes"
        if self.dry_run:
            return f"{self.url}: {total} would be pushed (a dry run, nothing was sent)."
        if not self.sent and not self.removed:
            return f"{self.url} held all of it already: {total}, commit {self.commit}."
        where = self.pull_request or self.url
        return f"{where}: {total}, of which {len(self.sent)} were new; commit {self.commit}, read back and compared."

    def _notes(self) -> Iterator[str]:
        if self.removed:
            yield f"Removed there, files of an earlier version: {', '.join(self.removed)}"
        if self.kept:
            yield (
                f"Kept as it is there, because somebody edited it: {', '.join(self.kept)}. To replace it, put one of "
                "your own into the folder, or remove that one."
            )
        if self.dry_run:
            yield (
                "What is on the hub was not looked at: files of an earlier version would be removed there, and a "
                f"{CARD} that somebody edited there would be kept."
            )
        if self.left_out:
            yield f"Left out, not files of the repo: {', '.join(self.left_out)}"
        if self.unverified:
            yield f"NOT verified, and the card says so: {self.unverified}"


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
    """Publishes a converted folder as `user/name`, in one commit; the folder itself is not changed.

    Args:
        out: the folder that `convert` made.
        repo_id: `user/name`; it is made if it is not there.
        private: make the repo a private one; one that is there and public is refused.
        revision: the branch to push to, made if it is not there; by default `main`.
        create_pr: propose the commit as a pull request.
        dry_run: only say what would be sent; neither the network nor a token is needed.
        force_unverified: go on where the report is missing, failed or out of date, and say so on the card.
        progress: called with one line before each long step.

    Raises:
        InputError: when the folder is not verified, or an argument is wrong.
        WorkError: when the hub or the network failed; it says what of the repo was changed.
    """
    _check_arguments(repo_id, revision, create_pr)
    progress(f"Hashing the files of {out}")
    parcel = pack(Path(out), repo_id, force_unverified)
    if dry_run:
        return _pushed(repo_id, parcel, dry_run=True)
    return _send(parcel, repo_id, private, revision, create_pr, progress)


def _check_arguments(repo_id: str, revision: str | None, create_pr: bool) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise InputError(f"{repo_id!r} can't be the name of a repo: {error} Wanted: user/name.") from error
    if repo_id.count("/") != 1:
        raise InputError(f"{repo_id!r} does not say whose repo it is. Wanted: user/name (`hf auth whoami`).")
    if revision is None:
        return
    if not revision.strip() or re.fullmatch(r"[0-9a-f]{40}", revision):
        raise InputError(f"--revision {revision!r} is no branch, and only a branch can be pushed to. Name one.")
    if create_pr and revision.startswith("refs/pr/"):
        raise InputError(f"{revision} is a pull request already. Push to it without --create-pr.")


def pack(folder: Path, repo_id: str, force_unverified: bool = False) -> Parcel:
    """What of a folder is published as `repo_id`.

    Raises:
        InputError: when it is not verified (and not forced), lacks what a repo needs, or holds a token of the hub.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder. Wanted: one that `zhclip convert` made.")
    refuse_namesake(folder)
    there, left_out = _listing(folder)
    report, reason = _proof(folder, there)
    named = {FILE, *(report.files if report is not None else ())} - {CARD}
    files = {name: _content(there[name]) for name in named if name in there and _is_safe(name)}
    reason = reason or _out_of_date(report, files)
    if reason is not None and not force_unverified:
        raise InputError(
            f"{folder} is not verified: {reason.en}. Convert it again, or pass --force-unverified to publish it "
            "with a card that says so."
        )
    if reason is not None:
        files |= {name: _content(there[name]) for name in there if _is_ours(name) and name not in files}
    _check_complete(folder, files)
    own = _own_card(there.get(CARD))
    files[CARD] = _bytes(_card(folder, repo_id, reason) if own is None else with_notice(own, reason))
    _check_tokens(folder, files)
    left_out += [name for name in there if name not in files]
    return Parcel(dict(sorted(files.items())), tuple(sorted(left_out)), reason, own is not None)


def _proof(folder: Path, there: Mapping[str, Path]) -> tuple[Report | None, Words | None]:
    """The report, and why it proves nothing."""
    if FILE not in there:
        return None, NO_REPORT
    try:
        report = read_report(folder)
    except InputError:
        return None, UNREADABLE
    if report.level == "tensors":
        return report, NO_EMBEDDINGS
    if not report.passed:
        return report, FAILED
    if wrong := sorted(name for name in report.files if not _is_safe(name)):
        return report, FOREIGN.filled(files=", ".join(wrong))
    return report, None


def _listing(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """The files of a folder by name, and what is never published: hidden things, and links to elsewhere."""
    there, never = {}, []
    for place, folders, names in os.walk(folder):
        base = Path(place)
        hidden = [name for name in folders if name.startswith(".") or (base / name).is_symlink()]
        folders[:] = sorted(set(folders) - set(hidden))
        never += [f"{(base / name).relative_to(folder).as_posix()}/" for name in hidden]
        for name in names:
            path = base / name
            shown = path.relative_to(folder).as_posix()
            inside = path.is_file() and path.resolve().is_relative_to(folder.resolve())
            if inside and not name.startswith("."):
                there[shown] = path
            else:
                never.append(shown)
    return there, never


def _is_ours(name: str) -> bool:
    return any(fnmatchcase(name, pattern) and name.count("/") == pattern.count("/") for pattern in OURS)


def _is_safe(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") for part in path.parts)
    return not (path.is_absolute() or hidden or "\\" in name or name.lower().endswith(NEVER))


def _out_of_date(report: Report, files: Mapping[str, Content]) -> Words | None:
    """How the files differ from those that were verified."""
    missing = sorted(set(report.files) - set(files))
    changed = sorted(name for name in set(report.files) & set(files) if files[name].sha256 != report.files[name])
    told = [words.filled(files=", ".join(names)) for words, names in ((CHANGED, changed), (MISSING, missing)) if names]
    return OUT_OF_DATE.filled(how=joined(told, SEMICOLON)) if told else None


def _check_complete(folder: Path, files: Mapping[str, Content]) -> None:
    weights = [name for name in files if name.endswith(".safetensors")]
    if "config.json" not in files or not weights:
        raise InputError(f"{folder} has no {'weights' if 'config.json' in files else 'config.json'}: it is no repo.")


def _check_tokens(folder: Path, files: Mapping[str, Content]) -> None:
    texts = {name: content for name, content in files.items() if not name.endswith(".safetensors")}
    if found := [name for name, content in texts.items() if TOKEN.search(content.read())]:
        raise InputError(
            f"{folder} holds a token of the hub in {', '.join(found)}, which everybody could read. Take it out, and "
            "revoke it if anybody has seen it."
        )


def _own_card(path: Path | None) -> bytes | None:
    """The card that the user wrote, if there is one."""
    from . import cards

    text = cards.read_card(path) if path is not None else None
    return None if text is None or cards.is_generated(text) else text.encode()


def _card(folder: Path, repo_id: str, reason: Words | None) -> bytes:
    """The card rendered for the repo's name; of what is forced and lacks what a card is made of, the notice alone."""
    from . import cards

    try:
        return cards.render(folder, repo=repo_id, unverified=reason).encode()
    except InputError:
        if reason is None:
            raise
    return with_notice(f"# {repo_id.split('/')[1]}\n".encode(), reason)


def with_notice(card: bytes, reason: Words | None) -> bytes:
    """A card with a notice, behind its metadata, that and why the model is not verified, or without one."""
    card, notices = OLD_NOTICE.subn(b"", card)
    if reason is None:
        return card
    header = HEADER.match(card)
    end = header.end() if header else 0
    head = card[:end] if card[:end].endswith(b"\n") or not end else card[:end] + b"\n"
    body = card[end:] if notices else card[end:].lstrip()
    return head + f"\n{NOTICE.format(reason=reason.en)}\n".encode() + body


def _content(path: Path) -> Content:
    return Content(path, path.stat().st_size, sha256(path))


def _bytes(content: bytes) -> Content:
    return Content(content, len(content), hashlib.sha256(content).hexdigest())


def _send(
    parcel: Parcel,
    repo_id: str,
    private: bool,
    revision: str | None,
    create_pr: bool,
    progress: Callable[[str], None],
) -> Pushed:
    from huggingface_hub import HfApi

    _check_login()
    api = HfApi()
    with _told(repo_id, "Nothing was pushed."):
        repo, made = _repo(api, repo_id, private)
    if private and not repo.private:
        raise InputError(
            f"{repo_id} is on the hub already, and everybody can read it. Make it private in its settings, or choose "
            "another name. Nothing was pushed."
        )
    with _told(repo_id, f"Nothing was pushed.{made}"):
        head = _head(api, repo_id, revision, create_pr)
        there = _remote_files(api, repo_id, head)
        parcel, kept = _with_their_card(api, parcel, repo_id, head, there.get(CARD))
    sent = tuple(name for name, content in parcel.files.items() if not _same(there.get(name), content))
    removed = tuple(sorted(name for name in there if _is_ours(name) and name not in parcel.files))
    if not sent and not removed:
        return _pushed(repo_id, parcel, commit=head, kept=kept)
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
        f"Commit {commit.oid} is there, but could not be read back to be compared. Look at it before it is used.",
    ):
        there = _remote_files(api, repo_id, commit.oid)
    _check_arrived(parcel, there, removed, repo_id, commit.oid)
    return _pushed(
        repo_id, parcel, commit=commit.oid, pull_request=commit.pr_url, sent=sent, removed=removed, kept=kept
    )


def _operations(parcel: Parcel, sent: tuple[str, ...], removed: tuple[str, ...]) -> list[Any]:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    return [
        *(CommitOperationAdd(name, parcel.files[name].source) for name in sent),
        *(CommitOperationDelete(name, is_folder=False) for name in removed),
    ]


def _repo(api: Any, repo_id: str, private: bool) -> tuple[Any, str]:
    """What the hub says of the repo, which is made where it is not there, and a sentence if it was."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        return api.model_info(repo_id), ""
    except RepositoryNotFoundError:
        api.create_repo(repo_id, private=private or None, exist_ok=True)
    return api.model_info(repo_id), f" {repo_id} was made for this, and is empty."


def _with_their_card(
    api: Any, parcel: Parcel, repo_id: str, commit: str, remote: Any
) -> tuple[Parcel, tuple[str, ...]]:
    """The parcel with the hub's own card in place of ours, where somebody edited it there, and the names of such."""
    from . import cards

    if remote is None or parcel.own_card or _same(remote, parcel.files[CARD]):
        return parcel, ()
    with tempfile.TemporaryDirectory() as folder:
        theirs = Path(api.hf_hub_download(repo_id, CARD, revision=commit, local_dir=folder)).read_bytes()
    if cards.is_generated(theirs.decode(errors="replace")):
        return parcel, ()
    return replace(parcel, files={**parcel.files, CARD: _bytes(with_notice(theirs, parcel.unverified))}), (CARD,)


def _check_login() -> None:
    from huggingface_hub import constants, get_token

    if get_token() is None:
        raise InputError(
            f"Nobody is logged in to the hub at {constants.ENDPOINT}. Log in with `hf auth login`, or set HF_TOKEN to "
            "a token that may write. Nothing was pushed."
        )


@contextmanager
def _told(repo_id: str, state: str, state_if_unclear: str | None = None) -> Iterator[None]:
    """Tells what the hub's client raises, and what is on the hub now."""
    from huggingface_hub.errors import HTTPError

    try:
        yield
    # RuntimeError and ValueError are how the client tells a failed upload and a refused card.
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        told = explain(error, repo_id)
        after = state_if_unclear if state_if_unclear and unclear(error) else state
        raise type(told)(f"{told} {after}") from error


def _unchanged(repo_id: str, create_pr: bool) -> str:
    return "No pull request was opened." if create_pr else f"No file of {repo_id} was changed."


def _perhaps(create_pr: bool) -> str:
    if create_pr:
        return "No pull request was opened, unless only the hub's answer was lost: look before you run it again."
    return (
        "Either everything is there or nothing was changed; run again, the command sends what is missing and checks "
        "the rest."
    )


def _head(api: Any, repo_id: str, revision: str | None, create_pr: bool) -> str:
    """The commit to push onto; a branch that is not there is made."""
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        return api.model_info(repo_id, revision=revision).sha
    except RevisionNotFoundError:
        if revision is None or create_pr or revision.startswith("refs/"):
            raise
    api.create_branch(repo_id, branch=revision, exist_ok=True)
    return api.model_info(repo_id, revision=revision).sha


def _remote_files(api: Any, repo_id: str, commit: str) -> dict[str, Any]:
    """The files of a commit by name; folders have no size."""
    rows = api.list_repo_tree(repo_id, revision=commit, recursive=True)
    return {row.path: row for row in rows if hasattr(row, "size")}


def _same(remote: Any, content: Content) -> bool:
    """Whether the hub's file has this content: large ones are known by SHA-256, the others by git's name of it."""
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
            f"Commit {commit} of {repo_id} does not hold what is here: {', '.join(wrong)}. A file may have changed "
            "while it was sent. Run the command again before anybody uses that commit."
        )


def _pushed(
    repo_id: str,
    parcel: Parcel,
    *,
    commit: str | None = None,
    pull_request: str | None = None,
    sent: tuple[str, ...] = (),
    removed: tuple[str, ...] = (),
    kept: tuple[str, ...] = (),
    dry_run: bool = False,
) -> Pushed:
    from huggingface_hub import constants

    return Pushed(
        repo_id=repo_id,
        url=masked(f"{constants.ENDPOINT}/{repo_id}"),
        commit=commit,
        pull_request=pull_request,
        files={name: content.size for name, content in parcel.files.items()},
        sent=sent,
        removed=removed,
        kept=kept,
        left_out=parcel.left_out,
        unverified=parcel.unverified.en if parcel.unverified else None,
        dry_run=dry_run,
    )
