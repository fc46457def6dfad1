"""Each fact that a conversion states, planted wrong: the proof notices it, with the original's package and without."""

import pytest

from hf_zhclip.conversion import pipeline

from tests import facts
from tests.conversion.planting import MADE, WITNESSES, outcome, prepared, share, share_witness, without_packages

ROWS = [row for family in MADE for row in facts.rows(family, prepared(family).description)]
ASKED = [row for row in ROWS if row.caught_by != facts.SHAPE]
"""Those that a witness may have to be asked for; the rest is refused before there is one."""


def of(environment):
    return [family for family, where in WITNESSES.items() if where == environment]


@pytest.fixture
def plant(monkeypatch, tmp_path):
    """Gives what stops the conversion of a family whose description has something planted in it."""

    def make(family, level, change):
        made = prepared(family)
        if level == "reference":
            without_packages(monkeypatch)
        share(monkeypatch, made)
        share_witness(monkeypatch, family, level)
        monkeypatch.setattr(pipeline, "describe", lambda parts: change(made.description))
        return outcome(made.original, tmp_path / "OUT")

    return make


def check(row, level, plant):
    found = plant(row.family, level, row.plant)

    assert found.step in row.caught_by, found
    assert found.level in (None, level)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_planted_fact_is_caught_without_the_original(row, plant):
    check(row, "reference", plant)


@pytest.mark.parametrize("row", [row for row in ASKED if row.family in of("transformers")], ids=str)
def test_a_planted_fact_is_caught_by_the_original_in_transformers(row, plant):
    check(row, "peer", plant)


@pytest.mark.parity
@pytest.mark.parametrize("row", [row for row in ASKED if row.family in of("parity")], ids=str)
def test_a_planted_fact_is_caught_by_the_original_package(row, plant):
    check(row, "peer", plant)


# The tables of facts


def unplanted(family, level, plant):
    found = plant(family, level, lambda description: description)

    assert (found.step, found.level) == (None, level), found


@pytest.mark.parametrize("family", MADE)
def test_what_is_right_passes_without_the_original(family, plant):
    unplanted(family, "reference", plant)


@pytest.mark.parametrize("family", of("transformers"))
def test_what_is_right_passes_by_the_original_in_transformers(family, plant):
    unplanted(family, "peer", plant)


@pytest.mark.parity
@pytest.mark.parametrize("family", of("parity"))
def test_what_is_right_passes_by_the_original_package(family, plant):
    unplanted(family, "peer", plant)
