"""What a report recorded of the user's statements, stated again when a repo is verified against its original."""

import json
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..detection.parts import Parts, identify
from ..errors import InputError
from ..repos.report import Report
from ..stated import Stated

BY_STATEMENT = ("stated", "published")
"""The beginnings of a recorded reason for a format that the keys alone did not decide."""


def identify_again(stated: Stated, report: Report) -> tuple[Parts, Stated]:
    """The parts of the original, by what the report recorded and what the user states now; the user wins.

    If what was recorded does not fit, the user's statements alone decide: the original may lie here in another form.

    Raises:
        InputError: the parts are not found in either way.
    """
    with tempfile.TemporaryDirectory() as folder:
        again = restated(stated, report, Path(folder))
        if again == stated:
            return identify(stated), stated
        try:
            return identify(again), again
        except InputError as error:
            try:
                return identify(stated), stated
            except InputError:
                raise error from None


def restated(stated: Stated, report: Report, folder: Path) -> Stated:
    """The user's statements, completed by those that a report recorded.

    Args:
        stated: the user's statements.
        report: the repo's report.
        folder: an empty folder, for the JSON files that the report holds as values.
    """
    recorded: dict[str, Any] = {"ema": report.sources[0].get("ema"), "tokenizer": _packaged(report)}
    for source, before in zip(report.sources, ("", "vision_"), strict=False):
        if source["evidence"]["stated"]:
            recorded[f"{before}config"] = _written(folder / f"{before}config.json", source["evidence"]["stated"])
        if str(source.get("detected", "")).startswith(BY_STATEMENT):
            recorded[f"{before}format"] = source["format"]
        if before and source["hub"]:
            recorded["vision"] = ":".join(filter(None, (source["hub"]["repo"], source["hub"]["file"])))
    if stated.vision is not None:
        # Another image model is named: what was recorded of the former model says nothing about it.
        recorded = {name: value for name, value in recorded.items() if not name.startswith("vision_")}
    return replace(stated, **{name: value for name, value in recorded.items() if getattr(stated, name) is None})


def _written(file: Path, value: Mapping[str, Any]) -> Path:
    file.write_text(json.dumps(value), encoding="utf-8")
    return file


def _packaged(report: Report) -> str | None:
    """The word for the packaged vocabulary, if the conversion was asked for it; a file is not recorded."""
    words = shlex.split(report.conversion["command"])
    asked = [after for word, after in zip(words, words[1:], strict=False) if word == "--tokenizer"]
    return "packaged" if asked == ["packaged"] else None
