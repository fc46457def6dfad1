"""Facts that the weights of two towers do not hold: heads, activation, eps; published by size, or from --config."""

from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from ..words import Words
from .hf_config import check_activation

UNSTATED = ("num_attention_heads", "hidden_act", "layer_norm_eps")
SIZES = ("hidden_size", "num_hidden_layers", "intermediate_size", "patch_size")
"""The sizes that identify a tower; a text tower has no patch."""

PUBLISHED = Words(
    "No file of this checkpoint states the head counts, activations and eps of its towers. The values are taken from "
    "the published model of the same size. If weights of this size were trained with other values, state them with "
    "--config.",
    "这个检查点的任何文件都没有写明两个塔的注意力头数、激活函数和 eps：这里取同样大小的已发布模型的值。同样大小而用其"
    "他值训练的权重，需要用 --config 写明。",
)
"""The card's sentence if the facts come from a published size."""

Published = Mapping[tuple, Mapping[str, Any]]
"""(name, width, layers, intermediate size, an image tower's patch) -> the facts that shapes do not show."""


def tower_facts(
    config: Mapping[str, Any], found: Mapping[str, Mapping[str, int]], published: Mapping[str, Published]
) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """Each tower's name and the facts that no weight file holds; facts in `config` take precedence.

    Args:
        config: the objects `text_config` and `vision_config`, each with transformers' field names.
        found: the sizes from the shapes, under the same two names.
        published: the facts of the published sizes, under the same two names.

    Raises:
        InputError: a size is not published and a fact is not stated, or the stated facts make no model or contradict
            the shapes.
    """
    names, facts = {}, {}
    for side, sizes in found.items():
        names[side], known = _published(published[side], tuple(sizes[field] for field in SIZES if field in sizes))
        facts[side] = {**known, **_stated(config, side, sizes)}
    _refuse_unstated(facts)
    for side, sizes in found.items():
        _check(facts[side], side, sizes["hidden_size"])
    return names, facts


def _published(table: Published, sizes: tuple[int, ...]) -> tuple[str, Mapping[str, Any]]:
    """A published size's name and facts; for any other size, its numbers as the name and no facts."""
    for (name, *published), facts in table.items():
        if tuple(published) == sizes:
            return name, facts
    return "x".join(map(str, sizes)), {}


def _stated(config: Mapping[str, Any], side: str, found: Mapping[str, int]) -> dict[str, Any]:
    """The facts that `--config` states about a tower, checked against the shapes."""
    stated = config.get(side, {})
    if not isinstance(stated, Mapping):
        raise InputError(f"--config states {side} {stated!r}; an object with fields was wanted.")
    wrong = [
        f"{side}.{field}: stated {stated[field]!r}, the shapes say {value}"
        for field, value in found.items()
        if field in stated and stated[field] != value
    ]
    if wrong:
        raise InputError(
            f"--config contradicts the weights: {'; '.join(wrong)}. Correct these fields or leave them out."
        )
    return {field: stated[field] for field in UNSTATED if field in stated}


def _refuse_unstated(facts: Mapping[str, Mapping[str, Any]]) -> None:
    missing = [f"  {side}.{field}" for side, known in facts.items() for field in UNSTATED if field not in known]
    if missing:
        raise InputError(
            "A model of this size was never published, and the weights do not show the following facts. A wrong value "
            "would load, too, and give wrong embeddings:\n" + "\n".join(missing) + "\nWrite these facts into a JSON "
            "file, with transformers' field names, under text_config and vision_config, and pass --config FILE."
        )


def _check(facts: Mapping[str, Any], side: str, width: int) -> None:
    heads, eps = facts["num_attention_heads"], facts["layer_norm_eps"]
    if type(heads) is not int:
        raise InputError(
            f"--config states {side}.num_attention_heads {heads!r}; a whole number was wanted. Correct this field."
        )
    if heads < 1 or width % heads:
        raise InputError(
            f"--config states {side}.num_attention_heads {heads!r}; wanted a divisor of the width {width}. Correct "
            "this field."
        )
    if type(eps) not in (int, float) or not 0 < eps < 1:
        raise InputError(
            f"--config states {side}.layer_norm_eps {eps!r}; a number between 0 and 1 was wanted. Correct this field."
        )
    check_activation(facts["hidden_act"], f"The {side} of --config")
