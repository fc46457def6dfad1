"""What the user states of a source, as one value: the public functions make it of their arguments."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Stated:
    """A source and what the user says of it, by the names and with the meaning of `convert`'s arguments.

    The fields stand in the order in which a command names its options.
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
        """All but the two checkpoints, by name."""
        return {name: value for name, value in vars(self).items() if name not in ("source", "vision")}
