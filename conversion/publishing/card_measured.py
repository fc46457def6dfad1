"""Figures that were measured on a repo itself: noted in a file of the repo, and shown on its card."""

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from hf_zhclip.json_files import Field, brief, check_fields, read_json

from ..errors import InputError
from ..reading.files import sha256
from ..repos.report import Report
from ..words import Words
from .card_file import write_whole

FILE = "measured_figures.json"

ACTING = ("*.safetensors", "config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json")
"""The files on which figures depend; figures of other files are not shown."""

METRICS: Mapping[str, str] = {
    "r1": "R@1",
    "r5": "R@5",
    "r10": "R@10",
    "mean_recall": "mean recall",
    "top1": "top 1",
    "top5": "top 5",
    "mean_per_class": "mean per class",
    "cosine": "threshold (cosine)",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "auc": "AUC",
    "average_precision": "average precision",
}
"""Names of `zhclip evaluate --json` and of the card; other values of the JSON are counts, and no figures."""

TASKS: Mapping[str, Words] = {
    "text_to_image": Words("text-to-image retrieval", "文搜图"),
    "image_to_text": Words("image-to-text retrieval", "图搜文"),
    "classification": Words("zero-shot image classification", "零样本图像分类"),
    "threshold": Words("whether a text fits a picture", "判断图文是否相符"),
}

FIELDS = {
    "task": Field((str,)),
    "dataset": Field((str,)),
    "split": Field((str, type(None))),
    "values": Field((dict,)),
    "date": Field((str,)),
    "command": Field((str,)),
    "version": Field((str,)),
}


@dataclass(frozen=True)
class Measured:
    """The figures of one task on one data set: `values` by the names of `METRICS`."""

    task: str
    dataset: str
    split: str | None
    values: Mapping[str, float]
    date: str
    command: str
    version: str

    @property
    def metrics(self) -> list[tuple[str, str]]:
        """Names and values as the card shows them."""
        return [(METRICS[name], f"{value:.4g}") for name, value in self.values.items()]

    @property
    def words(self) -> Words:
        return TASKS[self.task]

    @property
    def data(self) -> str:
        return f"{self.dataset} {self.split}" if self.split else self.dataset


def check_figures(folder: Path) -> None:
    """Refuses a damaged file of earlier figures.

    Raises:
        InputError: see `figures_of`.
    """
    _read(folder)


def note(folder: Path, result: Mapping[str, Any], dataset: str, split: str | None, command: str) -> None:
    """Adds figures to a repo's file; figures of the same task and data are replaced, and those of other files go.

    Args:
        result: as `zhclip evaluate --json` prints it.
        command: what measured the figures; the card shows it.

    Raises:
        InputError: the file of earlier figures is damaged.
        WorkError: the file could not be written.
    """
    version = importlib.metadata.version("hf-zhclip")
    found = [
        Measured(task, dataset, split, _figures(values), date.today().isoformat(), command, version)
        for task, values in result.items()
    ]
    kept = [old for old in figures_of(folder, None) if all(_key(old) != _key(new) for new in found)]
    content = {"files": _hashes(folder, {}), "figures": [asdict(each) for each in (*kept, *found)]}
    write_whole(folder / FILE, json.dumps(content, ensure_ascii=False, indent=2) + "\n")


def figures_of(folder: Path, report: Report | None) -> list[Measured]:
    """The figures that were measured with the folder's weights, config, tokenizer and image processor.

    Args:
        report: tells the files' hashes; None where it may be out of date.

    Raises:
        InputError: the file is damaged.
    """
    files, found = _read(folder)
    return found if found and files == _hashes(folder, report.files if report is not None else {}) else []


def _hashes(folder: Path, known: Mapping[str, str]) -> dict[str, str]:
    """By name, the hashes of the files on which figures depend."""
    names = sorted({path.name for pattern in ACTING for path in folder.glob(pattern)})
    return {name: known[name] if name in known else sha256(folder / name) for name in names}


def _read(folder: Path) -> tuple[Mapping[str, str], list[Measured]]:
    """The hashes and the figures of the folder's file; nothing where there is no file."""
    path = folder / FILE
    if not path.exists():
        return {}, []
    content = read_json(path)
    check_fields(content, {"files": Field((dict,)), "figures": Field((list,))}, str(path))
    return content["files"], [_measured(each, f"{path}, figures[{n}]") for n, each in enumerate(content["figures"])]


def _measured(value: Any, where: str) -> Measured:
    check_fields(value, FIELDS, where)
    if value["task"] not in TASKS:
        raise InputError(
            f"{where} has the task {brief(value['task'])}; wanted was one of {', '.join(TASKS)}. Remove the file."
        )
    check_fields(value["values"], {name: Field((float,), needed=False) for name in METRICS}, f"{where}.values")
    values = {name: number for name, number in value["values"].items() if name in METRICS}
    return Measured(**{name: value[name] for name in FIELDS} | {"values": values})


def _figures(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items() if name in METRICS}


def _key(each: Measured) -> Sequence[str | None]:
    return each.task, each.dataset, each.split
