"""Silences what other packages print during a step that `progress` already reports."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from ..errors import InputError


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """Hides transformers' progress bars during loading."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Hides all that is printed, warned of and logged: torch's exporter uses all three ways for its steps."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def loaded(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    """The model of a repo that was checked when it was read.

    Args:
        kind: the class whose `from_pretrained` loads it.

    Raises:
        InputError: the files changed since.
    """
    try:
        with without_bars():
            return kind.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa")
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{folder} does not load any more: {error}. Wait until nothing writes it, and try again."
        ) from error
