"""A recipe's `lora` -> a model with PEFT's adapter: its fields may be a stranger's."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from torch import nn

from ..errors import InputError, is_memory
from ..json_files import brief, is_kind
from ..telling import near

MOST_PATTERN, MOST_CHOICES, MOST_NAMES = 200, 3, 256
"""The characters of a regular expression, its repetitions and alternatives, and the names of a list. Python keeps 512
compiled expressions; it would compile more of them anew for each module."""

MOST_FACTOR = 1e6
"""The largest lora_alpha."""

PLAIN = re.compile(r"[\w.]+")

PART = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|(?P<group>\)(?:[*+]|\{\d*,?\d*\}))|(?P<choice>[*+|{]|(?<!\()\?)", re.S
)
"""A part of a regular expression of Python: an escape, a class, a repeated group, a choice that a search may go back
to. A `?` after a parenthesis opens a group of some kind."""

INITIAL = re.compile(r"gaussian|olora|orthogonal|pissa(_niter_\d{1,2})?")
"""The first weights of an adapter that need no data and no other library."""


def with_lora(model: nn.Module, fields: Mapping[str, Any]) -> Any:
    """The model with the adapter of a recipe.

    Raises:
        InputError: PEFT is missing, a field is of another kind or beyond its limits, or PEFT does not take the fields.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise InputError('this recipe trains an adapter with PEFT: pip install "hf-zhclip[train]".') from error
    _check(fields)
    _check_ranks(fields, model)
    try:
        return get_peft_model(model, LoraConfig(**fields))
    except Exception as error:  # PEFT trusts the fields: what it raises for a wrong value follows from its code
        if is_memory(error) or isinstance(error, InputError | MemoryError):
            raise
        raise InputError(f"the recipe's lora is {brief(fields)}, which PEFT does not take: {error}") from error


def _check(fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        if name not in FIELDS:
            raise InputError(
                f"the recipe's lora has {brief(name)}, which is no field of PEFT's LoraConfig that a training takes."
                f"{near(str(name), FIELDS)} The fields are {', '.join(sorted(FIELDS))}."
            )
        fits, wanted = FIELDS[name]
        if not fits(value):
            raise InputError(f"the recipe's lora has the {name} {brief(value)}; {wanted} was wanted.")


def _is_switch(value: Any) -> bool:
    return isinstance(value, bool)


def _is_factor(value: Any) -> bool:
    return is_kind(value, (int, float)) and 0 < value <= MOST_FACTOR


def _is_share(value: Any) -> bool:
    return is_kind(value, (int, float)) and 0 <= value < 1


def _is_rank(value: Any) -> bool:
    return is_kind(value, (int,)) and value >= 1


def _is_index(value: Any) -> bool:
    return is_kind(value, (int,)) and 0 <= value < 2**31


def is_pattern(value: Any, choices: int = MOST_CHOICES) -> bool:
    """Whether a text is a regular expression of few choices, so that its search ends soon for any name."""
    if not isinstance(value, str) or not 0 < len(value) <= MOST_PATTERN:
        return False
    try:
        re.compile(value)
    except (re.error, OverflowError, RecursionError):
        return False
    found = [each.lastgroup for each in PART.finditer(value)]
    return "group" not in found and found.count("choice") <= choices and "(?" not in value.replace("(?:", "")


def _is_list(of: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and 0 < len(value) <= MOST_NAMES and all(map(of, value))


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MOST_PATTERN and PLAIN.fullmatch(value) is not None


def _are_names(value: Any) -> bool:
    return _is_list(_is_name)(value)


def _are_modules(value: Any) -> bool:
    return value == "all-linear" or is_pattern(value) or _are_names(value)


def _by_pattern(of: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """A value for each pattern, around which PEFT puts one more repetition."""
    return lambda value: (
        isinstance(value, dict)
        and len(value) <= MOST_NAMES
        and all(is_pattern(name, MOST_CHOICES - 1) and of(each) for name, each in value.items())
    )


_NAMES = f"a list of up to {MOST_NAMES} names"
_MODULES = (
    f"{_NAMES}, or a regular expression of at most {MOST_PATTERN} characters, with at most {MOST_CHOICES} repetitions "
    "and alternatives, and no repeated group,"
)
_PATTERNS = f"a value for each name, or regular expression of at most {MOST_CHOICES - 1} repetitions and alternatives,"

FIELDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "r": (_is_rank, "a whole number from 1"),
    "lora_alpha": (_is_factor, f"a number above 0 and up to {MOST_FACTOR:,.0f}"),
    "lora_dropout": (_is_share, "a share from 0 to below 1"),
    "target_modules": (_are_modules, _MODULES),
    "exclude_modules": (_are_modules, _MODULES),
    "modules_to_save": (_are_names, _NAMES),
    "target_parameters": (_are_names, _NAMES),
    "layers_pattern": (lambda value: _is_name(value) or _are_names(value), f"a name, or {_NAMES},"),
    "layers_to_transform": (
        lambda value: _is_index(value) or _is_list(_is_index)(value),
        "the number of a layer, or a list of such numbers,",
    ),
    "rank_pattern": (_by_pattern(_is_rank), _PATTERNS),
    "alpha_pattern": (_by_pattern(_is_factor), _PATTERNS),
    "bias": (lambda value: value in ("none", "all", "lora_only"), "none, all or lora_only"),
    "init_lora_weights": (
        lambda value: _is_switch(value) or (isinstance(value, str) and INITIAL.fullmatch(value) is not None),
        "true, false, gaussian, olora, orthogonal or pissa",
    ),
    **dict.fromkeys(("use_rslora", "use_dora", "lora_bias", "fan_in_fan_out"), (_is_switch, "true or false")),
}
"""The fields of PEFT's LoraConfig that a recipe may hold: whether a value fits, and what is wanted. PEFT's other
fields import modules by name, need data, or make a model that is no repo's."""


def _check_ranks(fields: Mapping[str, Any], model: nn.Module) -> None:
    """Refuses a rank above the narrowest side of what is adapted, from which it gives nothing and costs much."""
    ranks = (fields.get("r", 8), *fields.get("rank_pattern", {}).values())
    widths = [
        *_widths(model, fields.get("target_modules"), fields.get("exclude_modules")),
        *(
            min(each.shape)
            for name, each in model.named_parameters()
            if each.dim() > 1 and _is_named(name, fields.get("target_parameters", ()))
        ),
    ]
    if widths and max(ranks) > min(widths):
        raise InputError(
            f"the recipe's lora has the rank {max(ranks)}; what it adapts has {min(widths)} rows or columns, and a "
            "rank of at most so many was wanted."
        )


def _widths(model: nn.Module, targets: Any, excluded: Any) -> Iterator[int]:
    """The narrower side of each weight that PEFT adapts."""
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if weight is None or weight.dim() < 2:
            continue
        if targets == "all-linear":
            wanted = isinstance(module, nn.Linear)
        else:
            wanted = targets is not None and _is_named(name, targets)  # without targets, PEFT refuses the fields
        if wanted and not (excluded and _is_named(name, excluded)):
            yield min(len(weight), math.prod(weight.shape[1:]))


def _is_named(name: str, given: str | Iterable[str]) -> bool:
    """Whether a module is named, by PEFT's rule: a text is an expression, a list holds names or their ends."""
    if isinstance(given, str):
        return re.fullmatch(given, name) is not None
    return any(name == each or name.endswith(f".{each}") for each in given)
