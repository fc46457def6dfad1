"""The layout of transformers.js: the graphs of its classes, and the settings that it reads.

Its classes and what they read: package @huggingface/transformers 4.3.1, src/models and src/configs.js.
"""

import gc
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Resampling
from torch import nn

from hf_zhclip.json_files import read_json

from ...errors import InputError, ParityError
from ...repos.repo import Repo
from ...repos.report import Report
from ...repos.write import write_json
from ..natives import Native, exact, fits
from . import writing
from .asking import Asked
from .checking import BOUNDS, LONG, Checked, Compared, check_graph, session
from .costs import Written
from .facts import write_tokenizer
from .graphs import write_graph
from .precisions import FLOAT32
from .readme_js import write_readme
from .tokenizer_js import portable
from .towers import IMAGE, PICTURES, TEXT, Tower, Vectors, load_tower

EXACT = BOUNDS[FLOAT32] or 0.0
"""The largest difference of a number that is at most 1."""

FOLDER = "onnx"
"""The folder in which transformers.js looks for graphs."""

PAIR = Tower(
    "pair",
    f"{FOLDER}/model.onnx",
    {**TEXT.inputs, "pixel_values": (PICTURES, *IMAGE.inputs["pixel_values"][1:])},
    "logits_per_image",
    ("logits_per_text", "text_embeds", "image_embeds"),
)
"""Both towers in a graph, in the order of the outputs of transformers' CLIPOutput."""

ALONE = tuple(replace(tower, file=f"{FOLDER}/{tower.file}") for tower in (TEXT, IMAGE))

GRAPHS: Mapping[str, tuple[Tower, ...]] = {"ChineseCLIPModel": (PAIR,), "CLIPModel": (*ALONE, PAIR)}
"""By class of transformers, the graphs of the class of the same name in transformers.js.

It has CLIPTextModelWithProjection and CLIPVisionModelWithProjection beside CLIPModel, and nothing beside
ChineseCLIPModel. Its pipeline of zero-shot classification takes the graph of both towers, of either class.
"""

TOKENIZER_CLASS = "PreTrainedTokenizerFast"
"""transformers.js' BertTokenizer also gives token_type_ids; each call would warn that the graph ignores them."""

FILTER = Resampling.LANCZOS
"""The filter of the settings. Of transformers.js' filters in Node, this filter alone averages when a picture shrinks.

Its bicubic (src/utils/image.js, an affine transform of sharp) skips pixels: cosines fell to 0.85 where Lanczos gives
0.9999. A browser's canvas has a filter of its own.
"""

DIFFERS = ("transformers.js decodes and resizes pictures by itself. README.md of the export says what was measured.",)
"""What differs for a user of the export from a user of the repo."""

NO_CLASS = "transformers.js has no class that computes what this model computes, and nothing was written."
PLAIN_INSTEAD = "Leave --layout out: the plain layout takes every model."


def native_of(repo: Repo) -> Native:
    """The class that holds a repo exactly, of those that transformers.js has.

    Raises:
        InputError: there is none; the message names everything that would be lost.
    """
    if repo.is_text_alone:
        raise InputError(
            f"{repo.path} holds a text tower alone, but transformers.js has classes of both towers. {PLAIN_INSTEAD}"
        )
    return exact([fit for fit in fits(repo.config) if fit.native.name in GRAPHS], NO_CLASS, PLAIN_INSTEAD)


@dataclass(frozen=True)
class End:
    """How the repo's tokenizer cuts a text: to `length` ids, of which the last is `end`; `pad` is its padding."""

    length: int
    end: int
    pad: int


def end_of(repo: Repo) -> End:
    """How the repo's tokenizer cuts a text."""
    tokenizer = repo.tokenizer
    cut = tokenizer(LONG * tokenizer.model_max_length, truncation=True)["input_ids"]
    return End(len(cut), cut[-1], tokenizer.pad_token_id)


class Ended(nn.Module):
    """A text tower that takes texts as transformers.js cuts them.

    Its tokenizer cuts the end token off, too (4.3.1, src/tokenization_utils.js, truncateHelper). The last id of a text
    of the full length is therefore set to the end token, as it is in every text that a tokenizer has cut rightly.
    """

    def __init__(self, text: Vectors, end: End):
        super().__init__()
        self.text, self.cut = text, end

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        input_ids, attention_mask = inputs
        places = torch.arange(input_ids.shape[1])
        last = (places == self.cut.length - 1) & (places[-1] == self.cut.length - 1)
        was_cut = last & (attention_mask == 1) & (input_ids != self.cut.pad)
        return self.text(torch.where(was_cut, self.cut.end, input_ids), attention_mask)


