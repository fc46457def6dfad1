"""What is refused before an export begins: options, packages and repos that cannot give a graph."""

from pathlib import Path

from ...errors import InputError
from ...repos.report import FILE, Report, read_report
from .checking import BOUNDS
from .graphs import check_exporter

FLOAT32 = "float32"
PLAIN, TRANSFORMERS_JS = "plain", "transformers.js"
LAYOUTS = (PLAIN, TRANSFORMERS_JS)


def check_asked(to: str, precision: str | None, opset: int | None, layout: str | None) -> None:
    """Refuses options that `to` does not have, and what the installed packages cannot write.

    Raises:
        InputError: see above; the message says what is possible.
    """
    if to != "onnx":
        for option, value in {"--precision": precision, "--opset": opset, "--layout": layout}.items():
            if value is not None:
                raise InputError(f"{option} is an option of ONNX. Leave {option} out, or pass --to onnx.")
        return
    if precision is not None and precision not in BOUNDS:
        raise InputError(f"There is no --precision {precision!r}; wanted {' or '.join(BOUNDS)}.")
    if layout is not None and layout not in LAYOUTS:
        raise InputError(f"There is no --layout {layout!r}; wanted {' or '.join(LAYOUTS)}.")
    if layout == TRANSFORMERS_JS and precision not in (None, FLOAT32):
        raise InputError(f"--layout {layout} writes {FLOAT32}. Leave --precision {precision} or --layout out.")
    check_exporter(opset)


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
