"""What a report says about a repo's origin: the sources, their name in the catalogue, the command."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..detection.parts import Part
from ..mapping import fold
from ..reading.evidence import to_report
from ..reading.hashing import Hashes
from ..reading.hub import HUB_ID, published
from ..reading.read import Checkpoint
from ..stated import Stated


def entry_name(stated: Stated, parts: Sequence[Part]) -> str | None:
    """The catalogue's name, if everything that was read was published under this name."""
    entry = published(stated.source)
    if entry is None or stated.tokenizer or stated.config or stated.vision_format or stated.vision_config:
        return None
    paired = [part.checkpoint.hub_id for part in parts[1:]] == [entry.vision][: len(parts) - 1]
    return entry.name if paired else None


DEFAULTS = {"dtype": "keep", "max_shard_size": "5GB"}


def command(parts: Sequence[Part], out: Path, options: Mapping[str, Any]) -> str:
    """The command that repeats the conversion; it shows only a path's name, because the rest is private."""
    words = []
    for name, value in options.items():
        if value and value != DEFAULTS.get(name):
            shown = Path(value).name if name in ("tokenizer", "config", "vision_config") else str(value)
            words += [f"--{name.replace('_', '-')}"] + ([] if value is True else [shown])
    return command_of([part.checkpoint.name for part in parts], out.name, words)


def command_of(sources: Sequence[str], out: str, options: Sequence[str] = ()) -> str:
    """`zhclip convert` for a source, or for a text and an image part, into `out`."""
    first, *others = sources
    parts = [word for name in others for word in ("--vision", name)]
    return shlex.join(["zhclip", "convert", first, out, *parts, *options])


def published_at(checkpoint: Checkpoint) -> dict[str, str | None] | None:
    """The hub repo, file and commit from which a part was read."""
    match = HUB_ID.fullmatch(checkpoint.hub_id)
    return {**match.groupdict(), "revision": checkpoint.revision or None} if match else None


def record(part: Part, hashes: Hashes) -> dict[str, Any]:
    """What the report says about one part: what it was, where it came from, and what it stated."""
    checkpoint = part.checkpoint
    return {
        "format": part.source.name,
        "role": part.role,
        "detected": part.why,
        "name": checkpoint.name,
        "hub": published_at(checkpoint),
        "files": {file.name: hashes.of(file) for file in checkpoint.files},
        "left_aside": list(checkpoint.left_aside),
        "container": checkpoint.container,
        "wrappers": list(checkpoint.wrappers),
        "ema": checkpoint.ema,
        "dropped": fold(part.plan.dropped),
        "zeros": list(part.plan.zeros),
        "evidence": to_report(part.evidence),
    }
