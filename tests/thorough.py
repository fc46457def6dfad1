"""What of a full product runs in `make test`: a share of each row and column; `make test-thorough` runs the rest.

A product is, for example, every family by every fact that is planted wrong. Each fact and each family stays in
`make test`, so that a change that breaks one of them is noticed there.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import pytest

SHARES = pytest.mark.parametrize("share", ["a third", pytest.param("the rest", marks=pytest.mark.thorough)])
"""For tests that go through a family's cases in a loop, of which `cases` gives a share."""


def in_turns(rows: Iterable[Any], kind: Callable[[Any], Hashable]) -> list[Any]:
    """All rows, in their order, as parameters of a test; of each kind all but one are `thorough`.

    Which one is not goes on by one place from kind to kind, so that the families take turns.
    """
    rows = list(rows)
    kinds: dict[Hashable, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        kinds[kind(row)].append(place)
    kept = {places[turn % len(places)] for turn, places in enumerate(kinds.values())}
    return [row if place in kept else thorough(row) for place, row in enumerate(rows)]


def every_third(rows: Iterable[Any]) -> list[Any]:
    """All rows, in their order, as parameters of a test; all but every third are `thorough`."""
    return [row if place % 3 == 0 else thorough(row) for place, row in enumerate(rows)]


def thorough(row: Any) -> Any:
    """A row, or a tuple of several values, as a parameter of a test that is `thorough`."""
    return pytest.param(*(row if isinstance(row, tuple) else (row,)), marks=pytest.mark.thorough)


def cases(found: Sequence[Any], turn: int, share: str) -> list[Any]:
    """Every third of the cases from `turn` on, or the rest of them."""
    return [case for place, case in enumerate(found) if ((place + turn) % 3 == 0) == (share == "a third")]
