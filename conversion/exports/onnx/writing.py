"""Writes the folder of an export: graphs that were checked, the files that prepare inputs, the report, the README."""

import gc
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hf_zhclip.extras import extra
from hf_zhclip.json_files import read_json
from hf_zhclip.replacing import TOKENIZER as TOKENIZER_FILES
from hf_zhclip.replacing import Kind

from ...repos.doors import stock_image_processor
from ...repos.repo import Repo
from ...repos.report import Report, versions
from ...repos.write import SPARE_BYTES, total_bytes, write_json
from . import NEEDED_BY
from .asking import Asked
from .checking import PROVIDER, Checked, check_graph, session
from .costs import LEAST_AGREEMENT, LEAST_COSINE, Cost, Written, check_loss, measure
from .facts import write_runtime
from .graphs import write_graph
from .losses import LEAST_ITEMS, Data, Loss, Pair, compare, loss, read_data
from .precisions import FLOAT32, INT8, lower
from .readme import write_readme
from .towers import Tower, load_tower, towers_of

REPORT = "zhclip_onnx_report.json"
"""The report of the check. A folder that holds it is an export, which --force replaces."""

KIND = Kind(
    title="export to ONNX",
    marks={REPORT: None},
    names=(
        *(REPORT, "README.md", "zhclip_onnx.json", "zhclip_onnx.py", "*_model.onnx", "*_model.onnx_data"),
        *("onnx/*.onnx", "onnx/*.onnx_data"),
        *("config.json", "preprocessor_config.json", *TOKENIZER_FILES),
    ),
)
"""What an export writes, in each layout; --force replaces such a folder alone."""

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt")
"""The files of a repo's tokenizer, as far as the repo has them."""

OF_THE_REPO = ("auto_map", "name_or_path", "processor_class")
"""Fields of tokenizer_config.json that name what the repo has and the export has not."""

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
"""The packages that the report names in addition to those of a conversion."""


@dataclass(frozen=True)
class WrittenTower:
    """A tower's comparisons; in a lower precision also its cost and, with --check, its vectors of the user's data."""

    checked: Checked
    cost: Cost | None = None
    pair: Pair | None = None


def read_data_of(asked: Asked, repo: Repo) -> dict[str, Data | None]:
    """The data that the options name: `calibrate` and `check`.

    Raises:
        InputError: as for `read_data`.
    """
    return {
        "calibrate": read_data(asked.calibrate, repo, "--calibrate") if asked.calibrate else None,
        "check": read_data(asked.check, repo, "--check", LEAST_ITEMS) if asked.check else None,
    }


def write(
    repo: Repo,
    report: Report | None,
    folder: Path,
    asked: Asked,
    data: Mapping[str, Data | None],
    progress: Callable[[str], None],
) -> Written:
    """Fills an empty folder, one tower after the other.

    Args:
        report: the report of the repo's conversion, if the repo has one.
        data: as `read_data_of` gives it.
    """
    towers = [_write_tower(repo, tower, folder, asked, data, progress) for tower in towers_of(repo)]
    written = Written([each.checked for each in towers], [each.cost for each in towers if each.cost], _loss(towers))
    check_loss(written.checked, written.loss, asked)
    write_inputs(repo, folder)
    facts = write_runtime(folder, repo)
    write_json(folder / REPORT, report_of(written, asked))
    write_readme(folder, repo, report, written, asked, facts)
    return written


def _write_tower(
    repo: Repo,
    tower: Tower,
    folder: Path,
    asked: Asked,
    data: Mapping[str, Data | None],
    progress: Callable[[str], None],
) -> WrittenTower:
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
            return WrittenTower(checked)
        progress(f"Writing {tower.file} in {asked.title}")
        calibrate, check = data["calibrate"], data["check"]
        batches = None if calibrate is None else calibrate.inputs(tower, repo)
        lower(tower, asked.precision, float32, file, batches)
        progress(f"Running {tower.file} in {asked.title} beside float32")
        checked = check_graph(module, tower, repo, file, asked.precision)
        cost = measure(tower, repo, float32, file)
    if check is None:
        return WrittenTower(checked, cost)
    return WrittenTower(checked, cost, compare(module, tower, repo, session(tower, file), check))


def _loss(towers: Sequence[WrittenTower]) -> Loss | None:
    pairs = {each.checked.tower: each.pair for each in towers if each.pair is not None}
    return loss(pairs) if pairs else None


def write_inputs(repo: Repo, folder: Path) -> None:
    """Writes what turns texts and pictures into the graphs' inputs."""
    for name in TOKENIZER:
        if (repo.path / name).is_file():
            shutil.copyfile(repo.path / name, folder / name)
    settings = read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    kept = {name: value for name, value in settings.items() if name not in OF_THE_REPO}
    write_json(folder / "tokenizer_config.json", kept)
    if not repo.is_text_alone:
        write_json(folder / "preprocessor_config.json", stock_image_processor(repo.processor.image_processor))


def report_of(written: Written, asked: Asked) -> dict[str, Any]:
    """The content of the report."""
    packages = {package: extra(package, NEEDED_BY).__version__ for package in PACKAGES}
    return {
        "format_version": 1,
        "layout": asked.layout,
        "precision": asked.precision,
        **({"quantisation": asked.kind} if asked.precision == INT8 else {}),
        "opset": asked.opset,
        "provider": PROVIDER,
        "against": "the repo in float64",
        "towers": [each.to_json() for each in written.checked],
        **({} if asked.precision == FLOAT32 else _beside_float32(written, asked)),
        "versions": {**versions(), **packages, "torch": str(torch.__version__)},
    }


def _beside_float32(written: Written, asked: Asked) -> dict[str, Any]:
    return {
        "costs": [each.to_json() for each in written.costs],
        "loss": written.loss and written.loss.to_json(),
        "wanted": {"smallest_cosine": LEAST_COSINE, "agreement": LEAST_AGREEMENT},
        "loss_accepted": asked.accept_loss,
    }


def needed_bytes(repo: Repo, precision: str) -> int:
    """The disk space of an export: its weights are float32, whatever dtype the repo has.

    A lower precision needs room for the graph in float32 and for a copy of it in which the sizes are inferred, too.
    """
    return total_bytes(repo.tensors, "float32") * (1 if precision == FLOAT32 else 3) + SPARE_BYTES


def why(written: Written) -> str:
    """A sentence: what was checked."""
    if written.loss is not None:
        return f"onnxruntime runs the graphs. On your data, beside the repo's own embeddings, {written.loss.text()}."
    if written.costs:
        each = " and ".join(f"{tower.cosine:.6f} ({tower.tower})" for tower in written.checked)
        return (
            f"onnxruntime runs the graphs. On the proof's texts and pictures, the smallest cosine to the repo's own "
            f"embeddings is {each}. The loss is not measured on your data."
        )
    each = " and ".join(f"{tower.difference:.2g} ({tower.tower})" for tower in written.checked)
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
