"""A model beside a witness in numbers: sameness in float64, and how far narrower dtypes are from the truth."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import normalize
from transformers.modeling_outputs import BaseModelOutputWithPooling

from ..repos.report import COSINE, DIFFERENCE, Comparison
from ..words import Words
from .compared import LOGIT_SCALE, LOGITS, OVERFLOWING, Vectors
from .witness import Witness

SAMENESS = 1e-9
"""Largest absolute difference of L2-normalised embeddings, and of a cosine from 1, in float64."""

MARGIN = 64
"""How many times as far from the truth as the witness's own float32 a model in float32 may be.

Two orders of adding up the same numbers differ by up to ten times on weights that are scaled so that errors show; a
model that computes in half precision somewhere differs by thousands.
"""

FLOOR = 2e-7
"""The least rounding that a witness's float32 is taken to have: a few steps of numbers between 0.5 and 1."""

HALVES = (torch.float16, torch.bfloat16)

Encode = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Side:
    """One side of a model and of its witness.

    `ours` and `theirs` take one of the `inputs`, a batch, and give L2-normalised vectors, a row each. The parts of our
    model that it passes through are `modules`. The last of the `inputs` is small: it measures the rounding of narrower
    dtypes, which would cost as much again with all of them.
    """

    step: str
    what: Vectors
    modules: Sequence[nn.Module]
    ours: Encode
    theirs: Encode
    inputs: Sequence[torch.Tensor]


@dataclass(frozen=True)
class Measured:
    """What our side gave of a tower, without the model: its vectors in float64, and the small input's in others."""

    step: str
    what: Vectors
    theirs: Encode
    inputs: Sequence[torch.Tensor]
    vectors: torch.Tensor
    narrow: Mapping[torch.dtype, torch.Tensor]


def measure(side: Side, own: torch.dtype) -> Measured:
    """Runs our side: all inputs in float64, the small one in float32 and in a narrower dtype of the repo's own.

    The weights of one tower are in double at a time. Those of a repo in double are narrowed last, for good.
    """
    brief = side.inputs[-1:]
    with computing_in(torch.float64, own, side.modules):
        vectors = _all(side.ours, side.inputs, torch.float64)
    narrow = {}
    for dtype in dict.fromkeys((own, torch.float32) if own in HALVES else (torch.float32,)):
        with computing_in(dtype, own, side.modules):
            narrow[dtype] = _all(side.ours, brief, dtype)
    return Measured(side.step, side.what, side.theirs, side.inputs, vectors, narrow)


def compare_tower(ours: Measured, witness: Witness) -> Iterator[Comparison]:
    """Sameness in float64, and beside it the rounding of the narrower dtypes."""
    brief = ours.inputs[-1:]
    truth = _encoded(ours.theirs, ours.inputs, torch.float64, witness)
    yield from _sameness(ours.step, ours.what, ours.vectors, truth, witness.name)
    rounded = _encoded(ours.theirs, brief, torch.float32, witness)
    exact = truth[-len(rounded) :]
    bound = MARGIN * max(difference(rounded, exact), FLOOR)
    for dtype, found in ours.narrow.items():
        name = str(dtype).removeprefix("torch.")
        scaled = bound * torch.finfo(dtype).eps / torch.finfo(torch.float32).eps
        if overflows(found, exact) and overflows(_encoded(ours.theirs, brief, dtype, witness), exact):
            # Whoever computes with these weights in this dtype gets no numbers: that is theirs, not the conversion's.
            what = ours.what.narrow.filled(dtype=OVERFLOWING.filled(dtype=name))
            yield Comparison(ours.step, what, witness.name, DIFFERENCE, scaled, float("nan"), True)
        else:
            what = ours.what.narrow.filled(dtype=name)
            yield bounded(ours.step, what, witness.name, scaled, difference(found, exact))


def overflows(found: torch.Tensor, exact: torch.Tensor) -> bool:
    """Whether vectors are no numbers where the exact ones are."""
    return not found.isfinite().all() and bool(exact.isfinite().all())