class Pair(nn.Module):
    """Both towers: texts and pictures -> logits_per_image, logits_per_text, text_embeds, image_embeds."""

    def __init__(self, text: nn.Module, image: nn.Module, logit_scale: torch.Tensor):
        super().__init__()
        self.text, self.image = text, image
        self.scale = nn.Parameter(logit_scale.exp(), requires_grad=False)

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        *of_text, pixel_values = inputs
        texts, pictures = self.text(*of_text), self.image(pixel_values)
        logits_per_text = texts @ pictures.T * self.scale
        return logits_per_text.T, logits_per_text, texts, pictures


def write(
    repo: Repo, native: Native, report: Report | None, folder: Path, asked: Asked, progress: Callable[[str], None]
) -> list[Checked]:
    """Fills an empty folder.

    Args:
        native: what `native_of` gave for the repo.
        report: the report of the repo's conversion, if the repo has one.

    Returns:
        What was checked, by tower and graph.
    """
    (folder / FOLDER).mkdir()
    text, image = Ended(load_tower(repo, TEXT), end_of(repo)).eval(), load_tower(repo, IMAGE)
    modules = {"text": text, "image": image, "pair": Pair(text, image, repo.tensors["logit_scale"].float()).eval()}
    graphs = GRAPHS[native.name]
    for tower in graphs:
        progress(f"Exporting {tower.file}")
        write_graph(modules[tower.name], tower, repo, asked.opset, folder / tower.file)
        gc.collect()  # what the exporter has made holds the weights in circles of references
    checked: list[Checked] = []
    for tower in graphs:
        progress(f"Running {tower.file} in onnxruntime against the repo")
        checked += _check(modules, tower, repo, folder / tower.file)
    write_inputs(repo, native, folder)
    write_json(folder / writing.REPORT, writing.report_of(Written(checked, [], None), asked))
    write_readme(folder, repo, report, native, graphs, checked, asked)
    return checked


def needed_bytes(repo: Repo, native: Native) -> int:
    """The disk space of an export: a graph of both towers holds the weights again."""
    return writing.needed_bytes(repo, FLOAT32) * (1 if GRAPHS[native.name] == (PAIR,) else 2)


def files(native: Native) -> list[str]:
    """The graphs of an export."""
    return [tower.file for tower in GRAPHS[native.name]]


# The settings


def write_inputs(repo: Repo, native: Native, folder: Path) -> None:
    """Writes what turns texts and pictures into the graphs' inputs, and the config that names the class."""
    writing.write_inputs(repo, folder)
    _write_tokenizer(repo, folder / "tokenizer.json")
    pictures = read_json(folder / "preprocessor_config.json")
    write_json(folder / "preprocessor_config.json", {**pictures, "resample": int(FILTER)})
    settings = read_json(folder / "tokenizer_config.json")
    stated = {
        "model_max_length": int(repo.tokenizer.model_max_length),
        "pad_token": repo.tokenizer.pad_token,
        "padding_side": repo.tokenizer.padding_side,
        "tokenizer_class": TOKENIZER_CLASS,
    }
    write_json(folder / "tokenizer_config.json", {**settings, **stated})
    write_json(folder / "config.json", _config(repo, native, folder))


def _write_tokenizer(repo: Repo, file: Path) -> None:
    write_tokenizer(file, repo.tokenizer)
    write_json(file, portable(read_json(file), repo.tokenizer.split_special_tokens))


def _config(repo: Repo, native: Native, folder: Path) -> dict[str, Any]:
    beside = {Path(tower.file).stem: 1 for tower in GRAPHS[native.name] if (folder / f"{tower.file}_data").exists()}
    # In a browser it would look for files of int8 weights without this.
    read_by_js: dict[str, Any] = {"dtype": "fp32", **({"use_external_data_format": beside} if beside else {})}
    return {
        "architectures": [native.name],
        "model_type": native.model_type,
        **native.config(repo.config),
        "transformers.js_config": read_by_js,
    }


# The check


