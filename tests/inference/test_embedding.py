"""`embed`: a repo and data -> a corpus, beside the Embedder on the same items; what must not be mixed is refused."""

import dataclasses
import inspect
import json
import os
import re
import shutil
import subprocess
import sys

import datasets
import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image, features

import zhclip_cli
from hf_zhclip.data import prepare, read
from hf_zhclip.errors import InputError, WorkError
from hf_zhclip.inference import Corpus, Embedder, embed, embedding
from hf_zhclip.inference.corpus import MANIFEST, is_weights, read_manifest, read_shard, write_shard
from hf_zhclip.ranks import ranks
from zhclip_cli import embed as embed_command
from zhclip_cli import search as search_command

from tests.data.made import picture, tsv, write
from tests.inference.exported import export, small_repo
from tests.inference.test_embedder import made
from tests.loopback_hub import connect, serve

COLOURS = ("red", "blue", "green", "yellow", "white", "black", "pink")
NAMES = ["0001.png", "0002.jpg", "b/0001.png", "猫/0001妙蛙种子.png", "猫/IMG_7.webp", "z.bmp", "雪.gif"]
"""Names in the order of a folder: files of a folder stand before those of the folders in it."""

BROKEN = picture()[:40]

NOT_TAKEN = "4 other files or folders in {} are not taken: .csv (2), .txt (1), hidden (1)."
"""What is told of the fixture's folder."""


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    small = made()
    folder = tmp_path_factory.mktemp("embedding") / "repo"
    small.model.float().save_pretrained(folder)
    small.processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def small(repo):
    return Embedder.from_pretrained(repo, batch_size=2)


@pytest.fixture
def pictures(tmp_path):
    """A folder of pictures that bear no text, some in sub-folders, beside files that are none."""
    formats = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".bmp": "BMP", ".gif": "GIF"}
    found = {
        name: picture(colour, formats[os.path.splitext(name)[1]]) for name, colour in zip(NAMES, COLOURS, strict=True)
    }
    other = {".hidden.png": b"x", "notes.csv": b"a,b\n", "more.csv": b"c\n", "readme.txt": b"x"}
    return write(tmp_path / "pictures", **found, **other)


def embedded(repo, place, out, **changes):
    return embed(repo, place, out, **{"batch_size": 2, "shard_size": 3, **changes})


def rows(out, side="image") -> np.ndarray:
    return np.concatenate([*Corpus.open(out, side).blocks(), np.empty((0, 16), np.float32)])


def shards(out) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in sorted(out.iterdir()) if each.name != MANIFEST}


def weights(manifest) -> dict[str, str]:
    return {name: each for name, each in manifest.model["files"].items() if is_weights(name)}


def refused(*words, **arguments):
    with pytest.raises(InputError) as error:
        embedded(**arguments)
    for word in words:
        assert word in str(error.value)
    return str(error.value)


# Every kind of data


def test_a_folder_of_pictures_is_embedded_whatever_their_names(repo, small, pictures, tmp_path):
    found = embedded(repo, pictures, tmp_path / "OUT")

    names = ["0001.png", "0002.jpg", "z.bmp", "雪.gif", "b/0001.png", "猫/0001妙蛙种子.png", "猫/IMG_7.webp"]
    corpus = Corpus.open(tmp_path / "OUT")
    assert list(corpus.ids) == list(corpus.paths) == names
    assert (found.items, found.rows, found.written, found.failed) == ({"image": 7}, {"image": 7}, 3, ())
    for number, block in enumerate(corpus.blocks()):
        wanted = small.encode_images([pictures / name for name in names[3 * number : 3 * number + 3]])
        assert np.array_equal(block, wanted)


TYPES = {"1.tif": "TIFF", "2.TIFF": "TIFF", "3.jfif": "JPEG", "4.ppm": "PPM", "5.tga": "TGA", "6.pcx": "PCX"}


def test_a_folder_of_pictures_of_any_type_that_pillow_reads_is_embedded(repo, small, tmp_path):
    types = TYPES | {"7.jp2": "JPEG2000"} if features.check("jpg_2000") else TYPES
    types = types | {"8.avif": "AVIF"} if ".avif" in Image.registered_extensions() else types
    found = {name: picture(colour, each) for (name, each), colour in zip(types.items(), 2 * COLOURS, strict=False)}
    place = write(tmp_path / "pictures", **found)

    embedded(repo, place, tmp_path / "OUT")

    assert list(Corpus.open(tmp_path / "OUT").paths) == list(types)
    assert np.abs(rows(tmp_path / "OUT") - small.encode_images([place / name for name in types])).max() < 1e-5


def test_files_that_are_no_pictures_are_told_by_their_extensions_in_one_line(repo, pictures, tmp_path):
    write(pictures, **{"b/x.ps": b"%!PS\n", "b/x.pdf": b"x", "b/README": b"x", ".cache/1.png": picture()})
    (pictures / "link").symlink_to(pictures / "b")
    told = []
    embedded(repo, pictures, tmp_path / "OUT", tell=told.append)
    kinds = ".csv (2), hidden (2), .pdf (1), .ps (1), .txt (1), links to folders (1), no extension (1)."
    assert told == [f"9 other files or folders in {pictures} are not taken: {kinds}"]


