"""A csv gives what Chinese-CLIP's dataset_transform.py makes of it, but for three differences that are named here."""

import base64
import json

import pytest

from hf_zhclip.data import prepare, read

from tests.data.made import write
from tests.newcomer import ROOT

RECORDED = json.loads((ROOT / "tests/parity/recorded/dataset_transform.json").read_text(encoding="utf-8"))
ORIGINALS = {name: base64.b64decode(content) for name, content in RECORDED["pictures"].items()}


@pytest.fixture
def theirs(tmp_path):
    """The texts and pictures of its train and valid together, by the file's name."""
    write(tmp_path / "theirs", **{name: text.encode() for name, text in RECORDED["written"].items()})
    splits = [read(tmp_path / "theirs", name) for name in ("train", "valid")]
    texts = {text.image_ids: text for split in splits for text in split.texts}
    pictures = {each: split.pictures.content(row) for split in splits for row, each in enumerate(split.image_ids)}
    return texts, pictures, splits


@pytest.fixture
def ours(tmp_path):
    write(tmp_path / "in", **ORIGINALS)
    (tmp_path / "in" / "ImageWordData.csv").write_text(RECORDED["csv"], encoding="utf-8")
    return tmp_path / "in"


def test_texts_and_pictures_belong_together_as_there(theirs, ours):
    texts, pictures, _ = theirs
    found = read(ours)

    assert {text.image_ids: text.text for text in found.texts} == {ids: text.text for ids, text in texts.items()}
    assert set(found.image_ids) == set(pictures) == set(ORIGINALS)


def test_the_bytes_of_a_picture_stay_where_it_encodes_jpegs_again(theirs, ours):
    _, pictures, _ = theirs
    found = read(ours)

    assert {each: found.pictures.content(row) for row, each in enumerate(found.image_ids)} == ORIGINALS
    assert {name for name in ORIGINALS if pictures[name] != ORIGINALS[name]} >= {"a.jpg", "c.jpg", "e.jpg"}


def test_ids_are_whole_numbers_where_it_writes_file_names_that_cn_clips_scorer_refuses(theirs, ours, tmp_path):
    texts, _, _ = theirs
    assert {text.id for text in texts.values()} == set(ORIGINALS)

    prepare(ours, tmp_path / "OUT", to="tsv")

    found = read(tmp_path / "OUT")
    assert sorted(text.id for text in found.texts) == sorted(found.image_ids) == [0, 1, 2, 3, 4]


def test_the_shares_are_the_same_and_the_choice_is_another(theirs, ours, tmp_path):
    _, _, splits = theirs

    found = prepare(ours, tmp_path / "OUT", to="tsv", split=0.8)

    assert [each.pictures for each in found.splits.values()] == [len(split.pictures) for split in splits] == [4, 1]
