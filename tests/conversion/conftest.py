"""Small checkpoints of every family, converted once a session."""

from functools import cache

import pytest

from hf_zhclip.conversion import convert

from tests.checkpoints import FAMILIES
from tests.checkpoints.common import Original
from tests.conversion.helpers import Repo, save_time


@pytest.fixture
def fresh_process():
    """Asks for the verification as users get it, in a process of its own."""


@pytest.fixture(autouse=True)
def in_this_process(request, monkeypatch):
    if "fresh_process" not in request.fixturenames:
        save_time(monkeypatch)


@pytest.fixture(scope="session")
def original(tmp_path_factory):
    """Gives a family's small checkpoint by the family's name."""

    @cache
    def make(family: str) -> Original:
        return FAMILIES[family](tmp_path_factory.mktemp(family))

    return make


@pytest.fixture(scope="session")
def repo(original, tmp_path_factory):
    """Gives a family's converted checkpoint by the family's name; to be copied before it is changed."""

    @cache
    def make(family: str) -> Repo:
        found = original(family)
        out = tmp_path_factory.mktemp("converted") / family
        with pytest.MonkeyPatch.context() as patch:
            save_time(patch)
            return Repo(out, convert(found.source, out, **found.arguments), found)

    return make
