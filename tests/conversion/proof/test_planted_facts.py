"""Each fact that a conversion states, planted wrong: the proof notices it, with the original's package and without."""

import dataclasses
import typing

import pytest

from hf_zhclip.configuration_zhclip import TEXT_TOWERS, VISION_TOWERS, Projection
from hf_zhclip.conversion import pipeline
from hf_zhclip.conversion.layouts import hf_config
from hf_zhclip.conversion.source import TextAlone, Tower, Whole
from hf_zhclip.image_processing_zhclip import IMAGE_ORDERS

from tests import facts
from tests.conversion.proof.planting import MADE, WITNESSES, outcome, prepared, share, share_witness, without_packages
from tests.thorough import in_turns

ROWS = [row for family in MADE for row in facts.rows(family, prepared(family).description)]
ASKED = [row for row in ROWS if row.caught_by not in (facts.SHAPE, facts.TRAINING)]
"""Those for which the original may be asked: the rest is refused before, or states what acts in training alone."""


def of(environment):
    return [family for family, where in WITNESSES.items() if where == environment]


def asked_of(environment):
    return [row for row in ASKED if row.family in of(environment)]


@pytest.fixture
def plant(monkeypatch):
    """Gives what stops the conversion of a family whose description has something planted in it."""

    def make(family, level, change):
        made = prepared(family)
        if level == "reference":
            without_packages(monkeypatch)
        share(monkeypatch, made)
        share_witness(monkeypatch, family, level)
        monkeypatch.setattr(pipeline, "describe", lambda parts: change(made.description))
        return outcome(made.original)

    return make


def check(row, level, plant):
    found = plant(row.family, level, row.plant)

    assert found.step in row.caught_by, found
    assert found.level in (None, level)


@pytest.mark.quick(40)
@pytest.mark.parametrize("row", in_turns(ROWS, facts.Row.planted), ids=str)
def test_a_planted_fact_is_caught_without_the_original(row, plant):
    check(row, "reference", plant)


@pytest.mark.quick(9)
@pytest.mark.parametrize("row", in_turns(asked_of("transformers"), facts.Row.planted), ids=str)
def test_a_planted_fact_is_caught_by_the_original_in_transformers(row, plant):
    check(row, "peer", plant)


@pytest.mark.parity
@pytest.mark.parametrize("row", in_turns(asked_of("parity"), facts.Row.planted), ids=str)
def test_a_planted_fact_is_caught_by_the_original_package(row, plant):
    check(row, "peer", plant)


# The harness, and the tables that the rows come from


def unplanted(family, level, plant):
    found = plant(family, level, lambda description: description)

    assert (found.step, found.level) == (None, level), found


@pytest.mark.quick(7)
@pytest.mark.parametrize("family", MADE)
def test_what_is_right_passes_without_the_original(family, plant):
    unplanted(family, "reference", plant)


@pytest.mark.quick(2)
@pytest.mark.parametrize("family", of("transformers"))
def test_what_is_right_passes_by_the_original_in_transformers(family, plant):
    unplanted(family, "peer", plant)


@pytest.mark.parity
@pytest.mark.parametrize("family", of("parity"))
def test_what_is_right_passes_by_the_original_package(family, plant):
    unplanted(family, "peer", plant)


@pytest.mark.parametrize("family", MADE)
def test_every_field_of_a_tower_has_another_value_in_the_tables(family):
    assert facts.unknown(prepared(family).description) == []


@pytest.mark.parametrize("family", MADE)
def test_every_field_has_a_row(family):
    description = prepared(family).description
    wanted = {("whole", name) for name in facts.DESCRIPTION_FIELDS}
    for side, tower in facts.towers(description):
        wanted |= {(side, name) for name in facts.TOWER_FIELDS} | {(f"{side}.config", name) for name in tower.config}
    if isinstance(description, TextAlone):
        wanted -= {(place, name) for place, name in wanted if name in facts.OF_A_PAIR and "." not in place}

    wanted -= {("whole", field) for name, field in facts.WITHOUT_EFFECT if name == family}

    assert wanted <= {(row.place, row.field) for row in ROWS if row.family == family}


def test_every_field_of_a_description_is_planted_or_said_to_reach_no_config():
    assert {each.name for each in dataclasses.fields(Tower)} == {"config", *facts.TOWER_FIELDS}
    assert {each.name for each in dataclasses.fields(Whole)} == {
        *facts.STEPS,
        *facts.DESCRIPTION_FIELDS,
        *facts.NOT_IN_CONFIG,
    }


def test_every_value_that_a_field_may_have_is_in_the_tables():
    offered = {**{kind: found[0] for kind, found in TEXT_TOWERS.items()}, **VISION_TOWERS}

    assert facts.OTHER_TOWERS.keys() == offered.keys()
    assert {kind for kind, poolings in offered.items() if set(poolings) - set(facts.POOLINGS[kind])} == set()
    assert set(facts.ORDERS) == set(IMAGE_ORDERS)
    assert set(facts.ACTIVATIONS) == set(hf_config.ACTIVATIONS)
    assert set(facts.PROJECTIONS) == set(typing.get_args(Projection))


def test_every_family_is_in_the_table_of_witnesses():
    assert WITNESSES.keys() == MADE.keys()
