"""A source's logit_scale: the logarithm of a factor on its cosines, or a number that cannot be such a logarithm."""

import math
from collections.abc import Mapping, Sequence

import torch

from ..errors import InputError
from ..mapping import Plan
from ..words import Words

CLAMPED = 4.6055
"""CLIP's trainings clamp at ln 100 = 4.60517; cn_clip writes 4.6052, and half precision 4.6055 (4.60547)."""

HIGHEST = math.log(1000)
"""6.9078: a higher number is the factor itself. Known trainings start from the factors 10, 14.3 and 20, which are
higher. A training without a clamp drifts to a factor of about 120, whose logarithm is lower.
"""

LOWEST = math.log(0.5)
"""-0.6931: a lower number is the logarithm of a temperature; no training uses a temperature above 0.5 (ALBEF clamps
there). A training that started from 0, without a scale, may end between this number and 0.
"""

FLAT = 0.5
"""From 0 to 0.5 the number may be a temperature without a logarithm, such as 0.07, or a training started from 0."""

PLACE = "Write the right number into the file, or take the file in its state before the change."


ABOVE = Words(
    "The logit_scale of the source is {value}: a factor of {factor} on the cosines. CLIP's trainings limit this "
    "factor to 100. The value is kept unchanged.",
    "来源的 logit_scale 是 {value}，即余弦乘以 {factor}：超过了 100，而 CLIP 的训练把它限制在 100 以内。"
    "这里原样保留。",
)
NEARLY_FLAT = Words(
    "The logit_scale of the source is {value}: a factor of {factor} on the cosines. A softmax over the cosines is "
    "nearly flat. The value is kept unchanged.",
    "来源的 logit_scale 是 {value}，即余弦乘以 {factor}，因此对它们做 softmax 得到的概率几乎是均匀的。这里原样保留。",
)
MAY_BE_A_TEMPERATURE = Words(
    "{flat} If the number is a temperature, the right value is {meant}: the logarithm of the temperature's inverse.",
    "{flat}如果这个数其实是温度，应当写的是它的倒数的对数 {meant}。",
)


def scale_limits(plans: Sequence[Plan], tensors: Mapping[str, torch.Tensor]) -> tuple[Words, ...]:
    """The card's sentences about an unusual logit_scale; none in (0.5, ln 100], and none without a source key.

    Keeps and reports numbers that may be right: above ln 100, nearly 0, or 0 itself. Refuses a number that cannot be
    the logarithm of a factor.

    Args:
        plans: the plans of all parts.
        tensors: target keys and tensors.

    Raises:
        InputError: the number is above `HIGHEST` or below `LOWEST`, and cannot be the logarithm of a factor.
    """
    steps = [step for plan in plans for step in plan.steps if step.targets == ("logit_scale",) and step.op != "zero"]
    if not steps:
        return ()
    value = tensors["logit_scale"].item()
    if not LOWEST <= value <= HIGHEST:  # NaN lies in no range
        refuse = _refuse_temperature if steps[0].op == "log_inverse" else _refuse
        refuse(steps[0].sources[0], value)
    if FLAT < value <= CLAMPED:
        return ()
    said = (ABOVE if value > CLAMPED else NEARLY_FLAT).filled(value=f"{value:.6g}", factor=f"{math.exp(value):.6g}")
    if value > CLAMPED or value <= 0 or steps[0].op == "log_inverse":
        return (said,)
    return (MAY_BE_A_TEMPERATURE.filled(flat=said, meant=f"{-math.log(value):.6g}"),)


def _refuse(key: str, value: float) -> None:
    if not math.isfinite(value):
        raise InputError(
            f"{key} is {value}. Wanted: the logarithm of the factor on the cosines, a number from 0 to ln 100 = "
            f"4.6052. The training has diverged, or the file is damaged. {PLACE}"
        )
    read = f"the factor itself; the factor's logarithm is {math.log(value):.6g}" if value > 0 else ""
    if value < 0:
        read = f"the logarithm of a temperature of {_exp(value):.6g}; the negative of the number is {-value:.6g}"
    raise InputError(
        f"{key} is {value:.6g}. Wanted: the logarithm of the factor on the cosines, a number from 0 to ln 100 = "
        f"4.6052. The number looks like {read}. {PLACE}"
    )


def _refuse_temperature(key: str, value: float) -> None:
    found = "no number above 0" if math.isnan(value) else f"{_exp(-value):.6g}"
    raise InputError(
        f"{key} is {found}. Wanted: a temperature, a number from 0.001 to 0.5 that divides the cosines. {PLACE}"
    )


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
