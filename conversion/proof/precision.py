"""A model beside a witness in numbers: sameness in float64, and how far narrower dtypes are from the truth."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from ..repos.report import COSINE, COUNT, DIFFERENCE, Comparison
from ..words import Words
from .compared import CALL, OVERFLOWING, Vectors
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
class Call:
    """One way to call a model: `ours(**inputs)` gives the L2-normalised vectors of the witness's batch, a row each."""

    what: str
    ours: Callable[..., torch.Tensor]
    inputs: Mapping[str, torch.Tensor]
    batch: int


@dataclass(frozen=True)
class Side:
    """One side of a model and of its witness.

    `theirs` gives the vectors of one of the `batches`. The parts of our model that the calls pass through are
    `modules`. The last of the calls and of the batches belong together and are small: they measure the rounding of
    narrower dtypes, which would cost as much again with all of them. `in_own` is what the last call gives in the
    repo's own dtype; without it only float64 is measured.
    """

    step: str
    what: Vectors
    modules: Sequence[nn.Module]
    calls: Sequence[Call]
    theirs: Encode
    batches: Sequence[torch.Tensor]
    in_own: torch.Tensor | None = None


@dataclass(frozen=True)
class Found:
    """What a call gave, in float64, of one of the batches."""

    what: str
    batch: int
    vectors: torch.Tensor


@dataclass(frozen=True)
class Measured:
    """What our side gave of a tower, without the model; `narrow` is of the last batch, in other dtypes."""

    step: str
    what: Vectors
    theirs: Encode
    batches: Sequence[torch.Tensor]
    found: Sequence[Found]
    narrow: Mapping[torch.dtype, torch.Tensor]


def measure(side: Side, own: torch.dtype) -> Measured:
    """Runs our side: all calls in float64, the last in float32 and in a narrower dtype of the repo's own.

    The weights of one tower are in double at a time. Those of a repo in double are narrowed last, for good.
    """
    with computing_in(torch.float64, own, side.modules):
        found = [Found(call.what, call.batch, _run(call, torch.float64)) for call in side.calls]
    narrow = {} if side.in_own is None or own == torch.float64 else {own: side.in_own}
    if side.in_own is not None and torch.float32 not in narrow:
        with computing_in(torch.float32, own, side.modules):
            narrow[torch.float32] = _run(side.calls[-1], torch.float32)
    return Measured(side.step, side.what, side.theirs, side.batches, found, narrow)


def compare_tower(ours: Measured, witness: Witness) -> Iterator[Comparison]:
    """Sameness in float64, and beside it the rounding of the narrower dtypes."""
    truth = [_encoded(ours.theirs, batch, torch.float64, witness) for batch in ours.batches]
    yield from _sameness(ours.step, ours.what, ours.found, truth, witness.name)
    if ours.narrow:
        yield from _compare_narrow(ours, truth[-1], witness)


def _compare_narrow(ours: Measured, exact: torch.Tensor, witness: Witness) -> Iterator[Comparison]:
    brief = ours.batches[-1]
    bound = MARGIN * max(difference(_encoded(ours.theirs, brief, torch.float32, witness), exact), FLOOR)
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


def _encoded(encode: Encode, batch: torch.Tensor, dtype: torch.dtype, witness: Witness) -> torch.Tensor:
    with witness.computing_in(dtype):
        return encode(_in(dtype, batch))


def _run(call: Call, dtype: torch.dtype) -> torch.Tensor:
    return call.ours(**{name: _in(dtype, value) for name, value in call.inputs.items()})


def _in(dtype: torch.dtype, inputs: torch.Tensor) -> torch.Tensor:
    """Pictures in the dtype, token ids and masks as they are."""
    return inputs.to(dtype) if inputs.is_floating_point() else inputs


def _sameness(
    step: str, what: Vectors, found: Sequence[Found], truth: Sequence[torch.Tensor], witness: Words
) -> Iterator[Comparison]:
    for each in found:
        expected = truth[each.batch]
        told = CALL.filled(call=each.what, count=len(expected))
        yield bounded(step, told, witness, SAMENESS, difference(each.vectors, expected))
    pairs = [(each.vectors, truth[each.batch]) for each in found]
    if any(ours.shape != expected.shape for ours, expected in pairs):
        return
    cosines = torch.cat([_cosines(ours, expected) for ours, expected in pairs])
    defined = cosines[~cosines.isnan()]
    smallest = float(defined.min()) if len(defined) else math.nan
    told = what.exact.filled(count=len(cosines))
    yield Comparison(step, told, witness, COSINE, 1 - SAMENESS, smallest, not smallest < 1 - SAMENESS)


def _cosines(ours: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Cosines row by row; NaN where both sides have NaN (--allow-nonfinite), -1 where one alone has it."""
    both = (ours.isnan() & truth.isnan()).any(-1)
    cosines = (ours * truth).sum(-1).nan_to_num(nan=-1.0)
    return cosines.masked_fill(both, math.nan)


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


def exact(step: str, what: Words, witness: Words, count: int) -> Comparison:
    """A comparison of things that are the same or not, of which `count` are not."""
    return Comparison(step, what, witness, COUNT, 0, count, count == 0)
