"""What a lower precision costs and gains beside float32: the file's size, the speed, and the loss of its vectors."""

import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from ...errors import InputError
from ...repos.repo import Repo
from .asking import Asked
from .checking import INPUTS, Checked, session
from .losses import Loss
from .precisions import FLOAT32
from .towers import Tower

LEAST_COSINE = 0.999
"""The smallest cosine of a vector to the repo's own that is written without --accept-loss."""

LEAST_AGREEMENT = 0.98
"""The smallest share of a text's nearest pictures that stay among its nearest, likewise."""

TIMED = 8
"""The texts or pictures of a batch that is timed."""

ROUNDS, SECONDS = 3, 2.0
"""A graph is timed at least so often, and at least so long."""


@dataclass(frozen=True)
class Cost:
    """A tower's file and speed beside those of its graph in float32, which is not kept.

    Attributes:
        bytes: of the graph and of the weights beside it.
        speed: texts or pictures a second, in batches of `batch`; the median of calls in turns with float32.
    """

    tower: str
    bytes: int
    float32_bytes: int
    speed: float
    float32_speed: float
    batch: int
    tokens: int | None
    threads: int
    processor: str

    def to_json(self) -> dict[str, Any]:
        """A value that `json` can write."""
        return asdict(self)


@dataclass(frozen=True)
class Written:
    """What was measured of an export's towers; `costs` and `loss` of a lower precision alone."""

    checked: Sequence[Checked]
    costs: Sequence[Cost]
    loss: Loss | None


def measure(tower: Tower, repo: Repo, float32: Path, file: Path) -> Cost:
    """Times both graphs in turns, on the proof's texts or pictures, and weighs their files."""
    _, inputs, _ = next(each for each in INPUTS[tower.name](repo) if len(next(iter(each[1].values()))) >= TIMED)
    inputs = {name: each[:TIMED] for name, each in inputs.items()}
    float32_seconds, seconds = _timed([session(tower, each) for each in (float32, file)], inputs)
    return Cost(
        tower=tower.name,
        bytes=_size(file),
        float32_bytes=_size(float32),
        speed=TIMED / seconds,
        float32_speed=TIMED / float32_seconds,
        batch=TIMED,
        tokens=inputs["input_ids"].shape[1] if "input_ids" in inputs else None,
        threads=torch.get_num_threads(),
        processor=processor(),
    )


def _timed(
    runs: Sequence[Callable[[Mapping[str, torch.Tensor]], Any]], inputs: Mapping[str, torch.Tensor]
) -> list[float]:
    """Each function's median seconds."""
    for run in runs:
        run(inputs)  # the first call also allocates
    seconds: list[list[float]] = [[] for _ in runs]
    while len(seconds[0]) < ROUNDS or sum(map(sum, seconds)) < SECONDS * len(runs):
        for run, spent in zip(runs, seconds, strict=True):
            start = time.perf_counter()
            run(inputs)
            spent.append(time.perf_counter() - start)
    return [statistics.median(each) for each in seconds]


def _size(file: Path) -> int:
    return sum(each.stat().st_size for each in file.parent.glob(f"{file.name}*"))


def processor() -> str:
    """The processor's name, as far as the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in islice(file, 100) if line.startswith("model name")]
    except OSError:
        names = []
    return next(iter(names), "") or platform.processor() or platform.machine()


def check_loss(checked: Sequence[Checked], loss: Loss | None, asked: Asked) -> None:
    """Refuses vectors that are too far from the repo's own, on the user's data or else on the proof's.

    Raises:
        InputError: see above; the message gives the figures.
    """
    if asked.accept_loss or asked.precision == FLOAT32:
        return
    if loss is None:
        smallest, agreement = min(each.cosine for each in checked), None
        cosines = " and ".join(f"{each.cosine:.6f} ({each.tower})" for each in checked)
        figures = f"the smallest cosine is {cosines}"
    else:
        smallest, agreement, figures = loss.smallest, loss.agreement, loss.text()
    if smallest >= LEAST_COSINE and (agreement is None or agreement >= LEAST_AGREEMENT):
        return
    raise InputError(
        f"{asked.title} loses too much. Beside the repo's own embeddings, {figures}; at least {LEAST_COSINE:g} and "
        f"{LEAST_AGREEMENT:g} were wanted. Choose another --precision, or pass --accept-loss. Nothing was written."
    )
