"""A corpus: what was written is read, a shard at a time; what a stranger changed is refused."""

import json
import os

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from hf_zhclip.errors import InputError
from hf_zhclip.inference import corpus, embedder
from hf_zhclip.inference.corpus import MANIFEST, Corpus, Failure, is_weights, read_manifest

from tests.inference.corpora import write_corpus

PATHS = [f"猫/{number}.png" for number in range(10)]


def vectors(count=10, seed=0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, 3)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def folder(tmp_path):
    write_corpus(tmp_path / "OUT", vectors(), PATHS, texts=(vectors(5, 1), list("一只猫和狗")))
    return tmp_path / "OUT"


def test_a_corpus_gives_its_rows_in_blocks_of_shards_in_the_order_of_the_items(folder):
    found = Corpus.open(folder)
    assert (len(found), found.dim) == (10, 3)
    blocks = list(found.blocks())
    assert [len(each) for each in blocks] == [4, 4, 2]
    assert np.array_equal(np.concatenate(blocks), vectors())
    assert list(found.ids) == list(found.paths) == PATHS
    assert found.paths[-1] == PATHS[9] and found.ids[3:5] == PATHS[3:5]


def test_the_texts_are_a_side_of_their_own(folder):
    found = Corpus.open(folder, "text")
    assert np.array_equal(np.concatenate(list(found.blocks())), vectors(5, 1))
    assert list(found.labels) == list("一只猫和狗")
    assert list(found.ids) == [0, 1, 2, 3, 4]  # a number is the same id as its digits


def test_an_item_that_failed_has_no_row_and_stands_in_the_manifest(tmp_path):
    lost = [Failure("b.png", "b.png", "cut off"), Failure(7, "", "cut off")]
    write_corpus(tmp_path / "OUT", vectors(4), PATHS[:4], failed=lost, shard_size=4)
    found = Corpus.open(tmp_path / "OUT")
    assert len(found) == 4 and [len(each) for each in found.blocks()] == [4, 0]
    assert found.manifest.sides["image"].failed == tuple(lost)
    assert list(found.ids) == PATHS[:4]


def test_a_corpus_without_items_is_read(tmp_path):
    write_corpus(tmp_path / "OUT", vectors(0), [])
    assert list(Corpus.open(tmp_path / "OUT").blocks()) == []


def test_rows_are_not_copied_and_cannot_be_changed(folder):
    (rows, *_) = Corpus.open(folder).blocks()
    with pytest.raises(ValueError, match="read-only"):
        rows[0] = 0


def test_a_shard_is_a_plain_safetensors_file(folder):
    found = load_file(folder / "image-000002.safetensors")
    assert {name: (each.dtype.name, each.shape) for name, each in found.items()} == {
        "rows": ("float32", (2, 3)),
        "ids": ("uint8", (18,)),
        "ids_ends": ("int64", (3,)),
        "paths": ("uint8", (18,)),
        "paths_ends": ("int64", (3,)),
    }
    assert bytes(found["ids"]).decode() == "".join(PATHS[8:]) and list(found["ids_ends"]) == [0, 9, 18]


def test_the_same_corpus_has_the_same_bytes(folder, tmp_path):
    write_corpus(tmp_path / "again", vectors(), PATHS, texts=(vectors(5, 1), list("一只猫和狗")))
    for file in folder.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


# What a stranger changed


def refused(folder, *words, side="image"):
    with pytest.raises(InputError) as error:
        found = Corpus.open(folder, side)
        list(found.blocks()), list(found.ids)
    for word in words:
        assert word in str(error.value)


def edited(folder, change) -> None:
    found = json.loads((folder / MANIFEST).read_text("utf-8"))
    change(found)
    (folder / MANIFEST).write_text(json.dumps(found), "utf-8")


def test_what_is_no_corpus_is_refused(tmp_path):
    refused(tmp_path / "missing", "does not exist", "zhclip embed REPO INPUT OUT")
    refused(tmp_path, "holds no corpus", MANIFEST)
    (tmp_path / MANIFEST).write_text("{}")
    refused(tmp_path / MANIFEST, "is no folder", "zhclip embed REPO INPUT OUT")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: found.pop("dim"), ["found no dim"]),
        (lambda found: found.update(dim=0), ["states dim 0"]),
        (lambda found: found.update(dim=4), ["another corpus"]),
        (lambda found: found.update(format_version=2), ["format version 2", "Update"]),
        (lambda found: found.update(complete="yes"), ["complete 'yes'"]),
        (lambda found: found.update(shard_size=0), ["states shard_size 0"]),
        (lambda found: found.update(engine="bogus"), ["states the engine 'bogus'"]),
        (lambda found: found.update(shard_size=5), ["does not list the shards"]),
        (lambda found: found["sides"].pop("image"), ["has no pictures"]),
        (lambda found: found["sides"].update(sound=found["sides"]["text"]), ["the side 'sound'"]),
        (lambda found: found["sides"]["image"].update(items=11), ["10 rows for 11 items"]),
        (lambda found: found["sides"]["image"].update(items=10**18), ["states 1000000000000000000 items"]),
        (lambda found: found["sides"]["image"].update(items=-1), ["states -1 items"]),
        (
            lambda found: found["sides"]["image"].update(items=10**18) or found.update(complete=False),
            ["states 1000000000000000000 items"],
        ),
        (lambda found: found["sides"]["image"]["shards"][0].update(rows=5), ["11 rows for 10 items"]),
        (lambda found: found["sides"]["image"]["shards"][0].update(file="../a"), ["does not list the shards"]),
        (lambda found: found["sides"]["image"]["shards"][0].update(bytes=7), ["and 7 were written"]),
        (lambda found: found["sides"]["image"].update(failed=[1]), ["failed of image"]),
        (lambda found: found["model"].update(files={"a": 1}), ["a hash that is no text"]),
        (lambda found: found["model"].update(files={"model.safetensors": "2"}), ["another corpus"]),
        (lambda found: found["input"].pop("root"), ["found no root"]),
        (lambda found: found.update(complete=False), ["is not complete", "its 5 shards are there", "Run the `zhclip"]),
    ],
)
def test_a_manifest_that_was_changed_is_refused(folder, change, words):
    edited(folder, change)
    refused(folder, *words)


