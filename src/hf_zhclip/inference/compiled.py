"""A model whose towers torch.compile translates where that makes them faster; elsewhere they run as they are."""

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import torch

from ..telling import shown
from .fused import PackedProduct

MOST_GRAPHS = 4
"""The graphs of a tower, after which it runs as it is: one for a batch of 1, one for all others, and two to spare."""

Encode = Callable[..., torch.Tensor]
"""Takes tensors of the same number of rows, by name, and gives a tensor of as many rows."""


class CompiledModel:
    """The calls of a model that the Embedder makes, compiled when each is first used.

    A tower of packed products is not compiled: more than nine tenths of its time are these products, and the
    compiler's own code for the rest was slower (ViT-B-16: 370 ms of a processor for a picture, beside 323).

    Args:
        model: a fused ZhCLIPModel that nobody else holds.
    """

    def __init__(self, model: Any):
        self.config, self.dtype, self.device = model.config, model.dtype, model.device
        self._input_device = model._input_device
        self.encode_text = _compiled(model.encode_text, model.text_model, "texts")
        self.encode_image = _compiled(model.encode_image, model.vision_model, "pictures")


def _compiled(encode: Encode, tower: torch.nn.Module, what: str) -> Encode:
    if any(isinstance(each, PackedProduct) for each in tower.modules()):
        _tell(f"Nothing is compiled for {what}: the engine torch is faster on this processor")
        return encode
    return Compiled(encode, tower.device, what)


class Compiled:
    """A tower, compiled at its first call; told on stderr.

    A graph takes any number of rows from 2 and any length of texts, so that the last batch of a corpus and texts of
    another length make no new graph.

    Args:
        encode: the tower's call.
        device: of its weights.
        what: what it encodes, in the words on stderr.
    """

    made: ClassVar[int] = 0
    """Towers of this process: the compiler counts graphs by function, and the models share the functions."""

    def __init__(self, encode: Encode, device: torch.device, what: str):
        Compiled.made += 1
        self._plain, self._what = encode, what
        # Frozen weights are constants that the compiler packs and folds; this has an effect on the CPU alone.
        self._call: Encode = torch.compile(encode, options={"freezing": True} if device.type == "cpu" else None)
        self._known: set[bool] = set()
        self._failed = False

    def __call__(self, **inputs: torch.Tensor) -> torch.Tensor:
        if self._failed:
            return self._plain(**inputs)
        single = len(next(iter(inputs.values()))) == 1
        for each in inputs.values():
            for dimension in _free(each, single):
                torch._dynamo.maybe_mark_dynamic(each, dimension)
        if single not in self._known:
            return self._first(inputs, single)
        with _limit():
            return self._call(**inputs)

    def _first(self, inputs: dict[str, torch.Tensor], single: bool) -> torch.Tensor:
        _tell(f"Compiling for {self._what}, once for {'single rows' if single else 'all batches'} of this process")
        start = time.monotonic()
        try:
            with _limit():
                found = self._call(**inputs)
        except Exception as error:  # a compiler that is missing or too old, and torch's own errors of many kinds
            found = self._plain(**inputs)  # raises what is no fault of the compiler, such as a lack of memory
            self._failed = True
            _tell(_FAILED.format(shown(str(error).strip().partition("\n")[0])))
            return found
        self._known.add(single)
        _tell(f"Compiled in {time.monotonic() - start:.0f} s")
        return found


_FAILED = "torch.compile does not work here ({}); going on with the engine torch"


def _limit() -> AbstractContextManager[Any]:
    return torch._dynamo.config.patch(recompile_limit=MOST_GRAPHS * Compiled.made)


def _free(tensor: torch.Tensor, single: bool) -> list[int]:
    """The dimensions that change from batch to batch: the rows, and the length of texts."""
    return [*([] if single else [0]), *([1] if tensor.ndim == 2 else [])]


def _tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