@contextmanager
def computing_in(dtype: torch.dtype, own: torch.dtype, modules: Sequence[nn.Module]) -> Iterator[None]:
    """Lets modules compute in `dtype`; they then go back to their `own`, whose bits they keep if `dtype` has them."""
    for module in modules:
        module.to(dtype)
    yield
    for module in modules:
        module.to(own)


def _encoded(encode: Encode, inputs: Sequence[torch.Tensor], dtype: torch.dtype, witness: Witness) -> torch.Tensor:
    with witness.computing_in(dtype):
        return _all(encode, inputs, dtype)


def _all(encode: Encode, inputs: Sequence[torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
    """The vectors of all inputs, one under the other; pictures are given in the dtype, token ids as they are."""
    return torch.cat([encode(each.to(dtype) if each.is_floating_point() else each) for each in inputs])


def compare_logits(model: Any, witness: Witness, text: torch.Tensor, image: torch.Tensor) -> Iterator[Comparison]:
    """What `forward` makes of embeddings that are known, in double: the cosines times the factor."""
    scale = torch.tensor(witness.logit_scale(), dtype=torch.float64)
    logits = _logits(model, text, image)
    yield bounded(
        "logits",
        LOGITS,
        witness.name,
        SAMENESS,
        difference(logits / scale.exp(), image @ text.t()),
    )
    stored = model.logit_scale.detach().double()
    yield bounded("logits", LOGIT_SCALE, witness.name, 0, difference(stored, scale))


def _logits(model: Any, text: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """`forward` with its towers left out: they were compared, and two in double at once would not fit everywhere."""
    scale = model.logit_scale
    model.logit_scale = nn.Parameter(scale.detach().double())
    for name, features in {"get_text_features": text, "get_image_features": image}.items():
        setattr(model, name, _giving(BaseModelOutputWithPooling(pooler_output=features)))
    logits = model(input_ids=torch.zeros(1, 1).long(), pixel_values=torch.zeros(1, 1)).logits_per_image
    model.logit_scale = scale
    del model.get_text_features, model.get_image_features
    return logits


def _giving(value: Any) -> Callable[..., Any]:
    return lambda *inputs, **options: value


def _sameness(
    step: str, vectors: Vectors, ours: torch.Tensor, truth: torch.Tensor, witness: Words
) -> Iterator[Comparison]:
    what = vectors.exact.filled(count=len(truth))
    yield bounded(step, what, witness, SAMENESS, difference(ours, truth))
    if ours.shape != truth.shape:
        return
    # Weights with NaN (--allow-nonfinite) give NaN on both sides, which agrees; NaN on one side alone does not.
    undefined = (ours.isnan() & truth.isnan()).any(-1)
    cosine = float((ours * truth).sum(-1).masked_fill(undefined, 1.0).min())
    bound = 1 - SAMENESS
    shown = math.nan if undefined.all() else cosine
    yield Comparison(step, what, witness, COSINE, bound, shown, cosine >= bound)


def shows_nothing(comparison: Comparison) -> bool:
    """Whether it has compared vectors none of which is a number: that proves nothing of what computes them."""
    return comparison.measure == COSINE and math.isnan(comparison.result)


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest absolute difference, in double; infinite where the shapes differ, and NaN on both sides is none."""
    if a.shape != b.shape:
        return float("inf")
    same = (a == b) | (a.isnan() & b.isnan())
    return float((a.double() - b.double()).abs().masked_fill(same, 0.0).max())


def bounded(step: str, what: Words, witness: Words, bound: float, result: float) -> Comparison:
    """A comparison of a difference with its bound."""
    return Comparison(step, what, witness, DIFFERENCE, bound, result, result <= bound)


def normalized(encode: Callable[[torch.Tensor], torch.Tensor]) -> Encode:
    """The same, each vector divided by its L2 norm."""
    return lambda inputs: normalize(encode(inputs), dim=-1)