def test_a_folder_without_pictures_is_told_what_it_holds(repo, tmp_path):
    place = write(tmp_path / "in", **{"a.csv": b"file_name,text\n", "1.heic": b"x", "2.HEIC": b"x"})
    kinds = ".heic (2), .csv (1)."
    refused("holds no pictures", f"are not taken: {kinds}", repo=repo, place=place, out=tmp_path / "OUT")
    place = write(tmp_path / "other", **{"1.heic": b"x"})
    told = ".jpg, .png, .webp", "`zhclip embed` takes pictures of any names"
    refused("holds data of no format", *told, repo=repo, place=place, out=tmp_path / "OUT")


def captions(folder):
    lines = [{"file_name": f"{number}.png", "text": f"红色{number}", "image_id": 10 - number} for number in range(5)]
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    write(folder, **{f"{n}.png": picture(COLOURS[n]) for n in range(5)}, **{"captions.jsonl": content})
    return folder / "captions.jsonl"


def taiyi(folder):
    write(folder, **{"a.jpg": picture("red", "JPEG"), "b.jpg": picture("blue", "JPEG")})
    return write(folder, **{"caps.txt": "a#0\t红\nb#0\t蓝\n".encode()}) / "caps.txt"


DATA = {
    "tsv": (tsv, [""] * 2),
    "lmdb": (lambda folder: _prepared(folder, "lmdb") / "valid", [""] * 2),
    "datasets": (lambda folder: _prepared(folder, "parquet"), [""] * 2),
    "captions": (captions, [f"{number}.png" for number in range(5)]),
    "taiyi": (taiyi, ["a.jpg", "b.jpg"]),
    "folder": (
        lambda folder: write(folder, **{"1红.png": picture(), "2蓝.png": picture("blue")}),
        ["1红.png", "2蓝.png"],
    ),
}
"""By format, what makes data, and the paths of their pictures."""


def _prepared(folder, to):
    prepare(tsv(folder / "tsv"), folder / to, to=to)
    return folder / to


@pytest.mark.parametrize("format", DATA)
def test_data_of_every_format_are_embedded_with_their_texts(format, repo, small, tmp_path):
    make, paths = DATA[format]
    place = make(tmp_path / "data")

    embedded(repo, place, tmp_path / "OUT", texts=True, batch_size=8, shard_size=8)

    data = read(place)
    images, texts = Corpus.open(tmp_path / "OUT"), Corpus.open(tmp_path / "OUT", "text")
    assert images.manifest.input["format"] == format
    assert list(images.ids) == list(data.image_ids) and list(images.paths) == paths
    wanted = small.encode_images([each for _, each in data.pictures])
    assert np.abs(rows(tmp_path / "OUT") - wanted).max() < 1e-5  # of other batches
    assert list(texts.ids) == [text.id for text in data.texts]
    assert list(texts.labels) == [text.text for text in data.texts]
    wanted = small.encode_texts([text.text for text in data.texts])
    assert np.abs(rows(tmp_path / "OUT", "text") - wanted).max() < 1e-5


@pytest.mark.parametrize("format", DATA)
def test_without_texts_the_same_pictures_are_embedded(format, repo, tmp_path):
    place = DATA[format][0](tmp_path / "data")
    embedded(repo, place, tmp_path / "both", texts=True)
    embedded(repo, place, tmp_path / "pictures")
    both, pictures = Corpus.open(tmp_path / "both"), Corpus.open(tmp_path / "pictures")
    assert np.array_equal(rows(tmp_path / "both"), rows(tmp_path / "pictures"))
    assert list(both.paths) == list(pictures.paths)
    assert list(pictures.ids) == list(both.paths if format == "folder" else both.ids)


def test_pictures_without_texts_are_embedded_from_a_tsv_and_from_a_data_set(repo, tmp_path):
    place = tsv(tmp_path / "data")
    (place / "valid_texts.jsonl").unlink()
    embedded(repo, place, tmp_path / "tsv")
    assert list(Corpus.open(tmp_path / "tsv").ids) == [7, 12]

    made_of = {"image": [{"bytes": picture(each), "path": None} for each in ("red", "blue")], "size": [1, 2]}
    features = datasets.Features({"image": datasets.Image(), "size": datasets.Value("int64")})
    datasets.Dataset.from_dict(made_of, features=features).save_to_disk(tmp_path / "set")
    embedded(repo, tmp_path / "set", tmp_path / "of_set")
    assert list(Corpus.open(tmp_path / "of_set").ids) == [0, 1]
    assert np.array_equal(rows(tmp_path / "tsv"), rows(tmp_path / "of_set"))


def test_pictures_that_are_missing_beside_their_texts_are_asked_for(repo, tmp_path):
    place = tsv(tmp_path / "data")
    pictures = (place / "valid_imgs.tsv").rename(tmp_path / "kept")
    refused("valid_imgs.tsv is missing", "Add the file", repo=repo, place=place, out=tmp_path / "OUT")
    pictures.rename(place / "valid_imgs.tsv")
    embedded(repo, place, tmp_path / "OUT")


