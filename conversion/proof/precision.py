"""Compares a model with a witness: sameness in float64, and the error of narrower dtypes."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from hf_zhclip.amounts import step

from ..repos.report import COSINE, COUNT, DIFFERENCE, SAMENESS, Comparison
from ..words import Words
from .compared import CALL, OVERFLOWING, Vectors
from .once import each_row_once
from .widening import cast, release
from .witness import Witness

MARGIN = 64
"""The largest allowed ratio of our float32 error to the witness's own float32 error.

Two orders of summing the same numbers differ by up to ten times, with weights scaled so that errors show. A model that
computes in half precision somewhere differs by thousands.
"""

FLOOR = 2e-7
"""The least assumed float32 error of a witness: a few rounding steps of numbers between 0.5 and 1."""

HALVES = (torch.float16, torch.bfloat16)

Encode = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Call:
    """One way to call a model: `ours(**inputs)` gives L2-normalised vectors, one row for each input of the batch."""

    what: str
    ours: Callable[..., torch.Tensor]
    inputs: Mapping[str, torch.Tensor]
    batch: int


@dataclass(frozen=True)
class Side:
    """One side of a model and of its witness.

    `theirs` gives the vectors of one of the `batches`. `modules` are the parts of our model that the calls use. The
    last call and the last batch belong together and are small: only they measure the rounding of narrower dtypes,
    because all calls would double the cost. `in_own` is the last call's result in the repo's own dtype; without it,
    only float64 is measured.
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
    """A call's result for one of the batches, in float64."""

    what: str
    batch: int
    vectors: torch.Tensor


@dataclass(frozen=True)
class Measured:
    """Our side's results for a tower, without the model; `narrow` holds the last batch's results in other dtypes."""

    step: str
    what: Vectors
    theirs: Encode
    batches: Sequence[torch.Tensor]
    found: Sequence[Found]
    narrow: Mapping[torch.dtype, torch.Tensor]


def computations(side: Side, own: torch.dtype) -> int:
    """How many computations `measure` and `compare_tower` do for a side."""
    narrow = 0 if side.in_own is None else 1 + (own != torch.float32)  # the witness's float32, and ours
    return len(side.calls) + len(side.batches) + narrow


def measure(side: Side, own: torch.dtype) -> Measured:
    """Runs our side: all calls in float64, the last call in float32 and in a narrower dtype of the repo's own.

    Only one layer's weights are in float64 at a time, and each different input is computed once. The side's modules
    have no weights afterwards: of mixed dtypes, a model was loaded into memory as a whole.
    """
    with cast(side.modules, torch.float64), each_row_once(side.modules[0]):
        found = [Found(call.what, call.batch, _run(call, torch.float64)) for call in side.calls]
    narrow = {} if side.in_own is None or own == torch.float64 else {own: side.in_own}
    if side.in_own is not None and torch.float32 not in narrow:
        with cast(side.modules, torch.float32):
            narrow[torch.float32] = _run(side.calls[-1], torch.float32)
    release(side.modules)
    return Measured(side.step, side.what, side.theirs, side.batches, found, narrow)


def compare_tower(ours: Measured, witness: Witness) -> Iterator[Comparison]:
    """Compares sameness in float64, and the rounding of the narrower dtypes."""
    truth = _exact(ours, witness)
    yield from _sameness(ours.step, ours.what, ours.found, truth, witness.name)
    if ours.narrow:
        yield from _compare_narrow(ours, truth[-1], witness)


def _compare_narrow(ours: Measured, exact: torch.Tensor, witness: Witness) -> Iterator[Comparison]:
    brief = ours.batches[-1]
    bound = MARGIN * max(difference(_encoded(ours.theirs, brief, torch.float32, witness), exact), FLOOR)
    for dtype, found in ours.narrow.items():
        name = str(dtype).removeprefix("torch.")
        scaled = bound * torch.finfo(dtype).eps / torch.finfo(torch.float32).eps
        if overflows(found, exact) and overflows(_computed(ours.theirs, brief, dtype, witness), exact):
            # With these weights this dtype overflows in every implementation; the conversion is not the cause.
            what = ours.what.narrow.filled(dtype=OVERFLOWING.filled(dtype=name))
            yield Comparison(ours.step, what, witness.name, DIFFERENCE, scaled, float("nan"), True)
        else:
            what = ours.what.narrow.filled(dtype=name)
            yield bounded(ours.step, what, witness.name, scaled, difference(found, exact))


def overflows(found: torch.Tensor, exact: torch.Tensor) -> bool:
    """Whether vectors hold NaN or Inf although the exact vectors do not."""
    return not found.isfinite().all() and bool(exact.isfinite().all())


def _exact(ours: Measured, witness: Witness) -> list[torch.Tensor]:
    """The witness's float64 vectors of each batch."""
    found = []
    with witness.computing_in(torch.float64):
        for batch in ours.batches:
            step()
            found.append(ours.theirs(_in(torch.float64, batch)))
    return found


def _encoded(encode: Encode, batch: torch.Tensor, dtype: torch.dtype, witness: Witness) -> torch.Tensor:
    step()
    return _computed(encode, batch, dtype, witness)


def _computed(encode: Encode, batch: torch.Tensor, dtype: torch.dtype, witness: Witness) -> torch.Tensor:
    with witness.computing_in(dtype):
        return encode(_in(dtype, batch))


def _run(call: Call, dtype: torch.dtype) -> torch.Tensor:
    step()
    return call.ours(**{name: _in(dtype, value) for name, value in call.inputs.items()})


def _in(dtype: torch.dtype, inputs: torch.Tensor) -> torch.Tensor:
    """Converts pictures to the dtype; leaves token ids and masks unchanged."""
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
    """Cosines row by row; NaN if both sides have NaN (--allow-nonfinite), -1 if only one side has NaN."""
    both = (ours.isnan() & truth.isnan()).any(-1)
    cosines = (ours * truth).sum(-1).nan_to_num(nan=-1.0)
    return cosines.masked_fill(both, math.nan)


def shows_nothing(comparison: Comparison) -> bool:
    """Whether all compared vectors hold NaN, so that the comparison proves nothing about the computation."""
    return comparison.measure == COSINE and math.isnan(comparison.result)


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest absolute difference, in float64; infinite if the shapes differ; NaN on both sides counts as 0."""
    if a.shape != b.shape:
        return float("inf")
    same = (a == b) | (a.isnan() & b.isnan())
    return float((a.double() - b.double()).abs().masked_fill(same, 0.0).max())


def bounded(step: str, what: Words, witness: Words, bound: float, result: float) -> Comparison:
    """Compares a difference with its bound."""
    return Comparison(step, what, witness, DIFFERENCE, bound, result, result <= bound)


def exact(step: str, what: Words, witness: Words, count: int) -> Comparison:
    """Compares things that are equal or not; `count` of them differ."""
    return Comparison(step, what, witness, COUNT, 0, count, count == 0)