def _check(modules: Mapping[str, nn.Module], tower: Tower, repo: Repo, file: Path) -> list[Checked]:
    if tower.name != "pair":
        checked = [check_graph(modules[tower.name], tower, repo, file, FLOAT32)]
    else:
        views = [replace(each, file=tower.file) for each in (TEXT, IMAGE)]
        beside = _no_inputs(repo)
        checked = [
            check_graph(
                *(modules[view.name], view, repo, file, FLOAT32),
                {name: beside[name] for name in tower.inputs if name not in view.inputs},
            )
            for view in views
        ]
        _check_logits(modules["pair"].double(), repo, file)
    if "input_ids" in tower.inputs:
        _check_cut(modules["text"], tower, repo, file)
    return checked


def _no_inputs(repo: Repo) -> dict[str, torch.Tensor]:
    """No text and no picture, for the side of a graph of both towers that is not compared; users do the same."""
    ids = torch.empty((0, 3), dtype=torch.long)
    return {"input_ids": ids, "attention_mask": ids, "pixel_values": torch.empty(0, 3, *2 * (repo.image_size,))}


@torch.no_grad()
def _check_cut(module: nn.Module, tower: Tower, repo: Repo, file: Path) -> None:
    """Compares a text that transformers.js cut with the same text that the repo's tokenizer cut."""
    text: Any = module.text
    tokenizer = repo.tokenizer
    rightly = tokenizer([LONG * tokenizer.model_max_length], truncation=True, return_tensors="pt")
    whole = tokenizer([LONG * tokenizer.model_max_length], return_tensors="pt", verbose=False)
    length = rightly["input_ids"].shape[1]
    cut = {name: whole[name][:, :length] for name in TEXT.inputs}
    beside = {name: each for name, each in _no_inputs(repo).items() if name in tower.inputs}
    found = session(replace(tower, output=TEXT.output), file)({**beside, **cut})
    _compare("a text that transformers.js cut", found, text(*(rightly[name] for name in TEXT.inputs)), 1.0, repo, file)


@torch.no_grad()
def _check_logits(pair: nn.Module, repo: Repo, file: Path) -> None:
    """Compares the logits of texts and of noise."""
    drawn = torch.Generator().manual_seed(0)
    text = repo.tokenizer(["一只猫", "", "A photo of two dogs"], padding=True, return_tensors="pt")
    pixels = torch.randn((2, 3, repo.image_size, repo.image_size), generator=drawn)
    inputs = {**{name: text[name] for name in TEXT.inputs}, "pixel_values": pixels}
    outputs = pair(inputs["input_ids"], inputs["attention_mask"], pixels.double())
    largest = float(repo.tensors["logit_scale"].double().exp())
    for output, wanted in zip((PAIR.output, *PAIR.others), outputs, strict=True):
        bound = largest if output.startswith("logits") else 1.0
        _compare(output, session(replace(PAIR, output=output), file)(inputs), wanted, bound, repo, file)


def _compare(what: str, found: torch.Tensor, wanted: torch.Tensor, largest: float, repo: Repo, file: Path) -> None:
    """Compares two outputs whose numbers are at most `largest`.

    Raises:
        ParityError: a difference is larger than the bound, or is no number.
    """
    alike = found.shape == wanted.shape
    difference = float((found.double() - wanted.double()).abs().max()) if alike else math.inf
    bound = EXACT * largest
    if not difference <= bound:  # NaN is no result and fails
        raise ParityError(
            f"{FOLDER}/{file.name} in onnxruntime does not compute what {repo.path} computes: {what} differs by up to "
            f"{difference:.3g}, and at most {bound:.3g} is allowed. Nothing was written.",
            Compared(what, tuple(wanted.shape), difference),
        )


def how_to_load(destination: Path) -> str:
    """JavaScript that loads the export."""
    # It asks the hub for a path that begins with a name.
    place = json.dumps(str(destination) if destination.is_absolute() else f"./{destination}", ensure_ascii=False)
    return LOAD.format(place=place)


LOAD = """\
import {{ pipeline }} from "@huggingface/transformers";

const classify = await pipeline("zero-shot-image-classification", {place});
console.log(await classify("picture.png", ["猫", "狗"], {{ hypothesis_template: "{{}}" }}));"""


def why(checked: Sequence[Checked]) -> str:
    """A sentence: what was checked."""
    worst = max(each.difference for each in checked)
    return f"onnxruntime computes what the repo computes: the largest difference of an embedding is {worst:.2g}."
