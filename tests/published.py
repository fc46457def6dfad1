"""The published checkpoints of tests/keys/*.json, at full size, on the meta device."""

import json
from pathlib import Path
from typing import Any

import torch

from hf_zhclip.conversion.detection.parts import OF_ROLE, Part, Role
from hf_zhclip.conversion.reading.read import Checkpoint
from hf_zhclip.conversion.sources import SOURCES

KEYS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parent / "keys").glob("*.json"))
}
"""What tests/parity/record_keys.py writes, whose docstring says what each field is."""


def checkpoint(name: str, folder: Path) -> Checkpoint:
    """As reading would give it; files that lie beside the weights are written into the folder."""
    recorded = KEYS[name]
    tensors = {key: torch.empty(shape, device="meta") for key, shape in recorded["keys"].items()}
    config = {**recorded["config"], "architectures": [recorded["architecture"]]} if recorded["config"] else {}
    beside = {folder / file: content for file, content in recorded.get("beside", {}).items()}
    for file, content in beside.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({} if content is None else content), encoding="utf-8")
    return Checkpoint(Path(name), tuple(beside), "meta", tensors, folder, config)


def part(name: str, folder: Path, role: Role = "whole") -> Part:
    """The checkpoint as a part of a model, by the format that is recorded of it."""
    found = checkpoint(name, folder / name)
    return OF_ROLE[role](SOURCES[KEYS[name]["format"]], found, found.config, "recorded")


def parts(name: str, folder: Path) -> tuple[Part, ...]:
    """The checkpoint, and the image part that it was published to be paired with."""
    image = KEYS[name].get("vision")
    return part(name, folder), *([part(image, folder, "image")] if image else [])
