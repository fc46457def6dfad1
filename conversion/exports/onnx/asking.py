"""What is refused before an export begins: options, packages and repos that cannot give a graph."""

from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError
from ...repos.report import FILE, Report, read_report
from .checking import BOUNDS
from .graphs import check_exporter
from .precisions import FLOAT16, FLOAT32, INT8


@dataclass(frozen=True)
class Asked:
    """What the user asks of the graphs: the opset, the numbers of their weights, and what loss is accepted."""

    opset: int
    precision: str
    accept_loss: bool


def check_asked(to: str, precision: str | None, opset: int | None, accept_loss: bool) -> None:
    """Refuses options that `to` does not have, and what the installed packages cannot write.

    Raises:
        InputError: see above; the message says what is possible.
    """
    if to != "onnx":
        for option, value in {
            "--precision": precision,
            "--opset": opset,
            "--accept-loss": accept_loss or None,
        }.items():
            if value is not None:
                raise InputError(f"{option} is an option of ONNX. Leave {option} out, or pass --to onnx.")
        return
    if precision is not None and precision not in BOUNDS:
        raise InputError(f"There is no --precision {precision!r}; wanted {', '.join(BOUNDS)}.")
    _check_loss_asked(precision or FLOAT32, accept_loss)
    check_exporter(opset)


def _check_loss_asked(precision: str, accept_loss: bool) -> None:
    if precision == FLOAT32 and accept_loss:
        raise InputError("--accept-loss has no effect: float32 loses nothing. Leave --accept-loss out.")
    if precision == INT8 and not accept_loss:
        raise InputError(
            "int8 changes embeddings, and the loss is not measured on your data. Pass --accept-loss to write the "
            f"graphs as they are, or --precision {FLOAT16}."
        )


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
