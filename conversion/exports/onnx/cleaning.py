"""Takes out of a graph's file what only its maker can read: stack traces, source paths, docs and versions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hf_zhclip.extras import extra

from . import NEEDED_BY

PRODUCER = "hf_zhclip"

TEXTS = ("doc_string", "metadata_props")
"""The fields of a model, a graph, a node, a value, a tensor or a function that no runtime reads."""


def clean(file: Path) -> None:
    """Cleans a file in place; the weights that lie beside it are not read.

    Two exports of the same repo are then the same bytes, wherever they were made, if torch, transformers and
    onnxscript have the same versions. Other versions write other operators.
    """
    onnx = extra("onnx", NEEDED_BY)
    model = onnx.load(file, load_external_data=False)
    for part in _parts(model):
        for field in TEXTS:
            if field in part.DESCRIPTOR.fields_by_name:
                part.ClearField(field)
    model.producer_name = PRODUCER
    for field in ("producer_version", "domain", "model_version"):
        model.ClearField(field)
    file.write_bytes(model.SerializeToString(deterministic=True))


def _parts(part: Any) -> Iterator[Any]:
    """A part of a model, and then all parts that it still holds."""
    yield part
    for field, value in part.ListFields():
        if field.message_type is not None:
            for each in [value] if hasattr(value, "DESCRIPTOR") else value:
                yield from _parts(each)
