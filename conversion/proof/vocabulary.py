"""Compares a repo's vocabulary with its witness's: every row, and every merge or score."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from ..repos.report import Comparison
from .compared import FAMILY_TOKENIZER, ROWS, RULES, STEPS
from .precision import exact
from .witness import Witness

TOKENIZER_STEPS = ("normalizer", "pre_tokenizer", "post_processor", "added_tokens")
"""The parts of a tokenizer.json that change ids, beside the model itself."""


def compare_vocabulary(tokenizer: Any, witness: Witness) -> Iterator[Comparison]:
    """Counts the rows, and the merges (BPE) or scores (Unigram), that differ from the witness's.

    Ignores rows of white space: no text reaches such a row, and readers differ in whether they strip it.
    """
    ours, theirs = (_reachable(rows) for rows in (tokenizer.get_vocab(), witness.vocabulary.rows))
    # Equal tables, which are the usual case, are compared as a whole: that is quick.
    different = ours != theirs and sum(ours.get(token) != theirs.get(token) for token in ours.keys() | theirs.keys())
    yield exact("ids", ROWS.filled(count=len(theirs)), witness.name, int(different))
    if rules := witness.vocabulary.rules:
        yield exact("ids", RULES.filled(count=len(rules)), witness.name, _differing(_rules(tokenizer), rules))


def compare_steps(tokenizer: Any, built: Any) -> Comparison:
    """How many steps of tokenizer.json differ from the steps that the family's tokenizer has on this vocabulary.

    Texts show most changes of a step. They cannot show a rule for two characters that no text has side by side.

    Args:
        built: the tokenizer that the source's format makes of the vocabulary.
    """
    ours, due = _steps(tokenizer), _steps(built)
    different = sum(ours[name] != due[name] for name in due)
    return exact("ids", STEPS.filled(count=len(due)), FAMILY_TOKENIZER, different)


def _steps(tokenizer: Any) -> dict[str, Any]:
    found = json.loads(tokenizer.backend_tokenizer.to_str())
    model = {name: value for name, value in found["model"].items() if name not in ("vocab", "merges")}
    return {"model": model, **{name: found[name] for name in TOKENIZER_STEPS}}


def _reachable(rows: Mapping[str, int]) -> dict[str, int]:
    return {token: number for token, number in rows.items() if token.removeprefix("##").strip()}


def _rules(tokenizer: Any) -> list[tuple]:
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    if model["type"] == "Unigram":
        return [tuple(each) for each in model["vocab"]]
    return [tuple(each.split(" ")) if isinstance(each, str) else tuple(each) for each in model.get("merges", ())]


def _differing(ours: Sequence[tuple], theirs: Sequence[tuple]) -> int:
    """The number of entries in another place, plus the extra entries of one side."""
    return sum(a != b for a, b in zip_longest(ours, map(tuple, theirs)))
