"""A tower -> its graph in ONNX, through torch's exporter."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.torch_version import TorchVersion

from hf_zhclip.extras import extra

from ...errors import InputError, WorkError
from ...repos.repo import Repo
from ..quiet import silence
from . import NEEDED_BY
from .cleaning import clean
from .towers import BATCH, LENGTH, PICTURES, SIDE, Tower

OPSET = 20
"""The opset that is written by default: torch 2.13's own default."""

OPSETS = range(18, 26)
"""The opsets that can be written: torch defines its operators in 18, and onnxscript 0.7 converts them up to 25."""

LOWEST_TORCH = "2.9"
"""The first torch whose `torch.onnx.export` takes this exporter by default.

2.6 writes attention for one number of texts alone (github.com/pytorch/pytorch/issues/152018).
"""

MOST_BYTES = 2**31 - 64 * 2**20
"""The weights that one file holds. Protobuf ends at 2 GiB; the rest is for the graph."""

EXAMPLE = {BATCH: 2, LENGTH: 3, PICTURES: 5}
"""The sizes with which a tower is traced. A size of 1 would be taken for a fixed number."""


def check_exporter(opset: int | None) -> None:
    """Refuses what the installed packages cannot do, before any work.

    Raises:
        InputError: a package of the extra is missing, torch is too old, or the opset cannot be written.
    """
    for module in ("onnx", "onnx_ir", "onnxscript", "onnxruntime"):
        extra(module, NEEDED_BY)
    if TorchVersion(torch.__version__) < LOWEST_TORCH:
        raise InputError(
            f"torch {torch.__version__} is installed, but an export to ONNX needs torch {LOWEST_TORCH} or newer. "
            f'Install it: pip install "torch>={LOWEST_TORCH}"'
        )
    if opset is not None and opset not in OPSETS:
        raise InputError(
            f"--opset {opset} cannot be written; wanted {OPSETS[0]} to {OPSETS[-1]}. Without --opset, {OPSET} is "
            "written."
        )


def write_graph(module: torch.nn.Module, tower: Tower, repo: Repo, opset: int, file: Path) -> None:
    """Writes a tower's graph, and its weights: into the same file, or beside it if they are larger than `MOST_BYTES`.

    Raises:
        WorkError: torch's exporter fails, or gives another opset.
    """
    sizes = EXAMPLE if repo.is_text_alone else {**EXAMPLE, SIDE: repo.image_size}
    try:
        with silence():
            program = torch.onnx.export(
                module,
                tuple(_example(name, tower, sizes) for name in tower.inputs),
                input_names=list(tower.inputs),
                output_names=[tower.output, *tower.others],
                dynamic_shapes=(_dimensions(tower, repo),),
                opset_version=opset,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # any error of torch's exporter, of onnxscript and of the model's own code
        raise WorkError(
            f"torch {torch.__version__} could not export the {tower.name} tower: {_first(error)}"
        ) from error
    if (found := program.model.opset_imports.get("")) != opset:
        raise WorkError(f"torch {torch.__version__} wrote opset {found} for the {tower.name} tower, not {opset}.")
    save(program.model, file)


def save(model: Any, file: Path) -> None:
    """Writes a graph of the exporter, without what only its maker can read."""
    is_large = sum(each.const_value.nbytes for each in model.graph.initializers.values()) > MOST_BYTES
    extra("onnx_ir", NEEDED_BY).save(model, file, external_data=beside(file) if is_large else None)
    clean(file)


def beside(file: Path) -> str:
    """The name of the file of the weights that do not fit into a graph's file."""
    return f"{file.name}_data"


def _example(name: str, tower: Tower, sizes: Mapping[str, int]) -> torch.Tensor:
    shape = [sizes[size] if isinstance(size, str) else size for size in tower.inputs[name]]
    return torch.zeros(shape) if name == "pixel_values" else torch.ones(shape, dtype=torch.long)


def _dimensions(tower: Tower, repo: Repo) -> tuple[dict[int, Any], ...]:
    """What torch.export takes: for each input, the dimensions that a call chooses."""
    chosen = {BATCH: torch.export.Dim(BATCH), LENGTH: torch.export.Dim(LENGTH, max=repo.longest_text)}
    chosen[PICTURES] = torch.export.Dim(PICTURES)
    return tuple(
        {place: chosen[size] for place, size in enumerate(inputs) if size in chosen}
        for inputs in tower.inputs.values()
    )


def _first(error: Exception) -> str:
    """The first line that says something: the exporter's own messages are pages of advice."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return next((line for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
