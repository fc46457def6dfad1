"""Uses a model where neither training nor conversion is needed."""

import os
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..extras import extra

if TYPE_CHECKING:
    from .corpus import Corpus
    from .embedder import Embedder
    from .embedding import embed
    from .searching import search
    from .serving import serve
    from .zhclip_onnx import ZhCLIPOnnx

__all__ = ["Corpus", "Embedder", "embed", "load_onnx", "search", "serve"]

MODULES = {
    "Corpus": "corpus",
    "Embedder": "embedder",
    "embed": "embedding",
    "search": "searching",
    "serve": "serving",
}
"""By name, the module that imports torch, which `load_onnx` does without."""


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{MODULES[name]}", __name__), name)


def load_onnx(
    folder: str | os.PathLike[str],
    providers: Sequence[str | tuple[str, dict[str, Any]]] = ("CPUExecutionProvider",),
    session_options: Any = None,
) -> "ZhCLIPOnnx":
    """Loads what `zhclip export --to onnx` wrote, by the source file that also lies in the export.

    Args:
        folder: the export.
        providers: onnxruntime's execution providers; by default the CPU alone.
        session_options: an `onnxruntime.SessionOptions`; without it, the memory of a graph is bounded in proportion to
            its size.

    Raises:
        InputError: onnxruntime is not installed.
        ValueError: the folder is no export, a file of it is missing or damaged, or this onnxruntime does not have the
            providers.
    """
    extra("onnxruntime", "load_onnx")
    from .zhclip_onnx import ZhCLIPOnnx

    return ZhCLIPOnnx(folder, providers, session_options)