def test_a_data_set_of_two_columns_of_pictures_is_refused(repo, tmp_path):
    one = [{"bytes": picture(), "path": None}]
    features = datasets.Features({"image": datasets.Image(), "mask": datasets.Image()})
    datasets.Dataset.from_dict({"image": one, "mask": one}, features=features).save_to_disk(tmp_path / "set")
    refused("pictures in 2 of them", repo=repo, place=tmp_path / "set", out=tmp_path / "OUT")


def test_a_split_is_named_where_data_hold_several_and_a_folder_of_pictures_is_taken_whole(repo, tmp_path):
    for split in ("train", "valid"):
        tsv(tmp_path / "tsv", split)
        write(tmp_path / "folder" / split, **{"1.png": picture()})

    refused("train, valid", "split", repo=repo, place=tmp_path / "tsv", out=tmp_path / "OUT")
    embedded(repo, tmp_path / "tsv", tmp_path / "OUT", split="valid")
    embedded(repo, tmp_path / "folder", tmp_path / "whole")
    embedded(repo, tmp_path / "folder", tmp_path / "part", split="valid")

    assert list(Corpus.open(tmp_path / "whole").paths) == ["train/1.png", "valid/1.png"]
    part = Corpus.open(tmp_path / "part")
    assert list(part.paths) == ["valid/1.png"] and part.manifest.input["split"] == "valid"


def test_paths_are_relative_to_the_folder_of_the_pictures_where_captions_lie_elsewhere(repo, tmp_path):
    place = captions(tmp_path / "data").rename(tmp_path / "captions.jsonl")
    embedded(repo, place, tmp_path / "OUT", pictures=tmp_path / "data")
    found = Corpus.open(tmp_path / "OUT")
    assert found.manifest.input["root"] == str(tmp_path / "data") and found.paths[1] == "1.png"
    assert list(found.ids) == [10, 9, 8, 7, 6]


def test_an_export_is_an_engine_of_its_own(tmp_path):
    exported = export(tmp_path / "export", small_repo())
    write(tmp_path / "pictures", **{"1.png": picture("white"), "2.png": picture("gray")})
    words = {"repo": exported, "place": tmp_path / "pictures", "out": tmp_path / "OUT", "engine": "onnx"}
    refused("found --dtype float32 for --engine onnx", "Leave --dtype out", **words, dtype="float32")
    refused("found --device cuda for --engine onnx", "Leave --device out", **words, device="cuda")
    embedded(**words)
    assert np.abs(rows(tmp_path / "OUT")[0] - 0.25).max() < 1e-6  # 16 equal numbers of length 1
    found = read_manifest(tmp_path / "OUT")
    assert found.engine == "onnx" and weights(found).keys() == {"text_model.onnx", "vision_model.onnx"}


def test_a_repo_on_the_hub_is_noted_with_its_commit(repo, small, pictures, tmp_path, monkeypatch):
    with serve(tmp_path / "hub", {}) as hub:
        connect(monkeypatch, hub, None, tmp_path / "home")
        commit = hub.add("user/small", {each.name: each.read_bytes() for each in repo.iterdir()})
        embedded("user/small", pictures, tmp_path / "OUT")
    found = read_manifest(tmp_path / "OUT")
    assert (found.model["repo"], found.model["revision"]) == ("user/small", commit)
    embedded(repo, pictures, tmp_path / "other")
    assert found.model["files"] == read_manifest(tmp_path / "other").model["files"]


def test_a_repo_s_dtype_and_hashes_are_noted(repo, pictures, tmp_path):
    embedded(repo, pictures, tmp_path / "OUT", dtype="bfloat16")
    found = read_manifest(tmp_path / "OUT")
    wanted = subprocess.run(["sha256sum", repo / "model.safetensors"], capture_output=True, text=True).stdout.split()
    assert (found.dtype, found.dim) == ("bfloat16", 16)
    assert weights(found) == {"model.safetensors": wanted[0]}
    assert {"config.json", "processor_config.json", "tokenizer.json"} <= set(found.model["files"])
    assert np.abs(np.linalg.norm(rows(tmp_path / "OUT"), axis=1) - 1).max() < 1e-6


# Broken pictures


def test_a_broken_picture_is_noted_with_its_reason_and_has_no_row(repo, small, pictures, tmp_path):
    write(pictures, **{"0002.jpg": BROKEN, "ps.png": b"%!PS\n"})
    (pictures / "gone.png").symlink_to(pictures / "nowhere")
    (pictures / "loop.png").symlink_to("loop.png")
    told = []

    found = embedded(repo, pictures, tmp_path / "OUT", tell=told.append)

    wanted = ["0002.jpg", "gone.png", "loop.png", "ps.png"]
    assert [each.path for each in found.failed] == [each.id for each in found.failed] == wanted
    assert "0002.jpg" in found.failed[0].why and "PostScript" in found.failed[3].why
    assert told == [NOT_TAKEN.format(pictures), *(f"Left out: {each.why}" for each in found.failed)]
    assert read_manifest(tmp_path / "OUT").sides["image"].failed == found.failed
    left = list(Corpus.open(tmp_path / "OUT").paths)
    assert len(left) == 6 and not set(left) & set(wanted)
    assert np.abs(rows(tmp_path / "OUT") - small.encode_images([pictures / each for each in left])).max() < 1e-5


def test_a_line_break_in_a_broken_picture_s_name_begins_no_line_of_the_result(repo, pictures, tmp_path):
    write(pictures, **{"a\nzhclip: done.png": BROKEN})
    assert "\n" not in embedded(repo, pictures, tmp_path / "OUT").text()


