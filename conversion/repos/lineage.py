"""The repo that a training started from (the base), and how the trained weights differ from its weights."""

import copy
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hf_zhclip.json_files import read_json

from ..errors import InputError
from ..reading.files import sha256
from ..reading.hub import read_source
from ..reading.namesakes import refuse_namesake
from ..reading.read import Checkpoint
from ..ways_out import finishing
from .pieces import same_bits
from .provenance import published_at
from .repo import UNBUILDABLE
from .report import FILE, Report, changed_files, check_formats, read_report

TOWERS = {
    "text": ("text_model.", "text_projection."),
    "image": ("vision_model.", "visual_projection."),
    "logit_scale": ("logit_scale",),
}
"""The parts of a model by which changed tensors are counted, with the prefixes of their target keys."""

WEIGHTS = (".safetensors", ".safetensors.index.json")

WHICH = "REPO is the converted repo that the training started from, a folder or user/repo on the hub"


@dataclass(frozen=True)
class Base:
    """A repo that a training started from.

    `name` is the base in a command. `tensors` is None if the training has overwritten the base's weights.
    """

    name: str
    folder: Path
    hub: Mapping[str, Any] | None
    report: Report
    tensors: Mapping[str, torch.Tensor] | None

    @property
    def config(self) -> dict[str, Any]:
        """The base's config.json, as its report recorded it; reports of before do not record it."""
        return self.report.conversion.get("config") or read_json(self.folder / "config.json")


def base_of(trained: Checkpoint, named: str | Path | None) -> Base:
    """The base that the user names, or what is left of it in the trained folder, if its report is still there.

    Raises:
        InputError: no base is known, or the base is not the repo that its report proves.
    """
    return base_named(named) if named is not None else _left_in(trained)


def base_named(named: str | Path) -> Base:
    """The base that the user names.

    Raises:
        InputError: it is not the repo that its report proves.
    """
    read = read_source(named)
    folder = read.folder or read.path
    if folder.is_dir():
        refuse_namesake(folder)
    if read.config.get("model_type") != "hf_zhclip" or not (folder / FILE).is_file():
        lacking = "it holds another model" if read.config.get("model_type") != "hf_zhclip" else f"it has no {FILE}"
        raise InputError(
            f"--base {named} is no repo that `zhclip convert` wrote: {lacking}. Name the converted repo that the "
            "training started from. `zhclip convert SOURCE REPO` makes this repo from its original."
        )
    report = read_report(folder)
    # A repo from the hub is fetched without its code and its card, which are written again.
    changed = [name for name in changed_files(folder, report) if (folder / name).is_file() or not name.endswith(".py")]
    if changed or not report.passed:
        why = f"changed or missing: {', '.join(changed)}" if changed else "its verification failed"
        raise InputError(
            f"--base {named} differs from the repo that its report describes ({why}). Name the repo in its state "
            f"before the training, or convert its original again (`{report.conversion['command']}`)."
        )
    return _checked(Base(read.name, folder, published_at(read), report, read.tensors))


def _left_in(trained: Checkpoint) -> Base:
    folder = trained.folder or trained.path
    command = finishing(trained.hub_id or trained.path)
    if not (folder / FILE).is_file():
        raise InputError(
            f"{trained.name} holds a model of this package but no {FILE}, which names the original. Either training "
            f"saved this folder, or the report was removed. {command} finishes it; {WHICH}."
        )
    report = read_report(folder)
    changed = changed_files(folder, report)
    if not changed:
        raise InputError(
            f"{trained.name} is converted already, and no file has changed since. After `import hf_zhclip`, "
            "AutoModel.from_pretrained loads the repo. `zhclip export` writes the repo in another format. If you "
            f"train the model, `zhclip convert TRAINED OUT --base {shlex.quote(str(trained.path))}` finishes the "
            "folder that training saves. For another dtype or other files, convert the original "
            f"(`{report.conversion['command']}`) with other options."
        )
    if other := [name for name in changed if not _may_change(name)]:
        raise InputError(
            f"Besides the weights, other files of {trained.name} changed after its report was written: "
            f"{', '.join(other)}. The folder does not show their former content. {command} finishes the folder; "
            f"{WHICH}. If no copy of REPO is left, convert the original again (`{report.conversion['command']}`)."
        )
    return _checked(Base(trained.name, folder, published_at(trained), report, None))


def _checked(base: Base) -> Base:
    """Refuses a base whose report records no config or no known format: it may be a stranger's."""
    from hf_zhclip import ZhCLIPConfig

    check_formats(base.folder, base.report)
    try:
        ZhCLIPConfig.from_dict(copy.deepcopy(base.config))
    except UNBUILDABLE as error:
        raise InputError(
            f"No model can be built from the config that {base.folder / FILE} records. {error}"
        ) from error
    return base


def _may_change(name: str) -> bool:
    """Whether training writes this file, and the proof sees what it holds."""
    return name.endswith((*WEIGHTS, ".py")) or name == "config.json"


def lineage(base: Base, written: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """What the report says about the training: the base, its report, and how many tensors changed in each tower.

    `towers` is None if the base's weights are gone. A base that was itself trained brings its own lineage.
    """
    return {
        "base": base.name,
        "hub": base.hub,
        "report": sha256(base.folder / FILE),
        "towers": None if base.tensors is None else _changed(base.tensors, written),
        "former": base.report.lineage,
    }


def _changed(before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]) -> dict[str, dict[str, int]]:
    """Counts by tower; a tensor whose dtype alone was cast has not changed."""
    count, changed = Counter(map(_tower, after)), Counter[str]()
    for key, tensor in after.items():
        changed[_tower(key)] += not same_bits(before[key], tensor, cast=tensor.dtype)
    return {tower: {"tensors": count[tower], "changed": changed[tower]} for tower in TOWERS if count[tower]}


def _tower(key: str) -> str:
    return next(tower for tower, prefixes in TOWERS.items() if key.startswith(prefixes))
