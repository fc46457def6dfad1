"""How much of a long step is done, on stderr: only in a terminal, and only after two seconds."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import constants
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars, tqdm

DELAY = 2.0
"""Seconds of silence: a step that is done by then shows nothing."""

STEPS = "HF_ZHCLIP_STEPS"
"""The variable that names a fresh process's file of steps: its first line is their number, then a byte for each."""

Advance = Callable[..., object]
"""Takes the amount that was done since its last call and, if it became known, the whole amount."""


@contextmanager
def shown_amount(what: str, total: int | None, unit: str = "B") -> Iterator[Advance]:
    """Shows the amount of a step while it lasts, and removes the line at its end.

    Args:
        what: what is done, for example "Hashing model.safetensors".
        total: the whole amount in `unit`; None if it is not known.
        unit: bytes ("B"), or a word for what is counted.

    Yields:
        A function that takes the amount that was done since its last call, and the whole amount if it was not known.
    """
    scale = {"unit": "B", "unit_scale": True} if unit == "B" else {"unit": f" {unit}"}
    # None: tqdm looks whether stderr is a terminal. The hub's tqdm also obeys HF_HUB_DISABLE_PROGRESS_BARS.
    with tqdm(desc=what, total=total, disable=None, delay=DELAY, leave=False, **scale) as bar:

        def advance(amount: int, whole: int | None = None) -> None:
            if whole is not None:
                bar.total = whole
            bar.update(amount)

        yield advance


@contextmanager
def amounts_of_the_hub() -> Iterator[None]:
    """Lets the hub's client show its amounts in a terminal alone: it shows uploads and lists of files anywhere.

    The user's HF_HUB_DISABLE_PROGRESS_BARS takes precedence.
    """
    if sys.stderr.isatty() or constants.HF_HUB_DISABLE_PROGRESS_BARS is not None or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def expect(steps: int) -> None:
    """Notes in a fresh process how many computations it will do, before the first of them."""
    _note(b"%d\n" % steps)


def step() -> None:
    """Notes in a fresh process that one more computation is done."""
    _note(b".")


def _note(what: bytes) -> None:
    if file := os.environ.get(STEPS):
        with open(file, "ab") as steps:
            steps.write(what)


def steps_of(file: Path) -> tuple[int, int | None]:
    """The number of steps that a fresh process has done, and the number that it will do, if it is known yet."""
    noted = file.read_bytes() if file.exists() else b""
    expected, known, done = noted.rpartition(b"\n")
    return len(done), int(expected) if known else None