def test_a_strict_run_ends_at_a_broken_picture_and_goes_on_without_the_option(repo, pictures, tmp_path):
    """Walks both sentences of the message."""
    write(pictures, **{"z.bmp": BROKEN})
    words = {"repo": repo, "place": pictures, "out": tmp_path / "OUT", "shard_size": 2}
    refused("z.bmp", "the same command goes on", "Without --strict", **words, strict=True)
    assert list(shards(tmp_path / "OUT")) == ["image-000000.safetensors"]
    assert embedded(**words).written == 3


def test_a_corpus_of_broken_pictures_alone_is_complete_and_is_told_as_an_error(repo, tmp_path):
    write(tmp_path / "pictures", **{"1.png": BROKEN})
    words = {"repo": repo, "place": tmp_path / "pictures", "out": tmp_path / "OUT"}
    for _ in range(2):
        refused("holds no picture. 1 failed, the first because: found", "1.png", "remove image-000000", **words)
    assert len(Corpus.open(tmp_path / "OUT")) == 0


def test_a_picture_that_was_away_for_a_time_is_embedded_when_its_shard_is_removed_as_the_result_says(
    repo, pictures, tmp_path
):
    """Walks the result's sentence, and that of `--strict` on a corpus with failures."""
    words = {"repo": repo, "place": pictures, "out": tmp_path / "OUT"}
    embedded(repo, pictures, tmp_path / "whole")
    content = embedding.Listing.picture

    def away(self, number):
        if number in (0, 5):
            raise InputError(f"picture {number} was away.")
        return content(self, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedding.Listing, "picture", away)
        first = embedded(**words)
    again = embedded(**words)
    assert first.failing == again.failing == ("image-000000.safetensors", "image-000001.safetensors")
    for found in (first, again):
        assert found.text().endswith(
            f" 2 failed, the first because: picture 0 was away. To try again, remove {', '.join(found.failing)} from "
            f"{tmp_path / 'OUT'}, and run the same command."
        )
    refused("2 failed", "picture 0 was away", "Without --strict", **words, strict=True)
    embedded(**words)
    for name in again.failing:
        (tmp_path / "OUT" / name).unlink()
    found = embedded(**words, strict=True)
    assert (found.written, found.failed, found.failing) == (2, (), ()) and "failed" not in found.text()
    assert shards(tmp_path / "OUT") == shards(tmp_path / "whole")


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no text are of Linux")
def test_a_name_that_is_no_utf_8_is_noted_as_other_pictures_that_cannot_be_read(repo, pictures, tmp_path):
    with open(os.fsencode(pictures) + b"/" + "红.png".encode("gbk"), "wb") as file:
        file.write(picture())
    told = []

    found = embedded(repo, pictures, tmp_path / "OUT", tell=told.append)

    assert found.rows == {"image": 7}
    assert [each.path for each in found.failed] == ["\\udcba\\udcec.png"]
    assert "is no UTF-8" in found.failed[0].why and "unzip -O GB18030" in found.failed[0].why
    assert told[1:] == [f"Left out: {found.failed[0].why}"]
    assert embedded(repo, pictures, tmp_path / "OUT").failed == found.failed
    refused("is no UTF-8", repo=repo, place=pictures, out=tmp_path / "strict", strict=True)


# Several processes, one after the other here


def as_rank(monkeypatch, rank, size):
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(size))


@pytest.mark.parametrize("size", [2, 5])
def test_ranks_share_the_work_and_the_last_one_completes_the_corpus(size, repo, pictures, tmp_path, monkeypatch):
    write(pictures, **{"0002.jpg": BROKEN})
    embedded(repo, pictures, tmp_path / "alone")
    for rank in reversed(range(size)):
        as_rank(monkeypatch, rank, size)
        found = embedded(repo, pictures, tmp_path / "OUT")
        assert found.written == len(range(rank, 3, size))
        assert found.told_here == (rank == 0)
        assert bool(found.missing) == (rank > 0)
        if rank:
            with pytest.raises(InputError, match="is not complete: it holds . of 3 shards"):
                Corpus.open(tmp_path / "OUT")
    assert shards(tmp_path / "OUT") == shards(tmp_path / "alone")
    assert (tmp_path / "OUT" / MANIFEST).read_bytes() == (tmp_path / "alone" / MANIFEST).read_bytes()


def test_mpi_s_variables_count_too(repo, pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "1")
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    assert embedded(repo, pictures, tmp_path / "OUT").written == 1


@pytest.mark.parametrize(
    ("rank", "size", "says"), [(2, 2, "rank 2 of 2"), (-1, 1, "rank -1 of 1"), ("x", 1, "RANK='x'")]
)
def test_variables_that_do_not_fit_together_are_refused(rank, size, says, repo, pictures, tmp_path, monkeypatch):
    as_rank(monkeypatch, rank, size)
    refused(says, repo=repo, place=pictures, out=tmp_path / "OUT")


