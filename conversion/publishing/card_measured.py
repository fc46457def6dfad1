"""Figures that were measured on a repo itself: noted in a file of the repo, and shown on its card."""

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from hf_zhclip.json_files import Field, check_fields, read_json

from ..errors import InputError
from ..reading.files import sha256
from ..repos.report import Report
from ..words import Words
from .card_file import write_whole

FILE = "measured_figures.json"

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


def check_measurable(repo: str | None) -> None:
    """Refuses to measure for the card of what is no folder, before anything is measured.

    Raises:
        InputError: `repo` is not a converted repo in a folder.
    """
    if repo is None or not (Path(repo) / "config.json").is_file():
        raise InputError(
            f"--card notes figures in a repo's folder, but {repo or 'nothing'} was given as REPO. Convert to a "
            "folder, or leave out --card."
        )


def note(folder: Path, result: Mapping[str, Any], dataset: str, split: str | None, command: str) -> None:
    """Adds figures to a repo's file; figures of the same task and data are replaced, and those of other weights go.

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
    weights = {path.name: sha256(path) for path in sorted(folder.glob("*.safetensors"))}
    kept = [old for old in _read(folder, weights) if all(_key(old) != _key(new) for new in found)]
    content = {"weights": weights, "figures": [asdict(each) for each in (*kept, *found)]}
    write_whole(folder / FILE, json.dumps(content, ensure_ascii=False, indent=2) + "\n")


def figures_of(folder: Path, report: Report | None) -> list[Measured]:
    """The figures that were measured with the folder's weights; the report tells the weights' hashes, if there is one.

    Raises:
        InputError: the file is damaged.
    """
    if not (folder / FILE).is_file():
        return []
    names = [path.name for path in sorted(folder.glob("*.safetensors"))]
    known = report.files if report is not None else {}
    return _read(folder, {name: known[name] if name in known else sha256(folder / name) for name in names})


def _read(folder: Path, weights: Mapping[str, str]) -> list[Measured]:
    path = folder / FILE
    if not path.is_file():
        return []
    content = read_json(path)
    check_fields(content, {"weights": Field((dict,)), "figures": Field((list,))}, str(path))
    found = []
    for number, each in enumerate(content["figures"]):
        where = f"{path}, figures[{number}]"
        check_fields(each, FIELDS, where)
        if each["task"] not in TASKS:
            raise InputError(f"{where} has the task {each['task']!r}; wanted was one of {', '.join(TASKS)}.")
        check_fields(each["values"], {name: Field((float,), needed=False) for name in METRICS}, f"{where}.values")
        values = {name: value for name, value in each["values"].items() if name in METRICS}
        found.append(Measured(**{name: each[name] for name in FIELDS} | {"values": values}))
    return found if content["weights"] == weights else []


def _figures(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items() if name in METRICS}


def _key(each: Measured) -> Sequence[str | None]:
    return each.task, each.dataset, each.split
