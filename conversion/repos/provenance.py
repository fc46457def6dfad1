"""What a report says of where a repo comes from: the sources, the catalogue's name for them, the command."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..detection.parts import Part
from ..mapping import fold
from ..reading.evidence import to_report
from ..reading.files import sha256
from ..reading.hub import HUB_ID, published
from ..reading.read import Checkpoint
from ..stated import Stated


def entry_name(stated: Stated, parts: Sequence[Part]) -> str | None:
    """The name in the catalogue, where all that was read is what was published under it."""
    entry = published(stated.source)
    if entry is None or stated.tokenizer or stated.config or stated.vision_format or stated.vision_config:
        return None
    paired = [part.checkpoint.hub_id for part in parts[1:]] == [entry.vision][: len(parts) - 1]
    return entry.name if paired else None


DEFAULTS = {"dtype": "keep", "max_shard_size": "5GB"}


def command(parts: Sequence[Part], out: Path, options: Mapping[str, Any]) -> str:
    """The command that converts the same again; of a path its name alone, the rest is nobody's business."""
    words = []
    for name, value in options.items():
        if value and value != DEFAULTS.get(name):
            shown = Path(value).name if name in ("tokenizer", "config", "vision_config") else str(value)
            words += [f"--{name.replace('_', '-')}"] + ([] if value is True else [shown])
    return command_of([part.checkpoint.name for part in parts], out.name, words)


def command_of(sources: Sequence[str], out: str, options: Sequence[str] = ()) -> str:
    """`zhclip convert` of a source, or of a text and an image part, into `out`."""
    first, *others = sources
    parts = [word for name in others for word in ("--vision", name)]
    return shlex.join(["zhclip", "convert", first, out, *parts, *options])


def published_at(checkpoint: Checkpoint) -> dict[str, str | None] | None:
    """Where on the hub a part was read from, to the commit."""
    match = HUB_ID.fullmatch(checkpoint.hub_id)
    return {**match.groupdict(), "revision": checkpoint.revision or None} if match else None


def record(part: Part) -> dict[str, Any]:
    """What the report says of one part: what it was, where from, and what it stated."""
    checkpoint = part.checkpoint
    return {
        "format": part.source.name,
        "role": part.role,
        "detected": part.why,
        "name": checkpoint.name,
        "hub": published_at(checkpoint),
        "files": {file.name: sha256(file) for file in checkpoint.files},
        "left_aside": list(checkpoint.left_aside),
        "container": checkpoint.container,
        "wrappers": list(checkpoint.wrappers),
        "ema": checkpoint.ema,
        "dropped": fold(part.plan.dropped),
        "zeros": list(part.plan.zeros),
        "evidence": to_report(part.evidence),
    }