def test_a_second_run_of_a_living_rank_is_refused_and_harms_nothing(repo, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(embedding, "WAIT", 0.05)
    out = tmp_path / "OUT"
    out.mkdir()
    (out / ".rank-0.aa.tmp").write_bytes(b"half")
    with FileLock(out / ".rank-0.lock"):
        refused("Another run is writing", "rank 0", repo=repo, place=pictures, out=out)
    assert (out / ".rank-0.aa.tmp").exists()
    embedded(repo, pictures, out)
    assert not [each for each in os.listdir(out) if each.startswith(".")]


def test_a_second_run_of_a_living_rank_is_refused_before_the_model_is_loaded(repo, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(embedding, "WAIT", 0.05)
    monkeypatch.setattr(embedding, "located", None)
    (tmp_path / "OUT").mkdir()
    with FileLock(tmp_path / "OUT" / ".rank-0.lock"):
        refused("Another run is writing", "rank 0", repo=repo, place=pictures, out=tmp_path / "OUT")


def test_what_killed_ranks_left_is_removed_but_what_living_ranks_write_is_not(repo, pictures, tmp_path):
    out = tmp_path / "OUT"
    out.mkdir()
    for rank in range(3):
        (out / f".rank-{rank}.aa.tmp").write_bytes(b"half")
    with FileLock(out / ".rank-2.lock"):
        embedded(repo, pictures, out)
        assert [each for each in os.listdir(out) if each.endswith(".tmp")] == [".rank-2.aa.tmp"]


def test_a_file_system_without_locks_is_no_obstacle(repo, pictures, tmp_path, monkeypatch):
    def acquire(*_, **__):
        raise NotImplementedError("FileSystem does not appear to support flock")

    out = tmp_path / "OUT"
    out.mkdir()
    (out / ".rank-0.aa.tmp").write_bytes(b"it may be written at this moment")
    monkeypatch.setattr(FileLock, "acquire", acquire)
    assert embedded(repo, pictures, out).written == 3
    assert (out / ".rank-0.aa.tmp").exists()


def test_each_rank_takes_a_cuda_device_of_its_machine(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert ranks().device() is None  # the Embedder takes the only device that it needs
    as_rank(monkeypatch, 5, 8)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert ranks().device() == "cuda:1"


# Going on


def test_a_complete_corpus_stays_as_it_is_and_a_shard_that_is_removed_is_made_again(repo, pictures, tmp_path):
    out = tmp_path / "OUT"
    embedded(repo, pictures, out)
    before = shards(out) | {MANIFEST: (out / MANIFEST).read_bytes()}
    again = embedded(repo, pictures, out)
    assert (again.written, again.missing, again.told_here) == (0, 0, True)
    (out / "image-000001.safetensors").unlink()
    again = embedded(repo, pictures, out)
    assert (again.written, again.missing, again.told_here) == (1, 0, True)
    assert shards(out) | {MANIFEST: (out / MANIFEST).read_bytes()} == before


def test_a_picture_that_could_not_be_read_for_a_time_is_read_when_its_shard_is_made_again(
    repo, pictures, tmp_path, monkeypatch
):
    out = tmp_path / "OUT"
    embedded(repo, pictures, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr("hf_zhclip.data.captioned.Files.content", lambda *_: (_ for _ in ()).throw(OSError(5, "I/O")))
        refused("holds no picture. 7 failed", repo=repo, place=pictures, out=out)
    for name in shards(out):
        (out / name).unlink()
    assert embedded(repo, pictures, out).failed == ()
    assert shards(out) == shards(tmp_path / "whole")


def test_a_corpus_that_moved_goes_on_with_data_that_moved(repo, pictures, tmp_path):
    embedded(repo, pictures, tmp_path / "OUT")
    shutil.move(pictures, tmp_path / "elsewhere")
    shutil.copytree(repo, tmp_path / "copied")
    (tmp_path / "OUT").rename(tmp_path / "moved")
    (tmp_path / "moved" / "image-000002.safetensors").unlink()
    assert embedded(tmp_path / "copied", tmp_path / "elsewhere", tmp_path / "moved").written == 1
    assert len(Corpus.open(tmp_path / "moved")) == 7


@pytest.mark.parametrize("name", ["image-000000.safetensors", "image-000001.safetensors"])
def test_a_shard_of_another_corpus_is_named_and_made_again_after_it_is_removed(name, repo, pictures, tmp_path):
    embedded(repo, pictures, tmp_path / "other", dtype="bfloat16")
    embedded(repo, pictures, tmp_path / "OUT")
    shutil.copy(tmp_path / "other" / name, tmp_path / "OUT" / name)
    refused("belongs to another corpus", "Remove the file", repo=repo, place=pictures, out=tmp_path / "OUT")
    (tmp_path / "OUT" / name).unlink()
    assert embedded(repo, pictures, tmp_path / "OUT").written == 1


@pytest.mark.parametrize("factor", [1.17, 0.5, 0, -100, np.nan])
def test_a_shard_whose_rows_have_another_length_is_named_and_made_again_after_it_is_removed(
    factor, repo, pictures, tmp_path
):
    out, name = tmp_path / "OUT", "image-000001.safetensors"
    embedded(repo, pictures, out)
    before = shards(out)
    key = read_manifest(out).key
    shard = read_shard(out / name, key, "image", 1, 16)
    changed = np.array(shard.rows)
    changed[2] *= factor
    write_shard(tmp_path / "other", dataclasses.replace(shard, rows=changed), key, "image", 1)
    (tmp_path / "other").replace(out / name)
    said = refused(name, "its row 2, counted from 0, has not the length 1", repo=repo, place=pictures, out=out)
    assert "Remove the file. Run the `zhclip embed`" in said
    with pytest.raises(InputError, match="its row 2"):
        list(Corpus.open(out).blocks())
    (out / name).unlink()
    assert embedded(repo, pictures, out).written == 1
    assert shards(out) == before


def test_a_folder_in_the_place_of_a_shard_is_named_before_the_work_and_its_removal_is_the_way_out(
    repo, pictures, tmp_path
):
    out = tmp_path / "OUT"
    embedded(repo, pictures, out)
    (out / "image-000000.safetensors").unlink()
    (out / "image-000001.safetensors").unlink()
    (out / "image-000001.safetensors").mkdir()
    refused("image-000001.safetensors is no file", "Remove it. Run", repo=repo, place=pictures, out=out)
    assert not (out / "image-000000.safetensors").exists()
    (out / "image-000001.safetensors").rmdir()
    assert embedded(repo, pictures, out).written == 2


# What must not be mixed


def add(pictures):
    write(pictures, **{"new.png": picture()})


def rename(pictures):
    (pictures / "z.bmp").rename(pictures / "y.bmp")


def replace(pictures):
    write(pictures, **{"z.bmp": picture("yellow", "BMP", size=(90, 9))})


def touch(pictures):
    os.utime(pictures / "z.bmp", (1, 1))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (add, "it had 7 pictures, and has 8"),
        (rename, "as many items, but their names"),
        (replace, "as many items, but their names"),
        (touch, "as many items, but their names"),
    ],
)
def test_data_that_changed_are_refused_and_go_into_another_folder(change, says, repo, pictures, tmp_path):
    """Walks `Choose another OUT`, and shows that nothing is lost."""
    out = tmp_path / "OUT"
    embedded(repo, pictures, out)
    before = shards(out)
    change(pictures)
    refused("has changed since", says, "Choose another OUT", repo=repo, place=pictures, out=out)
    assert shards(out) == before and len(Corpus.open(out)) == 7
    embedded(repo, pictures, tmp_path / "another")


def test_a_copy_of_the_pictures_is_taken_if_it_keeps_the_times(repo, pictures, tmp_path):
    out = tmp_path / "OUT"
    for each in pictures.rglob("*"):
        os.utime(each, (1_000_000_000, 1_000_000_000))
    embedded(repo, pictures, out)
    (out / "image-000001.safetensors").unlink()
    shutil.copytree(pictures, tmp_path / "cp", copy_function=shutil.copyfile)
    refused("as many items", "cp -a", repo=repo, place=tmp_path / "cp", out=out)
    subprocess.run(["cp", "-a", pictures, tmp_path / "cp -a"], check=True)
    assert embedded(repo, tmp_path / "cp -a", out).written == 1


def test_changed_tsv_and_changed_texts_are_refused(repo, tmp_path):
    place = tsv(tmp_path / "data")
    embedded(repo, place, tmp_path / "OUT")
    embedded(repo, place, tmp_path / "texts", texts=True)
    texts = place / "valid_texts.jsonl"
    texts.write_text(texts.read_text("utf-8").replace("一只红猫", "一只黑猫"), "utf-8")
    embedded(repo, place, tmp_path / "OUT")  # its pictures are the same
    refused("has changed since", repo=repo, place=place, out=tmp_path / "texts", texts=True)
    file = place / "valid_imgs.tsv"
    file.write_bytes(file.read_bytes() + b"\n")
    refused("has changed since", repo=repo, place=place, out=tmp_path / "OUT")


def test_another_model_is_refused(repo, pictures, tmp_path):
    embedded(repo, pictures, tmp_path / "OUT")
    other = made()
    other.model.visual_projection.weight.data.mul_(-1)
    other.model.float().save_pretrained(tmp_path / "other")
    other.processor.save_pretrained(tmp_path / "other")
    words = ("vectors of another model: model.safetensors of", "Choose another OUT")
    refused(*words, repo=tmp_path / "other", place=pictures, out=tmp_path / "OUT")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dtype": "bfloat16"}, "was begun with --dtype float32; found bfloat16. Give --dtype float32 again"),
        ({"batch_size": 4}, "was begun with --batch-size 2; found 4. Give --batch-size 2 again"),
        ({"shard_size": 4}, "was begun with --shard-size 3; found 4. Give --shard-size 3 again"),
        ({"texts": True}, "was begun without --texts, and is asked for with --texts. Give the same words again"),
    ],
)
def test_other_arguments_are_refused_and_the_same_go_on(changes, says, repo, tmp_path):
    place = DATA["folder"][0](tmp_path / "data")
    embedded(repo, place, tmp_path / "OUT")
    refused(says, repo=repo, place=place, out=tmp_path / "OUT", **changes)
    embedded(repo, place, tmp_path / "OUT")
    embedded(repo, place, tmp_path / "another", **changes)