def test_a_side_that_was_not_asked_for_is_refused_with_the_way_to_it(tmp_path):
    write_corpus(tmp_path / "OUT", vectors(), PATHS)
    refused(tmp_path / "OUT", "holds the vectors of image", "Embed the texts, too", side="text")


def changed_tensors(folder, name="image-000001.safetensors", **tensors) -> None:
    from safetensors import safe_open

    with safe_open(folder / name, "np") as file:
        told = file.metadata()
    found = load_file(folder / name) | tensors
    save_file({name: each for name, each in found.items() if each is not None}, folder / name, told)
    size = (folder / name).stat().st_size
    edited(folder, lambda found: found["sides"]["image"]["shards"][1].update(bytes=size))


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"rows": np.zeros((4, 3), np.float16)}, ["the dtypes"]),
        ({"rows": np.zeros((4, 2), np.float32)}, ["the shape (4, 2)"]),
        ({"rows": np.zeros(12, np.float32)}, ["the shape (12,)"]),
        ({"rows": np.zeros((3, 3), np.float32)}, ["its ids do not fit its 3 rows"]),
        ({"ids_ends": np.array([0, 9, 18, 27, 37])}, ["its ids do not fit its 4 rows"]),
        ({"ids_ends": np.array([0, 18, 9, 27, 36])}, ["its ids do not fit its 4 rows"]),
        ({"ids_ends": np.array([1, 9, 18, 27, 36])}, ["its ids do not fit its 4 rows"]),
        ({"ids_ends": np.array([0, 10, 18, 27, 36])}, ["inside of a character"]),
        ({"paths": np.full(36, 255, np.uint8)}, ["its paths are no UTF-8"]),
        ({"ids": None}, ["it holds"]),
        ({"more": np.zeros(1)}, ["it holds"]),
    ],
)
def test_a_shard_that_was_changed_is_refused(folder, tensors, words):
    changed_tensors(folder, **tensors)
    refused(folder, "image-000001.safetensors is no shard of a corpus", *words)


def test_a_shard_that_is_missing_or_cut_off_or_another_file_is_refused(folder):
    shard = folder / "image-000001.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    refused(folder, "is cut off or was changed", "Copy it again")
    shard.write_bytes(b"x" * len(whole))
    refused(folder, "is no shard of a corpus")
    shard.unlink()
    refused(folder, "image-000001.safetensors is missing")
    os.mkdir(shard)
    refused(folder, "image-000001.safetensors is no file", "Remove it")


@pytest.mark.parametrize("factor", [1.0011, 0.9989, 0, -100, 1e30, np.nan, np.inf])
def test_a_row_that_has_not_the_length_1_is_refused_with_its_file(factor, folder):
    rows = vectors()[4:8]
    rows[3] *= np.float32(factor)
    changed_tensors(folder, rows=rows)
    refused(folder, "image-000001.safetensors is no shard", "its row 3, counted from 0,", "Remove the file")


@pytest.mark.parametrize("factor", [1.0009, 0.9991, -1])
def test_a_row_of_length_1_but_for_rounding_is_taken(factor, folder):
    changed_tensors(folder, rows=vectors()[4:8] * np.float32(factor))
    assert len(np.concatenate(list(Corpus.open(folder).blocks()))) == 10


def test_a_shard_in_the_place_of_another_is_refused(folder):
    other = (folder / "image-000000.safetensors").read_bytes()
    (folder / "image-000001.safetensors").write_bytes(other)
    size = len(other)
    edited(folder, lambda found: found["sides"]["image"]["shards"][1].update(bytes=size))
    refused(folder, "another corpus, or was renamed")


def test_the_weights_are_the_files_that_hold_numbers(tmp_path):
    files = {"model.safetensors": "1", "config.json": "2", "vocab.txt": "3", "text_model.onnx": "4"}
    write_corpus(tmp_path, vectors(2), PATHS[:2], files=files)
    found = read_manifest(tmp_path).model["files"]
    assert found == files and set(filter(is_weights, found)) == {"model.safetensors", "text_model.onnx"}


def test_the_engines_of_a_manifest_are_those_of_the_embedder():
    assert set(corpus.ENGINES) == set(embedder.ENGINES)
