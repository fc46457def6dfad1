"""Folders to publish, a hub on this machine, and repos to be changed."""

import shutil

import pytest

from hf_zhclip.conversion.publishing import card_file, rendering

from tests.conversion.publishing.pushing import FILES, HEADER, STAMP, TOKENS, repo_of
from tests.loopback_hub import connect, serve


@pytest.fixture
def copy(repo, tmp_path):
    """Gives a copy of a family's repo, to be changed."""

    def make(family="cn_clip_vit"):
        return shutil.copytree(repo(family).path, tmp_path / family)

    return make


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with serve(tmp_path / "server", TOKENS) as hub:
        hub.waits = connect(monkeypatch, hub, "hf_writer", tmp_path)
        yield hub


@pytest.fixture
def stand_in_cards(request, monkeypatch):
    """Cards of two lines, so that these tests are about publishing alone."""

    def render(folder, *, repo, unverified=None):
        return f"{HEADER}{STAMP}load {repo}; unverified: {unverified and unverified.en}\n"

    if "real_cards" not in request.fixturenames:
        monkeypatch.setattr(rendering, "render", render)
        monkeypatch.setattr(card_file, "is_generated", lambda text: STAMP in text)


@pytest.fixture
def real_cards():
    """Asks for the cards as users get them."""


@pytest.fixture
def out(tmp_path):
    return repo_of(tmp_path / "OUT", FILES)


@pytest.fixture(autouse=True)
def every_card_is_written(written_card):
    """Asks in all tests of this room for the cards as users get them."""
