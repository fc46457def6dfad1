"""What is refused before an export begins: options, packages and repos that cannot give a graph."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_zhclip.paths import resolved

from ...errors import InputError
from ...repos.report import FILE, Report, read_report
from .checking import BOUNDS
from .graphs import OPSET, check_exporter
from .losses import LEAST_ITEMS
from .precisions import FLOAT16, FLOAT32, INT8

PLAIN, TRANSFORMERS_JS = "plain", "transformers.js"
LAYOUTS = (PLAIN, TRANSFORMERS_JS)


@dataclass(frozen=True)
class Asked:
    """What the user asks of the graphs.

    Attributes:
        precision: the numbers of the weights, a key of `BOUNDS`.
        layout: which files are written, one of `LAYOUTS`.
        calibrate: for static int8, a place of data that shows the ranges of the activations.
        check: a place of data on which the loss is measured.
        accept_loss: whether the graphs are written although the loss is large or was not measured.
    """

    opset: int = OPSET
    precision: str = FLOAT32
    layout: str = PLAIN
    calibrate: str | None = None
    check: str | None = None
    accept_loss: bool = False

    @property
    def title(self) -> str:
        """The precision in words: int8 is static or dynamic."""
        return self.precision if self.precision != INT8 else f"{self.kind} int8"

    @property
    def kind(self) -> str:
        """Of int8: whether the ranges of the activations are fixed."""
        return "dynamic" if self.calibrate is None else "static"


def check_asked(to: str, given: Mapping[str, Any]) -> Asked:
    """Refuses options that `to` does not have, and what the installed packages cannot write.

    Args:
        given: the fields of `Asked` that the user stated.

    Raises:
        InputError: see above; the message says what is possible.
    """
    stated = {name: value for name, value in given.items() if value not in (None, False)}
    if to != "onnx":
        for name in stated:
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option} is an option of ONNX. Leave {option} out, or pass --to onnx.")
        return Asked()
    asked = Asked(**stated)
    if asked.precision not in BOUNDS:
        raise InputError(f"There is no --precision {asked.precision!r}; wanted {', '.join(BOUNDS)}.")
    if asked.layout not in LAYOUTS:
        raise InputError(f"There is no --layout {asked.layout!r}; wanted {' or '.join(LAYOUTS)}.")
    if asked.layout == TRANSFORMERS_JS and asked.precision != FLOAT32:
        raise InputError(
            f"--layout {asked.layout} writes {FLOAT32}. Leave --precision {asked.precision} or --layout out."
        )
    _check_loss_asked(asked)
    check_exporter(given["opset"])
    return asked


def _check_loss_asked(asked: Asked) -> None:
    if asked.precision == FLOAT32:
        for option, value in {"--check": asked.check, "--accept-loss": asked.accept_loss}.items():
            if value:
                raise InputError(f"{option} has no effect: float32 loses nothing. Leave {option} out.")
    if asked.calibrate is not None and asked.precision != INT8:
        raise InputError("--calibrate is an option of int8. Leave --calibrate out, or pass --precision int8.")
    if asked.calibrate is not None and asked.check is not None and _same(asked.calibrate, asked.check):
        raise InputError(
            f"--calibrate and --check are the same data, {asked.check}: the loss would look smaller than it is. Name "
            "other data for --check."
        )
    if asked.precision == INT8 and asked.check is None and not asked.accept_loss:
        raise InputError(
            "int8 changes embeddings, and the loss is not measured on your data. Pass --check FOLDER, with at least "
            f"{LEAST_ITEMS} of your pictures and texts, or --accept-loss, or --precision {FLOAT16}."
        )


def _same(a: str, b: str) -> bool:
    return resolved(a) == resolved(b)


def read_proof(out: Path) -> Report | None:
    """The report of a repo's conversion; None for what training saved, which has no report.

    Raises:
        InputError: the report says that the verification failed, or is no valid report.
    """
    if not (out / FILE).exists():
        return None
    report = read_report(out)
    if not report.passed:
        raise InputError(
            f"{out / FILE} says that the verification failed, so the graphs would be wrong, too:\n"
            f"{report.failures()}\nConvert the original again."
        )
    return report
