"""Paths that no system opens: a link to itself, a name that is too long."""

import os
import shlex

import pytest

import zhclip_cli
from hf_zhclip.paths import folders_in, resolved

from tests.conversion.helpers import entries
from tests.data.made import tsv
from tests.fuzzing.seeds import of_repo

pytestmark = pytest.mark.skipif(os.name != "posix", reason="links")

LOOP, LONG = "loop", "x" * 300

COMMANDS = (
    *("inspect BAD", "convert BAD OUT", "convert ORIGINAL BAD", "verify BAD", "card BAD", "push BAD user/name"),
    *(
        "export BAD OUT --to onnx",
        "export REPO BAD --to transformers",
        "data BAD OUT --to tsv",
        "data DATA BAD --to tsv",
    ),
    *("evaluate BAD DATA", "evaluate REPO BAD", "evaluate REPO DATA --out BAD", "search BAD x"),
    *("embed BAD DATA OUT", "embed REPO BAD OUT", "embed REPO DATA BAD"),
    *("train BAD DATA OUT --recipe full", "train REPO BAD OUT --recipe full", "train REPO DATA BAD --recipe full"),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    of_repo(folder)
    (folder / "repo").rename(folder / "REPO")
    tsv(folder / "DATA", "train")
    (folder / "ORIGINAL").write_bytes(b"x")
    (folder / LOOP).symlink_to(LOOP)
    return folder


@pytest.mark.parametrize("bad", [LOOP, LONG], ids=["a_link_to_itself", "a_long_name"])
@pytest.mark.parametrize("words", COMMANDS)
def test_a_path_that_no_system_opens_ends_with_2_in_a_line(words, bad, place, monkeypatch, capfd):
    monkeypatch.chdir(place)
    before = entries(place)

    code = zhclip_cli.main(shlex.split(words.replace("BAD", bad)))

    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("zhclip: ")]
    assert code == 2 and len(said) == 1 and "Errno" not in said[0], said
    assert entries(place) == before


def test_a_path_under_a_link_to_itself_stays_as_it_is(place):
    assert resolved(place / LOOP / "x") == resolved(place) / LOOP / "x"


def test_folders_are_listed_beside_links_that_lead_nowhere(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("folder")
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    assert sorted(folders_in(tmp_path)) == ["folder", "link"]
