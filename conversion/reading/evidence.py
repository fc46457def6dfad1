"""What a witness is given from the source's folder: JSON files, hashes, and the user's statements."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hf_zhclip.json_files import read_any_json

from .files import sha256
from .read import Checkpoint

TOKENIZER_CONFIG = "tokenizer_config.json"

PICTURES = ("preprocessor_config.json", "processor_config.json")
"""The files that state how pictures are prepared."""

VOCABULARIES = (
    *("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", TOKENIZER_CONFIG),
    *("added_tokens.json", "special_tokens_map.json"),
)
"""The files from which a tokenizer is read."""


@dataclass(frozen=True)
class Evidence:
    """What a witness is given for one part beside its tensors: no conclusion of the conversion.

    `files` are the unchanged JSON files beside the weights, by their path relative to the weights' folder; `hashes`
    are the SHA-256 of the same files. `stated` is the JSON that the user or the catalogue gave.
    """

    files: Mapping[str, Any]
    hashes: Mapping[str, str]
    stated: Mapping[str, Any]


@dataclass(frozen=True)
class Testimony:
    """What is known of one part of an original: its format, its role in the model, its tensors and the evidence."""

    format: str
    role: str
    tensors: Mapping[str, torch.Tensor]
    evidence: Evidence


def gather(checkpoint: Checkpoint, stated: Mapping[str, Any], base: tuple[str, Path] | None) -> Evidence:
    """Gathers the raw JSON beside the weights, and what the user stated.

    Args:
        base: the name and the config.json of a base model, if it was downloaded.
    """
    paths = _json_files(checkpoint)
    if base is not None:
        paths[f"{base[0]}:config.json"] = base[1]
    files = {name: read_any_json(path) for name, path in paths.items()}
    return Evidence(files, {name: sha256(path) for name, path in paths.items()}, stated)


def _json_files(checkpoint: Checkpoint) -> dict[str, Path]:
    """The files that were read or state texts and pictures, by their path relative to the weights' folder."""
    folder = checkpoint.folder
    if folder is None:
        return {}
    read = [file for file in checkpoint.files if file.suffix == ".json" and not file.name.endswith(".index.json")]
    read += [folder / name for name in (TOKENIZER_CONFIG, *PICTURES) if (folder / name).is_file()]
    return {Path(os.path.relpath(file, folder)).as_posix(): file for file in read}


def vocabulary_hashes(path: Path) -> dict[str, str]:
    """SHA-256 of a vocabulary's file, or of each vocabulary file in a folder."""
    files = [path / name for name in VOCABULARIES if (path / name).is_file()] if path.is_dir() else [path]
    return {file.name: sha256(file) for file in files}


def of_report(recorded: Mapping[str, Any]) -> Evidence:
    """The evidence that a report recorded."""
    files = recorded["files"]
    return Evidence(
        {name: each["content"] for name, each in files.items()},
        {name: each["sha256"] for name, each in files.items()},
        recorded["stated"],
    )


def to_report(evidence: Evidence) -> dict[str, Any]:
    """The evidence in the form that a report records."""
    files = {name: {"sha256": evidence.hashes[name], "content": content} for name, content in evidence.files.items()}
    return {"files": files, "stated": dict(evidence.stated)}
