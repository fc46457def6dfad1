"""How much of a long step is done, on stderr: only in a terminal, and only after two seconds."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub.utils import tqdm

DELAY = 2.0
"""Seconds of silence: a step that is done by then shows nothing."""

STEPS = "HF_ZHCLIP_STEPS"
"""The variable that names a fresh process's file of steps; the file grows by a byte with each step."""


@contextmanager
def shown_amount(what: str, total: int | None, unit: str = "B") -> Iterator[Callable[[int], object]]:
    """Shows the amount of a step while it lasts, and removes the line at its end.

    Args:
        what: what is done, for example "Hashing model.safetensors".
        total: the whole amount in `unit`; None if it is not known.
        unit: bytes ("B"), or a word for what is counted.

    Yields:
        A function that takes the amount that was done since its last call.
    """
    scale = {"unit": "B", "unit_scale": True} if unit == "B" else {"unit": f" {unit}"}
    # None: tqdm looks whether stderr is a terminal. The hub's tqdm also obeys HF_HUB_DISABLE_PROGRESS_BARS.
    with tqdm(desc=what, total=total, disable=None, delay=DELAY, leave=False, **scale) as bar:
        yield bar.update


def step() -> None:
    """Notes in a fresh process that one more computation is done."""
    if file := os.environ.get(STEPS):
        with open(file, "ab") as steps:
            steps.write(b".")


def steps_done(file: Path) -> int:
    """The number of steps that a fresh process has noted."""
    return file.stat().st_size if file.exists() else 0
