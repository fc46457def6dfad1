"""What the user states about a source, as one value; the public functions make it from their arguments."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Stated:
    """A source and the user's statements about it; names and meanings are those of `convert`'s arguments.

    The fields have the order in which a command names its options.
    """

    source: str | Path
    vision: str | Path | None = None
    format: str | None = None
    vision_format: str | None = None
    tokenizer: str | Path | None = None
    config: str | Path | None = None
    vision_config: str | Path | None = None
    context_length: int | None = None
    ema: str | None = None

    def options(self) -> dict[str, Any]:
        """All fields except the two checkpoints, by name."""
        return {name: value for name, value in vars(self).items() if name not in ("source", "vision")}