def test_a_text_side_that_was_not_asked_for_is_embedded_into_a_new_folder(repo, tmp_path):
    place = DATA["folder"][0](tmp_path / "data")
    embedded(repo, place, tmp_path / "OUT")
    with pytest.raises(InputError, match="Embed the texts, too, into a new folder"):
        Corpus.open(tmp_path / "OUT", "text")
    embedded(repo, place, tmp_path / "new", texts=True)
    assert len(Corpus.open(tmp_path / "new", "text")) == 2


def test_what_is_no_corpus_is_refused_and_becomes_a_corpus_by_the_command_of_the_message(
    repo, pictures, tmp_path, capsys
):
    with pytest.raises(InputError) as error:
        Corpus.open(tmp_path / "OUT")
    words = re.search("`zhclip ([^`]+)`", str(error.value))[1].split()
    places = {"REPO": repo, "INPUT": pictures, "OUT": tmp_path / "OUT"}
    assert zhclip_cli.main([str(places.get(word, word)) for word in words]) == 0
    assert len(Corpus.open(tmp_path / "OUT")) == 7


# Other wrong input


def test_an_id_twice_is_refused(repo, tmp_path):
    line = "7\t" + "QUJD"
    place = tsv(tmp_path / "data", pictures=[line, line], texts=[{"text_id": 1, "text": "猫", "image_ids": [7]}])
    refused("1 image ids stand more than once: 7", repo=repo, place=place, out=tmp_path / "OUT")
    assert not (tmp_path / "OUT").exists()


