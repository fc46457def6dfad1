"""Packages that only some commands need: imported when they are used, and asked for by name where they are missing."""

import importlib
import logging
from types import ModuleType

from .errors import InputError
from .telling import shown_lines

EXTRAS = {
    **dict.fromkeys(("datasets", "lmdb", "matplotlib.figure", "opencc", "pyarrow", "pyarrow.parquet"), "train"),
    **dict.fromkeys(("onnx", "onnx_ir", "onnxruntime", "onnxscript"), "onnx"),
    **dict.fromkeys(("onnxruntime.quantization", "onnxruntime.transformers.float16"), "onnx"),
    "onnxruntime.transformers.onnx_model": "onnx",
    "gradio": "serve",
}
"""By module, the extra of hf-zhclip that installs it."""

LOGS = {"datasets": "datasets"}
"""By module, the logger that repeats names of a file that others wrote."""


def extra(module: str, what: str) -> ModuleType:
    """Imports a module of `EXTRAS`.

    Args:
        what: what needs the module, as the subject of a sentence.

    Raises:
        InputError: the module is not installed.
    """
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise InputError(
            f"{what} needs the package {package}, which cannot be imported ({error}). Install it: "
            f'pip install "hf-zhclip[{EXTRAS[module]}]"'
        ) from error
    for handler in logging.getLogger(LOGS.get(module, __name__)).handlers:
        handler.addFilter(_escaped)
    return found


def _escaped(record: logging.LogRecord) -> bool:
    """Makes a line of a package's log safe to print."""
    record.msg, record.args = shown_lines(record.getMessage()), ()
    return True
