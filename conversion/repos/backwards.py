"""A repo's tensors -> the tensors of its original, by the inverse of the table that its report names."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..detection.parts import OF_ROLE
from ..mapping import check_claims, claimed, inverse, plan
from ..reading.evidence import Testimony, of_report
from ..reading.read import Checkpoint
from ..sources import SOURCES


def mapped_back(
    tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any], recorded: Sequence[Mapping[str, Any]]
) -> list[Testimony]:
    """The original, as far as a repo shows it: tensors by the inverse tables, the other facts by the report.

    The keys are those of the format's plainest layout: no flash attention, no tensors that a `drop` left out.

    Args:
        tensors: a repo's tensors by target key.
        config: the repo's config.json with every field stated.
        recorded: the report's `sources`, one for each part.

    Raises:
        MappingError: the tensors do not fill the table; the message names every key.
    """
    return [_part_back(tensors, config, each) for each in recorded]


def _part_back(
    tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any], recorded: Mapping[str, Any]
) -> Testimony:
    given = of_report(recorded["evidence"])
    written = Checkpoint(Path(recorded["name"]), (), "mapped back", tensors)
    part = OF_ROLE[recorded["role"]](SOURCES[recorded["format"]], written, {}, "recorded", given.stated)
    table = inverse(part.home(config))
    own = {key: tensors[key] for key in claimed(table, tensors)}
    backwards = plan(table, {key: tuple(tensor.shape) for key, tensor in own.items()})
    check_claims(backwards)
    return Testimony(part.source.name, part.role, dict(backwards.run(own)), given)
