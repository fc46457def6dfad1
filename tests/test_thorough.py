"""Of a test's cases `make test` runs as many as its mark says."""

from itertools import product

import pytest

from tests.thorough import leave_to_thorough, spread


@pytest.mark.parametrize("turn", [0, 1, 4_000_000_000])
def test_so_many_cases_are_kept_and_they_lie_evenly(turn):
    for rows, count in product(range(1, 40), range(1, 40)):
        kept = sorted(spread(rows, count, turn))

        assert len(kept) == min(rows, count) and set(kept) <= set(range(rows))
        gaps = {after - before for before, after in zip(kept, [*kept[1:], kept[0] + rows], strict=True)}
        assert max(gaps) - min(gaps) <= 1


class Item:
    """A case of a test, as pytest collects it."""

    def __init__(self, nodeid, **marks):
        self.nodeid, self.marks = (
            nodeid,
            {name: getattr(pytest.mark, name)(*given).mark for name, given in marks.items()},
        )

    def get_closest_marker(self, name):
        return self.marks.get(name)

    def add_marker(self, name):
        self.marks[name] = None


def test_only_the_cases_that_make_test_would_run_are_counted():
    of_parity = [Item(f"test_a.py::test_x[{number}]", quick=(2,), parity=()) for number in range(5)]
    cases = [Item(f"test_a.py::test_x[{number}]", quick=(2,)) for number in range(5, 12)]
    unmarked = [Item(f"test_a.py::test_y[{number}]") for number in range(3)]

    leave_to_thorough([*of_parity, *cases, *unmarked])

    assert sum("thorough" not in item.marks for item in cases) == 2
    assert not any("thorough" in item.marks for item in [*of_parity, *unmarked])
