"""What of many cases runs in `make test`: a share of each test; `make test-thorough` runs the rest.

A full product is, for example, every family by every fact that is planted wrong. Of a product a share of each row and
column runs in `make test` (`in_turns`, `every_third`, `cases`). Of a test whose cases all show the same check on other
inputs, the test's mark says how many run there: `@pytest.mark.quick(3)`.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any
from zlib import crc32

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


ELSEWHERE = ("thorough", "parity", "slow", "hub", "releases")
"""Marks of what `make test` does not run."""


def leave_to_thorough(items: Iterable[pytest.Item]) -> None:
    """Marks as thorough what the marks `quick` leave: of a test's cases they say how many run in `make test`."""
    found: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker("quick") and not any(map(item.get_closest_marker, ELSEWHERE)):
            found[item.nodeid.partition("[")[0]].append(item)
    for name, rows in found.items():
        (count,) = rows[0].get_closest_marker("quick").args
        kept = spread(len(rows), count, turn=crc32(name.encode()))
        for place, row in enumerate(rows):
            if place not in kept:
                row.add_marker("thorough")


def spread(rows: int, count: int, turn: int) -> set[int]:
    """The places of `count` of the rows, at equal distances; which is the first differs from test to test.

    The tests that hold for every family thus keep different families.
    """
    kept = min(count, rows)
    return {(turn + place * rows // kept) % rows for place in range(kept)}