def test_places_that_cannot_be_written_are_refused_before_the_model_is_loaded(repo, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(embedding, "Embedder", None)
    words = {"repo": repo, "place": pictures}
    refused("lies in", "Choose a place outside", **words, out=pictures / "OUT")
    refused("OUT is INPUT", "Choose another place", **words, out=pictures)
    write(tmp_path / "other", **{".hidden.png": b"x"})
    refused("holds other files, such as .hidden.png", f"no {MANIFEST}", **words, out=tmp_path / "other")
    refused("is no folder", **words, out=pictures / "z.bmp")
    refused("is no folder", **words, out=pictures / "z.bmp" / "OUT")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"batch_size": 0}, "found --batch-size 0; 1 or more was wanted"),
        ({"shard_size": 0}, "found --shard-size 0; 1 or more was wanted"),
        ({"threads": 0}, "found --threads 0; 1 or more was wanted"),
        ({"engine": "tensorrt"}, "found --engine tensorrt; wanted one of torch,"),
        ({"dtype": "int8"}, "found --dtype int8; wanted one of auto, float32, float16, bfloat16, float64."),
        ({"device": "gpu"}, "found --device gpu, which this machine does not have"),
        ({"repo": "nothing"}, "nothing does not exist; a folder that `zhclip convert SOURCE OUT` made"),
        ({"place": "nothing"}, "nothing does not exist, and is no name on the hub"),
        ({"split": "test"}, "holds no split test"),
        ({"format": "tsv"}, "holds no data of this format"),
    ],
)
def test_wrong_arguments_are_refused_and_leave_nothing(changes, says, repo, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(says, **{"repo": repo, "place": pictures, "out": tmp_path / "OUT", **changes})
    assert not (tmp_path / "OUT").exists()
    embedded(repo, pictures, tmp_path / "OUT", engine="torch", device="cpu")  # the ways out


def test_a_repo_that_is_missing_is_told_before_the_pictures_are_listed(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(embedding, "listed", None)
    refused("nothing does not exist", repo="nothing", place=pictures, out=tmp_path / "OUT")
    refused("found an empty text as repo", repo="", place=pictures, out=tmp_path / "OUT")


def test_a_full_disk_is_told_in_words_and_the_run_goes_on_later(repo, pictures, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("hf_zhclip.inference.corpus.os.fsync", lambda _: full())
        with pytest.raises(WorkError, match=r"could not be written: No space. Nothing was written."):
            embedded(repo, pictures, tmp_path / "OUT")
    assert os.listdir(tmp_path / "OUT") == []
    left = iter(range(2))
    with monkeypatch.context() as patch:
        patch.setattr("hf_zhclip.inference.corpus.os.fsync", lambda _: next(left, None) is None and full())
        with pytest.raises(WorkError, match=r"could not be written: No space. What is written stays: the same comm"):
            embedded(repo, pictures, tmp_path / "OUT")
    assert list(shards(tmp_path / "OUT")) == ["image-000000.safetensors"]
    assert embedded(repo, pictures, tmp_path / "OUT").written == 2


def full():
    raise OSError(28, "No space")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is of Linux")
def test_a_folder_that_cannot_be_made_is_told_as_such(repo, pictures):
    with pytest.raises(WorkError, match=r"^/proc/x cannot be made: No such file or directory. Choose another place.$"):
        embedded(repo, pictures, "/proc/x")


# The command


def run(capsys, *words):
    code = zhclip_cli.main(["embed", *map(str, words)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_command_prints_one_line_or_json_and_tells_what_was_left_out(repo, pictures, tmp_path, capsys):
    write(pictures, **{"z.bmp": BROKEN})
    code, text, said = run(capsys, repo, pictures, tmp_path / "OUT", "--batch-size", 2, "--shard-size", 4)
    told, left_out = said.splitlines()
    assert told == NOT_TAKEN.format(pictures)
    assert left_out.startswith("Left out: found z.bmp, which holds no picture")
    why = left_out.removeprefix("Left out: ").rstrip(".")
    assert (code, text) == (
        0,
        f"{tmp_path / 'OUT'}: 6 of 7 pictures are embedded. New shards: 2. 1 failed, the first because: {why}. To try "
        f"again, remove image-000000.safetensors from {tmp_path / 'OUT'}, and run the same command.\n",
    )
    code, text, _ = run(capsys, repo, pictures, tmp_path / "OUT", "--batch-size", 2, "--shard-size", 4, "--json")
    found = json.loads(text)
    assert (code, found["items"], found["rows"], found["missing"]) == (0, {"image": 7}, {"image": 6}, 0)
    assert [each["path"] for each in found["failed"]] == ["z.bmp"]


@pytest.mark.parametrize(
    "words",
    [
        ("nothing", "pictures", "OUT"),
        ("repo", "nothing", "OUT"),
        ("repo", "pictures/nothing", "OUT"),
        ("repo", "pictures", "OUT", "--batch-size", 0),
        ("repo", "pictures", "OUT", "--shard-size", -1),
        ("repo", "pictures", "OUT", "--threads", 0),
        ("repo", "pictures", "OUT", "--engine", "tensorrt"),
        ("repo", "pictures", "OUT", "--dtype", "int8"),
    ],
)
def test_wrong_words_are_told_before_anything_heavy_is_imported_and_as_the_function_tells_them(
    words, repo, pictures, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "repo").symlink_to(repo)
    with monkeypatch.context() as patch:
        patch.setattr("zhclip_cli.embed.run", None)
        code, text, said = run(capsys, *words)
    assert (code, text) == (2, "")
    with monkeypatch.context() as patch:
        patch.setattr("zhclip_cli.embed.refusal", lambda options: None)
        assert run(capsys, *words)[2].startswith(said.split(". ")[0].rstrip(".\n"))
    assert os.listdir(tmp_path).count("OUT") == 0


def test_the_command_knows_the_names_that_it_does_not_import():
    assert embed_command.DTYPES == embedding.DTYPES
    assert embed_command.ENGINES == tuple(embedding.ENGINES)
    assert search_command.MANIFEST == MANIFEST


@pytest.mark.parametrize("place", ["user/name", "data/valid", "data/va"])
def test_a_name_on_the_hub_and_the_beginning_of_names_are_no_missing_places(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tsv(tmp_path / "data")
    options = {"repo": "user/repo", "input": place, "engine": "torch", "dtype": "auto"}
    said = embed_command.refusal(options | dict.fromkeys(embed_command.COUNTS))
    assert (said is None) == (place != "data/va")


def test_places_with_what_a_message_hides_are_left_to_the_errors(pictures, capsys, tmp_path):
    for repo in ("\u202enone", "https://user:secret@hub.test/a/b"):
        code, _, said = run(capsys, repo, pictures, tmp_path / "OUT")
        assert code == 2 and "does not exist" in said and "secret" not in said and "\u202e" not in said


def test_a_rank_that_is_not_the_last_prints_no_result(repo, pictures, tmp_path, capsys, monkeypatch):
    as_rank(monkeypatch, 1, 2)
    code, text, said = run(capsys, repo, pictures, tmp_path / "OUT", "--shard-size", 4, "--json")
    assert (code, text) == (0, "")
    assert said.endswith("rank 1 of 2 has written its share; 1 shards of other ranks are missing.\n")


def test_an_interrupt_says_that_the_same_command_goes_on(repo, pictures, tmp_path, capsys, monkeypatch):
    words = (repo, pictures, tmp_path / "OUT", "--shard-size", 3)
    write_shard = embedding.write_shard

    def interrupted(path, *given):
        write_shard(path, *given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(embedding, "write_shard", interrupted)
        code, _, said = run(capsys, *words)
    assert code == 1 and "the same command goes on from there" in said
    assert os.listdir(tmp_path / "OUT") == [MANIFEST]
    assert run(capsys, *words)[0] == 0


def test_an_interrupt_before_the_first_file_says_that_nothing_was_written(
    repo, pictures, tmp_path, capsys, monkeypatch
):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(embedding, "listed", interrupted)
    code, _, said = run(capsys, repo, pictures, tmp_path / "OUT")
    assert code == 1 and "Nothing was written." in said and "stays" not in said
    assert not (tmp_path / "OUT").exists()


def test_every_option_of_the_command_is_an_argument_of_the_function(monkeypatch, capsys):
    given = {"engine": "onnx", "device": "cpu", "dtype": "float16", "split": "s", "format": "f", "pictures": "p"}
    numbers = {"batch_size": 3, "threads": 2, "shard_size": 5}
    seen = {}

    def stand_in(**options):
        seen.update(options)
        raise InputError("seen")

    parameters = inspect.signature(embed).parameters.keys()
    monkeypatch.setattr(embedding, "embed", stand_in)
    monkeypatch.setattr("zhclip_cli.embed.refusal", lambda options: None)
    words = [f"--{name.replace('_', '-')}={value}" for name, value in (given | numbers).items()]
    assert run(capsys, "r", "i", "o", *words, "--texts", "--strict") == (2, "", "zhclip: seen\n")
    assert seen.keys() == parameters
    del seen["tell"]
    assert seen == given | numbers | {"repo": "r", "input": "i", "out": "o", "texts": True, "strict": True}
