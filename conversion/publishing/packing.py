"""What is published of a folder: its own files, no foreign files, no file with a token, and its card for the hub."""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from hf_zhclip.paths import resolved

from ..errors import InputError
from ..reading.files import CARD, sha256
from ..reading.namesakes import refuse_namesake
from ..repos.doors import CODE_FILES
from ..repos.own_code import own_code, refuse_foreign_code
from ..repos.report import FILE
from ..ways_out import finish_it
from ..words import Words
from . import card_file, card_measured, rendering
from .notice import with_notice
from .unverified import is_safe, out_of_date, proof_of

OURS = (
    CARD,
    FILE,
    "config.json",
    "model.safetensors",
    "model-?????-of-?????.safetensors",
    "model.safetensors.index.json",
    card_measured.FILE,
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
"""Names of a converted repo's files: sent without a report, and removed from the hub if they are gone here."""

TOKEN = re.compile(rb"\bhf_(?:[A-Za-z0-9]{30,}|(?:oauth|jwt)_[A-Za-z0-9_.-]{30,})")
"""A hub token; this package's names also contain dots and underscores (hf_zhclip.conversion…)."""


@dataclass(frozen=True)
class Content:
    """A file to publish: its path, or its bytes."""

    source: Path | bytes
    size: int
    sha256: str

    def read(self) -> bytes:
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()


@dataclass(frozen=True)
class Parcel:
    """What is published of a folder: files by name, the folder's other files, and why it is unverified, if it is.

    `own_card`: the user wrote README.md, so that it replaces the hub's README.md.
    """

    files: Mapping[str, Content]
    left_out: tuple[str, ...]
    unverified: Words | None
    own_card: bool


def pack(folder: Path, repo_id: str, force_unverified: bool = False) -> Parcel:
    """Collects the files of a folder that are published as `repo_id`.

    Raises:
        InputError: the folder is not verified (and not forced), lacks a file that a repo needs, holds a hub token, or
            holds code that is of no version of hf_zhclip (which is never forced).
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder. Wanted: a folder that `zhclip convert` made.")
    refuse_namesake(folder)
    there, left_out = _listing(folder)
    report, reason = proof_of(folder, there)
    named = {FILE, card_measured.FILE, *(report.files if report is not None else ())} - {CARD}
    files = {name: _content(there[name]) for name in named if name in there and is_safe(name)}
    if report is not None:
        reason = reason or out_of_date(report, {name: content.sha256 for name, content in files.items()})
    if reason is not None and not force_unverified:
        raise InputError(
            f"{folder} is not verified: {reason.en}. {finish_it(folder)} Push OUT, or pass --force-unverified to "
            "publish the folder unchanged. The card then says that the folder is not verified."
        )
    if reason is not None:
        files |= {name: _content(there[name]) for name in there if is_ours(name) and name not in files}
    _check_complete(folder, files)
    # As `verify` does, also what is not sent: a folder that `verify` refuses is not published.
    refuse_foreign_code(folder, own_code(folder))
    own = _own_card(there.get(CARD))
    files[CARD] = content_of(_card(folder, repo_id, reason) if own is None else with_notice(own, reason))
    _check_tokens(folder, files)
    left_out += [name for name in there if name not in files]
    return Parcel(dict(sorted(files.items())), tuple(sorted(left_out)), reason, own is not None)


def _listing(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """A folder's files by name, and the files that are never published: hidden files, and links to other places."""
    there, never = {}, []
    for place, folders, names in os.walk(folder):
        base = Path(place)
        hidden = [name for name in folders if name.startswith(".") or (base / name).is_symlink()]
        folders[:] = sorted(set(folders) - set(hidden))
        never += [f"{(base / name).relative_to(folder).as_posix()}/" for name in hidden]
        for name in names:
            path = base / name
            shown = path.relative_to(folder).as_posix()
            inside = path.is_file() and resolved(path).is_relative_to(resolved(folder))
            if inside and not name.startswith("."):
                there[shown] = path
            else:
                never.append(shown)
    return there, never


def is_ours(name: str) -> bool:
    """Whether a file has a name that a converted repo uses."""
    return any(fnmatchcase(name, pattern) and name.count("/") == pattern.count("/") for pattern in OURS)


def _check_complete(folder: Path, files: Mapping[str, Content]) -> None:
    weights = [name for name in files if name.endswith(".safetensors")]
    if "config.json" not in files or not weights:
        raise InputError(
            f"{folder} has no {'weights' if 'config.json' in files else 'config.json'}, so the folder is no repo."
        )


def _check_tokens(folder: Path, files: Mapping[str, Content]) -> None:
    texts = {name: content for name, content in files.items() if not name.endswith(".safetensors")}
    if found := [name for name, content in texts.items() if TOKEN.search(content.read())]:
        raise InputError(
            f"{folder} holds a token of the hub in {', '.join(found)}, and everybody could read the token. Remove the "
            "token from the file. If anybody has seen the token, revoke it on the hub."
        )


def _own_card(path: Path | None) -> bytes | None:
    """The user's own card, if there is one."""
    text = card_file.read_card(path) if path is not None else None
    return None if text is None or card_file.is_generated(text) else text.encode()


def _card(folder: Path, repo_id: str, reason: Words | None) -> bytes:
    """The card rendered for the repo's name; a forced folder without a card's facts gets only the notice."""
    try:
        return rendering.render(folder, repo=repo_id, unverified=reason).encode()
    except InputError:
        if reason is None:
            raise
    return with_notice(f"# {repo_id.split('/')[1]}\n".encode(), reason)


def _content(path: Path) -> Content:
    return Content(path, path.stat().st_size, sha256(path))


def content_of(content: bytes) -> Content:
    """Bytes to publish."""
    return Content(content, len(content), hashlib.sha256(content).hexdigest())
