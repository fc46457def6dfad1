"""The result of `push`: what was or would be published, what stayed, and what was left out."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hf_zhclip.telling import masked

from ..reading.files import CARD
from .packing import Parcel


@dataclass(frozen=True)
class Pushed:
    """What was or would be published; `files` are the repo's files with sizes, `sent` the files that the hub lacked.

    `kept` are files that a person edited on the hub, and that stay unchanged there.
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
    with_code: bool
    dry_run: bool

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        """What was done; in a dry run, also every file with its size."""
        rows = [f"{size:>15,}  {name}" for name, size in self.files.items()] if self.dry_run else []
        return "\n".join([self._headline(), *rows, self._door(), *self._notes()])

    def _headline(self) -> str:
        total = f"{len(self.files)} files, {sum(self.files.values()):,} bytes"
        if self.dry_run:
            return f"{self.url}: a push would publish {total} (dry run: no file was sent)."
        if not self.sent and not self.removed:
            return f"{self.url} already has all files: {total}, commit {self.commit}."
        where = self.pull_request or self.url
        sent = f"{len(self.sent)} of these files were sent"
        return f"{where}: {total}; {sent}. Commit {self.commit} was read back and compared."

    def _door(self) -> str:
        """How a reader loads what is published."""
        if self.with_code:
            return (
                f"The repo loads with AutoModel.from_pretrained({self.repo_id!r}, trust_remote_code=True). After "
                "`import hf_zhclip`, it loads without trust_remote_code."
            )
        return (
            f"The repo holds no code (--without-code). It loads with AutoModel.from_pretrained({self.repo_id!r}) only "
            "if hf_zhclip is installed, after `import hf_zhclip`."
        )

    def _notes(self) -> Iterator[str]:
        if self.removed:
            yield f"Removed on the hub (files of an earlier version): {', '.join(self.removed)}"
        if self.kept:
            yield (
                f"Not replaced on the hub, because somebody edited the file there: {', '.join(self.kept)}. To replace "
                "the file, put your own file into the folder, or remove the file on the hub."
            )
        if self.dry_run:
            yield (
                "The dry run did not read the files on the hub. A push removes files of an earlier version there, and "
                f"keeps a {CARD} that somebody edited there."
            )
        if self.left_out:
            yield f"Left out (not files of the repo): {', '.join(self.left_out)}"
        if self.unverified:
            yield f"NOT verified, and the card says so: {self.unverified}"


def pushed(
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
    """The result for a parcel."""
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
        with_code=any(name.endswith(".py") for name in parcel.files),
        dry_run=dry_run,
    )
