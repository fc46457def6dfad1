"""Writes the folder of an export: graphs that were checked, the files that prepare inputs, the report, the README."""

import gc
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from hf_zhclip.extras import extra
from hf_zhclip.json_files import read_json

from ...repos.doors import stock_image_processor
from ...repos.repo import Repo
from ...repos.report import Report, versions
from ...repos.write import SPARE_BYTES, total_bytes, write_json
from . import NEEDED_BY
from .asking import Asked
from .checking import PROVIDER, Checked, check_graph
from .costs import Cost, check_loss, measure
from .facts import write_runtime
from .graphs import write_graph
from .precisions import FLOAT32, lower
from .readme import write_readme
from .towers import Tower, load_tower, towers_of

REPORT = "zhclip_onnx_report.json"
"""The report of the check. A folder that holds it is an export, which --force replaces."""

MARKS = (REPORT,)
"""The files of which a folder must hold one, so that --force replaces it."""

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt")
"""The files of a repo's tokenizer, as far as the repo has them."""

OF_THE_REPO = ("auto_map", "name_or_path", "processor_class")
"""Fields of tokenizer_config.json that name what the repo has and the export has not."""

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
"""The packages that the report names in addition to those of a conversion."""


def write(
    repo: Repo, report: Report | None, folder: Path, asked: Asked, progress: Callable[[str], None]
) -> list[Checked]:
    """Fills an empty folder, one tower after the other.

    Args:
        report: the report of the repo's conversion, if the repo has one.

    Returns:
        What was checked, by tower.
    """
    checked, costs = zip(
        *(_write_tower(repo, tower, folder, asked, progress) for tower in towers_of(repo)), strict=True
    )
    costs = [each for each in costs if each is not None]
    check_loss(checked, asked.precision, asked.accept_loss)
    _write_inputs(repo, folder)
    facts = write_runtime(folder, repo)
    write_json(folder / REPORT, _report(checked, costs, asked))
    write_readme(folder, repo, report, checked, costs, asked, facts)
    return list(checked)


def _write_tower(
    repo: Repo, tower: Tower, folder: Path, asked: Asked, progress: Callable[[str], None]
) -> tuple[Checked, Cost | None]:
    progress(f"Exporting the {tower.name} tower")
    module = load_tower(repo, tower)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        file = folder / tower.file
        float32 = file if asked.precision == FLOAT32 else Path(place) / tower.file
        write_graph(module, tower, repo, asked.opset, float32)
        gc.collect()  # what the exporter has made holds the weights in circles of references
        progress(f"Running {tower.file} in onnxruntime against the repo")
        checked = check_graph(module, tower, repo, float32, FLOAT32)
        if float32 == file:
            return checked, None
        progress(f"Changing {tower.file} to {asked.precision}")
        lower(tower, asked.precision, float32, file, None)
        progress(f"Running the {asked.precision} {tower.file} beside the float32 one")
        return check_graph(module, tower, repo, file, asked.precision), measure(tower, repo, float32, file)


def _write_inputs(repo: Repo, folder: Path) -> None:
    """Writes what turns texts and pictures into the graphs' inputs."""
    for name in TOKENIZER:
        if (repo.path / name).is_file():
            shutil.copyfile(repo.path / name, folder / name)
    settings = read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    kept = {name: value for name, value in settings.items() if name not in OF_THE_REPO}
    write_json(folder / "tokenizer_config.json", kept)
    if not repo.is_text_alone:
        write_json(folder / "preprocessor_config.json", stock_image_processor(repo.processor.image_processor))


def _report(checked: Sequence[Checked], costs: Sequence[Cost], asked: Asked) -> dict[str, Any]:
    packages = {package: extra(package, NEEDED_BY).__version__ for package in PACKAGES}
    return {
        "format_version": 1,
        "layout": "plain",
        "precision": asked.precision,
        "opset": asked.opset,
        "provider": PROVIDER,
        "against": "the repo in float64",
        "towers": [each.to_json() for each in checked],
        **({"costs": [each.to_json() for each in costs]} if costs else {}),
        "versions": {**versions(), **packages, "torch": str(torch.__version__)},
    }


def needed_bytes(repo: Repo, precision: str) -> int:
    """The disk space of an export: its weights are float32, whatever dtype the repo has.

    A lower precision needs room for the graph in float32 and for a copy of it in which the sizes are inferred, too.
    """
    return total_bytes(repo.tensors, "float32") * (1 if precision == FLOAT32 else 3) + SPARE_BYTES


def why(checked: Sequence[Checked]) -> str:
    """A sentence: what was checked."""
    if any(tower.bound is None for tower in checked):
        each = " and ".join(f"{tower.cosine:.6f} ({tower.tower})" for tower in checked)
        return f"onnxruntime runs the graphs: the smallest cosine of an embedding to the repo's own is {each}."
    each = " and ".join(f"{tower.difference:.2g} ({tower.tower})" for tower in checked)
    return f"onnxruntime computes what the repo computes: the largest difference of an embedding is {each}."


def how_to_load(destination: Path, checked: Sequence[Checked]) -> str:
    """Python code that runs the graphs, without torch."""
    place = json.dumps(str(destination), ensure_ascii=False)
    lines = ["import sys", "", "from PIL import Image", "", f"sys.path.append({place})"]
    lines += ["from zhclip_onnx import ZhCLIPOnnx", "", f"model = ZhCLIPOnnx({place})"]
    return "\n".join([*lines, *(CALLS[tower.tower] for tower in checked)])


CALLS = {
    "text": 'print(model.encode_text(["一只猫", "一只狗"]).shape)',
    "image": 'print(model.encode_image([Image.new("RGB", (320, 240))]).shape)',
}
"""By tower, a call of `zhclip_onnx.py`."""
