"""An ONNX export with the calls of a model and of a processor that the Embedder makes."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..errors import InputError
from ..pictures_zhclip import from_array
from ..repo_files import check_tokenizer
from . import load_onnx
from .loading import EXPORT


class ExportedModel:
    """The graphs of an export; they run on onnxruntime's CPU provider."""

    dtype = torch.float32

    def __init__(self, export: Any):
        self._export = export
        text = export.facts.text
        self.config = SimpleNamespace(
            projection_dim=export.embedding_size,
            text_attends_to_padding=text is not None and text.attends_to_padding,
            text_padded_length=None,  # a graph that pads every text does not attend to the padding of its inputs
        )

    def encode_text(self, **inputs: torch.Tensor) -> torch.Tensor:
        """Token ids and mask, `(n, length)` -> `(n, projection_dim)`, L2-normalised."""
        given = {name: np.ascontiguousarray(each.numpy()) for name, each in inputs.items()}
        return self._run("text", given)

    def encode_image(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """`(n, 3, height, width)` -> `(n, projection_dim)`, L2-normalised."""
        return self._run("image", {"pixel_values": pixel_values.numpy()})

    def _run(self, side: str, given: Mapping[str, np.ndarray]) -> torch.Tensor:
        """An output of a graph: a stranger's graph may fail, or give anything.

        Raises:
            InputError: the graph does not load or fails, or its output is not `(n, projection_dim)`.
        """
        try:
            return torch.from_numpy(self._export.computed(side, given))
        except ValueError as error:  # its words say what is wrong
            raise InputError(str(error)) from error

    def _input_device(self) -> torch.device:
        return torch.device("cpu")


class ExportedProcessor:
    """What an export's `zhclip_onnx.py` makes of texts and pictures, with the calls of a ZhCLIPProcessor."""

    def __init__(self, export: Any):
        self._export = export
        text = export.facts.text
        self.tokenizer = SimpleNamespace(padding_side="right" if text is None else text.padding_side)

    def __call__(self, text: list[str], return_tensors: str) -> dict[str, np.ndarray]:
        """Texts, filled up to the longest of them -> `input_ids` and `attention_mask`, `(n, length)`.

        Raises:
            InputError: the export's tokenizer.json, which is read now, is damaged.
        """
        try:
            return self._export.tokenize(text)
        except ValueError as error:
            raise InputError(str(error)) from error

    def image_processor(self, images: list[Any], return_tensors: str) -> Any:
        """Pictures -> `pixel_values`, `(n, 3, height, width)`."""
        return SimpleNamespace(pixel_values=torch.from_numpy(self._export.pixels(list(map(_as_image, images)))))


def load_export(folder: str | os.PathLike[str]) -> tuple[ExportedModel, ExportedProcessor]:
    """Loads what `zhclip export --to onnx` wrote.

    Raises:
        InputError: the folder is no export, a file of it is missing or damaged, or onnxruntime is not installed.
    """
    _check_kind(Path(folder))
    try:
        export = load_onnx(folder)
    except ValueError as error:
        raise error if isinstance(error, InputError) else InputError(str(error)) from error
    if export.facts.text is not None:
        check_tokenizer(Path(folder) / export.facts.text.tokenizer)
    return ExportedModel(export), ExportedProcessor(export)


OTHER_KINDS = {
    "onnx/*.onnx": (
        "an export for transformers.js, which runs in JavaScript. Export the repo once more with `zhclip export REPO "
        "OUT --to onnx`"
    ),
    "*.safetensors": 'weights for torch, and no ONNX export. Leave engine="onnx" out',
}
"""By the files of a folder that is no export, what it is, and what to do."""


def _check_kind(folder: Path) -> None:
    if (folder / EXPORT).is_file():
        return
    for pattern, kind in OTHER_KINDS.items():
        if next(folder.glob(pattern), None) is not None:
            raise InputError(f"{folder} holds {kind}.")


def _as_image(picture: Any) -> Image.Image:
    if isinstance(picture, Image.Image):
        return picture
    return Image.fromarray(from_array(picture, None, rescaled=False))
