"""A model whose towers torch.compile has translated; where that does not work, the model itself."""

import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from ..telling import shown

MOST_GRAPHS = 4
"""The graphs of a tower, after which it runs as it is: one for a batch of 1, one for all others, and two to spare."""


class CompiledModel:
    """The calls of a model that the Embedder makes, compiled when each is first used.

    A graph takes any number of rows from 2 and any length of texts, so that the last batch of a corpus and texts of
    another length make no new graph.

    Args:
        model: a ZhCLIPModel that nobody else holds.
    """

    def __init__(self, model: Any):
        self.config, self.dtype, self.device = model.config, model.dtype, model.device
        self._input_device = model._input_device
        self.encode_text = Compiled(model.encode_text, "texts")
        self.encode_image = Compiled(model.encode_image, "pictures")


class Compiled:
    """`encode`, compiled at its first call; told on stderr.

    Args:
        encode: takes tensors of the same number of rows, by name, and gives a tensor of as many rows.
        what: what it encodes, in the words on stderr.
    """

    def __init__(self, encode: Callable[..., torch.Tensor], what: str):
        self._plain, self._what = encode, what
        # Freezing lets the compiler pack the weights; it has an effect on the CPU alone.
        self._call = torch.compile(encode, options={"freezing": True} if _on_cpu(encode) else None)
        self._shapes: set[bool] = set()
        self._failed = False

    def __call__(self, **inputs: torch.Tensor) -> torch.Tensor:
        if self._failed:
            return self._plain(**inputs)
        single = len(next(iter(inputs.values()))) == 1
        for each in inputs.values():
            for dimension in _free(each, single):
                torch._dynamo.maybe_mark_dynamic(each, dimension)
        if single in self._shapes:
            return self._compiled(inputs)
        return self._first(inputs, single)

    def _first(self, inputs: dict[str, torch.Tensor], single: bool) -> torch.Tensor:
        _tell(f"Compiling for {self._what}, once for a process")
        start = time.monotonic()
        try:
            found = self._compiled(inputs)
        except Exception as error:  # a compiler that is missing or too old, and torch's own errors of many kinds
            self._failed = True
            _tell(_FAILED.format(shown(str(error).strip().partition("\n")[0])))
            return self._plain(**inputs)
        self._shapes.add(single)
        _tell(f"Compiled in {time.monotonic() - start:.0f} s")
        return found

    def _compiled(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        with torch._dynamo.config.patch(recompile_limit=MOST_GRAPHS):
            return self._call(**inputs)


_FAILED = "torch.compile does not work here ({}); going on with the engine torch"


def _on_cpu(encode: Any) -> bool:
    return encode.__self__.device.type == "cpu"


def _free(tensor: torch.Tensor, single: bool) -> list[int]:
    """The dimensions that change from batch to batch: the rows, and the length of texts."""
    return [*([] if single else [0]), *([1] if tensor.ndim == 2 else [])]


def _tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
