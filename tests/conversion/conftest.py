"""Small checkpoints of every family, converted once a session."""

from functools import cache, partial
from pathlib import Path

import pytest

from hf_zhclip.conversion import convert

from tests.checkpoints import FAMILIES
from tests.checkpoints.common import Original
from tests.conversion.helpers import Repo, save_time, verify_here
from tests.sharing import made_once


@pytest.fixture
def fresh_process():
    """Asks for the verification as users get it, in a process of its own."""


@pytest.fixture
def written_card():
    """Asks for the card as users get it."""


@pytest.fixture(autouse=True)
def in_this_process(request, monkeypatch):
    if "written_card" in request.fixturenames:
        verify_here(monkeypatch)
    elif "fresh_process" not in request.fixturenames:
        save_time(monkeypatch)


@pytest.fixture(scope="session")
def original(tmp_path_factory):
    """Gives a family's small checkpoint by the family's name."""

    @cache
    def make(family: str) -> Original:
        return FAMILIES[family](tmp_path_factory.mktemp(family))

    return make


@pytest.fixture(scope="session")
def repo(tmp_path_factory, worker_id):
    """Gives a family's converted checkpoint by the family's name; to be copied before it is changed.

    The first of the workers that needs a family converts it for all.
    """

    @cache
    def make(family: str) -> Repo:
        return made_once(tmp_path_factory, worker_id, f"{family}-converted", partial(converted, family))[1]

    def converted(family: str, folder: Path) -> Repo:
        (folder / "original").mkdir()
        found = FAMILIES[family](folder / "original")
        with pytest.MonkeyPatch.context() as patch:
            verify_here(patch)
            return Repo(folder / family, convert(found.source, folder / family, **found.arguments), found)

    return make
