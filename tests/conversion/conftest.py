"""Small checkpoints of every family, converted once a session."""

import pickle
from functools import cache

import pytest
from filelock import FileLock

from hf_zhclip.conversion import convert

from tests.checkpoints import FAMILIES
from tests.checkpoints.common import Original
from tests.conversion.helpers import Repo, save_time, verify_here


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
        # Not in a worker's own folder, which goes with the worker while others still run.
        kept = shared / f"{family}.pickle"
        with FileLock(kept.with_suffix(".lock")):
            if not kept.exists():
                kept.write_bytes(pickle.dumps(converted(family)))
        return pickle.loads(kept.read_bytes())

    def converted(family: str) -> Repo:
        folder = shared / family
        folder.mkdir()
        found, out = FAMILIES[family](folder), folder / "OUT"
        with pytest.MonkeyPatch.context() as patch:
            verify_here(patch)
            return Repo(out, convert(found.source, out, **found.arguments), found)

    base = tmp_path_factory.getbasetemp()
    shared = (base if worker_id == "master" else base.parent) / "converted"
    shared.mkdir(exist_ok=True)
    return make
