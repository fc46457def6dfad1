"""`prepare` and `zhclip data`: what is written, what is left out, and that nothing is left behind."""

import base64
import json
import os
import re
import shutil
import sys

import datasets
import lmdb
import pytest

import zhclip_cli
from hf_zhclip.data import FORMATS, WRITERS, Text, prepare, preparing, read
from hf_zhclip.data.writers import lmdb_folder, parquet_files
from hf_zhclip.errors import InputError, WorkError

from tests.conversion.helpers import contents, entries
from tests.data.made import colours, picture, tsv, write


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def refused(*words, **arguments):
    with pytest.raises(InputError) as error:
        prepare(**arguments)
    for word in words:
        assert word in str(error.value)


# What is written


def test_tsv_becomes_the_same_tsv(tmp_path):
    for split in ("train", "valid"):
        tsv(tmp_path / "in", split)

    found = prepare(tmp_path / "in", tmp_path / "OUT", to="tsv")

    assert list(found.splits) == ["train", "valid"]
    before, after = contents(tmp_path / "in"), contents(tmp_path / "OUT")
    assert after.pop("zhclip_data.json")
    assert after == before


@pytest.mark.parametrize("to", WRITERS)
def test_what_is_written_is_read_again_with_the_same_bytes_of_pictures(to, tmp_path):
    before = read(tsv(tmp_path / "in"))
    prepare(tmp_path / "in", tmp_path / "OUT", to=to)

    after = read(tmp_path / "OUT")

    assert after.name == "valid"
    assert after.texts == before.texts
    numbers = {each: number for number, each in enumerate(after.image_ids)}
    for number, each in enumerate(before.image_ids):
        assert after.pictures.content(numbers[each]) == before.pictures.content(number)


def test_parquet_loads_with_the_package_datasets(tmp_path):
    for split in ("train", "valid"):
        tsv(tmp_path / "in", split)
    prepare(tmp_path / "in", tmp_path / "OUT", to="parquet")

    found = datasets.load_dataset(str(tmp_path / "OUT"), cache_dir=str(tmp_path / "cache"))

    assert set(found) == {"train", "valid"}
    assert {name: type(kind).__name__ for name, kind in found["valid"].features.items()}["image"] == "Image"
    rows = [(row["text_id"], row["text"], row["image_id"], row["image"].getpixel((0, 0))) for row in found["valid"]]
    red, blue = (255, 0, 0), (0, 0, 255)
    assert rows == [
        (3, "一只红猫", 7, red),
        (1, "两种颜色", 12, blue),
        (1, "两种颜色", 7, red),
        (2, "蓝\t\n色", 12, blue),
    ]


def test_a_split_gets_a_name_that_the_package_datasets_takes(tmp_path):
    tsv(tmp_path / "in", "my-val 1")
    prepare(tmp_path / "in", tmp_path / "OUT", to="parquet")
    assert read(tmp_path / "OUT").name == "my_val_1"

    tsv(tmp_path / "in", "my_val 1")
    refused("my-val 1, my_val 1", "--only", input=tmp_path / "in", out=tmp_path / "other", to="parquet")


def test_large_data_fill_several_transactions_and_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(lmdb_folder, "FIRST_MAP", 2**16)
    monkeypatch.setattr(lmdb_folder, "AT_ONCE", 2**15)
    monkeypatch.setattr(parquet_files, "GROUP", 2**15)
    pictures = [f"{number}\t{encoded(picture(format='BMP', size=(60, 60)))}" for number in range(30)]  # 10 kB each
    texts = [{"text_id": number, "text": f"第{number}", "image_ids": [number]} for number in range(30)]
    before = read(tsv(tmp_path / "in", pictures=pictures, texts=texts))

    for to in ("lmdb", "parquet"):
        prepare(tmp_path / "in", tmp_path / to, to=to)
        after = read(tmp_path / to)
        assert after.texts == before.texts
        assert sorted(after.image_ids) == list(range(30))
        assert {after.pictures.content(number) for number in range(30)} == {before.pictures.content(0)}
    # A map of 1 TiB would be a file of 1 TiB on some systems.
    assert (tmp_path / "lmdb" / "valid" / "imgs" / "data.mdb").stat().st_size < 2**20


def test_ids_that_are_no_numbers_are_numbered_and_listed(tmp_path):
    write(tmp_path / "in", **{"小火龙.png": picture("red"), "b/皮卡丘.PNG": picture("blue")})

    prepare(tmp_path / "in", tmp_path / "OUT", to="tsv")

    found = read(tmp_path / "OUT")
    assert found.texts == [Text(0, "小火龙", (0,)), Text(1, "皮卡丘", (1,))]
    assert colours(found) == [(0, (255, 0, 0)), (1, (0, 0, 255))]
    listed = [
        json.loads(line) for line in (tmp_path / "OUT" / "train_ids.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert listed == [
        {"image_id": 0, "was": "小火龙.png"},
        {"image_id": 1, "was": "b/皮卡丘.PNG"},
        {"text_id": 0, "was": "小火龙.png"},
        {"text_id": 1, "was": "b/皮卡丘.PNG"},
    ]


def test_numbers_go_on_from_split_to_split_and_numbers_stay(tmp_path):
    for split in ("train", "valid"):
        texts = [{"text_id": f"{split}#1", "text": "猫", "image_ids": [7]}]
        tsv(tmp_path / "in", split, texts=texts)

    prepare(tmp_path / "in", tmp_path / "OUT", to="tsv")

    assert [read(tmp_path / "OUT", split).texts for split in ("train", "valid")] == [
        [Text(0, "猫", (7,))],
        [Text(1, "猫", (7,))],
    ]
    prepare(tmp_path / "in", tmp_path / "parquet", to="parquet", only="train")
    assert read(tmp_path / "parquet").texts == [Text("train#1", "猫", (7,))]


# What is left out, and what is told


BROKEN = {
    "cut": picture(size=(200, 200), format="JPEG")[:-100],
    "text": "不是图片".encode(),
    "empty gif": b"GIF89a",
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_broken_pictures_are_listed_and_left_out(content, tmp_path):
    pictures = [f"7\t{encoded(picture())}", f"12\t{encoded(content)}"]
    told = []

    found = prepare(tsv(tmp_path / "in", pictures=pictures), tmp_path / "OUT", to="tsv", progress=told.append)

    assert read(tmp_path / "OUT").texts == [Text(3, "一只红猫", (7,)), Text(1, "两种颜色", (7,))]
    assert list(read(tmp_path / "OUT").image_ids) == [7]
    assert len(told) == 1 and "valid_imgs.tsv, line 2" in told[0]
    left = found.left_out["valid"]
    assert [each.image_id for each in left.broken] == [12]
    assert (left.empty_texts, left.texts_without_picture) == (0, 1)
    assert json.loads((tmp_path / "OUT" / "zhclip_data.json").read_text())["left_out"]["valid"]["broken"] == [12]


@pytest.mark.parametrize("begin", [b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\xc5\xd0\xd3\xc6"])
def test_postscript_is_a_broken_picture_that_pillow_never_sees(begin, tmp_path, monkeypatch):
    """Pillow would call Ghostscript, which runs the file."""
    write(tmp_path / "in", **{"1猫.png": begin + b"%%BoundingBox: 0 0 9 9\n%%EndComments\n"})
    monkeypatch.setattr("PIL.Image.open", lambda *_: pytest.fail("Pillow was asked"))

    refused("PostScript", "not run", input=tmp_path / "in", out=tmp_path / "OUT", to="tsv")


def test_a_decompression_bomb_is_a_broken_picture(tmp_path, monkeypatch):
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 100)  # Pillow refuses the double
    write(tmp_path / "in", **{"1猫.png": picture(), "2大.png": picture(size=(30, 30))})

    found = prepare(tmp_path / "in", tmp_path / "OUT", to="tsv")

    (broken,) = found.left_out["train"].broken
    assert broken.image_id == 2 and "2大.png has too many pixels: " in broken.why and "900 pixels" in broken.why
    assert "Make the picture smaller" in broken.why and "cut off" not in broken.why


def test_the_first_frame_of_an_animation_is_a_picture_and_its_bytes_stay(tmp_path):
    from PIL import Image

    write(tmp_path / "in")
    frames = [Image.new("P", (8, 8), number) for number in range(3)]
    frames[0].save(tmp_path / "in" / "1动.gif", save_all=True, append_images=frames[1:])

    prepare(tmp_path / "in", tmp_path / "OUT", to="tsv")

    assert read(tmp_path / "OUT").pictures.content(0) == (tmp_path / "in" / "1动.gif").read_bytes()


def test_no_whole_picture_is_an_error(tmp_path):
    write(tmp_path / "in", **{"1猫.png": b"x"})

    refused("1 pictures", "1猫.png", input=tmp_path / "in", out=tmp_path / "OUT", to="tsv")
    assert {each.name for each in tmp_path.iterdir()} == {"in"}


def test_empty_texts_are_left_out_and_equal_captions_are_counted(tmp_path):
    texts = [("猫", 7), ("猫", 12), ("猫", 7), (" \n", 7), ("狗", 7), ("狗", 12), ("鸟", 7)]
    lines = [{"text_id": n, "text": text, "image_ids": [image]} for n, (text, image) in enumerate(texts)]

    found = prepare(tsv(tmp_path / "in", texts=lines), tmp_path / "OUT", to="tsv")

    equal = found.splits["valid"].equal_captions
    assert (equal.captions, equal.texts, equal.examples) == (2, 5, {"猫": 3, "狗": 2})
    assert found.left_out["valid"].empty_texts == 1
    assert "captions that stand more than once: 2, in 5 texts: 猫 (3), 狗 (2)" in found.text()
    assert "left out of valid: empty texts (1)" in found.text()


def test_pairs_alone_are_written_as_parquet(tmp_path):
    texts = [{"text_id": 1, "text": "猫", "image_ids": [7]}, {"text_id": 2, "text": "狗", "image_ids": []}]

    found = prepare(tsv(tmp_path / "in", texts=texts), tmp_path / "OUT", to="parquet")

    left = found.left_out["valid"]
    assert (left.texts_without_picture, left.pictures_without_text) == (1, 1)
    assert (found.splits["valid"].pictures, found.splits["valid"].texts, found.splits["valid"].pairs) == (1, 1, 1)
    assert list(read(tmp_path / "OUT").image_ids) == [7]


# Simplified characters


def test_traditional_characters_become_simplified_ones(tmp_path):
    write(tmp_path / "in", **{"1妙蛙種子.png": picture(), "2頭髮與發現.png": picture(), "3電腦.png": picture()})

    prepare(tmp_path / "in", tmp_path / "OUT", to="tsv", simplified=True)

    assert [text.text for text in read(tmp_path / "OUT").texts] == ["妙蛙种子", "头发与发现", "电脑"]


# Train and valid


def many(folder, pictures=40):
    """Pictures with two captions each; every fifth caption also names the next picture."""
    texts = [
        {"text_id": 2 * n + side, "text": f"{n} {side}", "image_ids": [n, n + 1] if n % 5 == 0 and side else [n]}
        for n in range(pictures)
        for side in (0, 1)
    ]
    return tsv(folder, pictures=[f"{n}\t{encoded(picture())}" for n in range(pictures)], texts=texts)


def test_a_split_by_pictures_keeps_what_belongs_together(tmp_path):
    many(tmp_path / "in")

    found = prepare(tmp_path / "in", tmp_path / "OUT", to="tsv", split=0.9)

    assert {name: each.pictures for name, each in found.splits.items()} == {"train": 36, "valid": 4}
    train, valid = (read(tmp_path / "OUT", name) for name in ("train", "valid"))  # which checks each text's pictures
    assert set(train.image_ids) | set(valid.image_ids) == set(range(40))
    assert sorted(text.id for text in [*train.texts, *valid.texts]) == list(range(80))
    assert list(train.image_ids) == sorted(train.image_ids)


def test_a_split_is_the_same_on_every_machine_and_in_every_order(tmp_path):
    """By `printf "123 0" | sha256sum` and so on: the hashes of 3, 1 and 4 are the smallest of the five."""
    texts = [{"text_id": n, "text": str(n), "image_ids": [n]} for n in range(5)]
    pictures = [f"{n}\t{encoded(picture())}" for n in range(5)]
    tsv(tmp_path / "a", pictures=pictures, texts=texts)
    tsv(tmp_path / "b", pictures=pictures[::-1], texts=texts[::-1])

    for name in ("a", "b"):
        prepare(tmp_path / name, tmp_path / f"OUT {name}", to="tsv", split=0.6)
        assert set(read(tmp_path / f"OUT {name}", "train").image_ids) == {1, 3, 4}
    prepare(tmp_path / "a", tmp_path / "other", to="tsv", split=0.6, seed=8)
    assert set(read(tmp_path / "other", "train").image_ids) != {1, 3, 4}


@pytest.mark.parametrize("share", [0, 1, -0.5, 90, float("nan")])
def test_a_share_is_between_0_and_1(share, tmp_path):
    refused("between 0 and 1", input=tsv(tmp_path / "in"), out=tmp_path / "OUT", to="tsv", split=share)


def test_what_cannot_be_divided_is_refused(tmp_path):
    refused("in 1 groups", input=tsv(tmp_path / "in"), out=tmp_path / "OUT", to="tsv", split=0.5)
    tsv(tmp_path / "in", "train")
    refused("train, valid", "--only", input=tmp_path / "in", out=tmp_path / "OUT", to="tsv", split=0.5)


# Blind splits


def test_a_blind_split_becomes_tsv_or_lmdb_and_no_pairs(tmp_path):
    texts = [{"text_id": 1, "text": "猫", "image_ids": []}]
    place = tsv(tmp_path / "in", "test", texts=texts)

    prepare(place, tmp_path / "tsv", to="tsv")
    assert read(tmp_path / "tsv").blind
    prepare(place, tmp_path / "lmdb", to="lmdb")
    assert list(read(tmp_path / "lmdb").image_ids) == [12, 7]
    assert (tmp_path / "lmdb" / "test_texts.jsonl").read_bytes() == (place / "test_texts.jsonl").read_bytes()
    refused("blind test split", "--only", input=place, out=tmp_path / "OUT", to="parquet")
    refused("blind test split", input=place, out=tmp_path / "OUT", to="tsv", split=0.5)


# Nothing is overwritten or left behind


def test_an_existing_folder_stays_without_force_and_a_foreign_folder_with_it(tmp_path):
    place = tsv(tmp_path / "in")
    prepare(place, tmp_path / "OUT", to="tsv")
    write(tmp_path / "other", file=b"x")

    refused("exists already", input=place, out=tmp_path / "OUT", to="lmdb")
    refused("does not replace", input=place, out=tmp_path / "other", to="lmdb", force=True)
    write(tmp_path / "OUT", **{"lmdb/train/pairs/data.mdb": b"x"})
    refused(
        "OUT holds lmdb/train/pairs/data.mdb, which no folder of prepared data holds",
        input=place,
        out=tmp_path / "OUT",
        to="lmdb",
        force=True,
    )
    shutil.rmtree(tmp_path / "OUT" / "lmdb")
    refused("in is read, too, and --force would delete it", input=place, out=tmp_path / "in", to="lmdb", force=True)
    prepare(place, tmp_path / "OUT", to="lmdb", force=True)
    assert not (tmp_path / "OUT" / "valid_imgs.tsv").exists()


@pytest.mark.parametrize("out", ["in/OUT", "in/deep/OUT", "in/../in/OUT"])
def test_a_place_in_a_folder_whose_inner_folders_are_read_is_refused(out, tmp_path):
    write(tmp_path / "in", **{"1猫.png": picture()})
    refused("would become a part of the data", input=tmp_path / "in", out=tmp_path / out, to="parquet")
    assert [each.name for each in (tmp_path / "in").iterdir()] == ["1猫.png"]
    prepare(tmp_path / "in", tmp_path / "OUT", to="parquet")
    refused("would become a part of the data", input=tmp_path / "OUT", out=tmp_path / "OUT" / "again", to="parquet")


def test_cn_clip_s_lmdb_may_lie_in_the_folder_of_its_tsv(tmp_path):
    """As its own script writes it."""
    prepare(tsv(tmp_path / "in"), tmp_path / "in" / "lmdb", to="lmdb")
    assert read(tmp_path / "in" / "lmdb").texts == read(tmp_path / "in").texts


def test_a_failure_while_writing_leaves_nothing(tmp_path, monkeypatch):
    place = tsv(tmp_path / "in")
    monkeypatch.setattr(
        "hf_zhclip.data.writers.tsv_files.write_texts", lambda *_: (_ for _ in ()).throw(OSError(28, "full"))
    )

    with pytest.raises(WorkError, match="full"):
        prepare(place, tmp_path / "OUT", to="tsv")
    assert {each.name for each in tmp_path.iterdir()} == {"in"}


def test_a_full_disk_is_no_traceback_of_lmdb(tmp_path, monkeypatch):
    def full(*_, **__):
        raise lmdb.DiskError("mdb_txn_commit: No space left on device")

    place = tsv(tmp_path / "in")
    monkeypatch.setattr(lmdb_folder, "_put", full)

    with pytest.raises(WorkError, match="No space left"):
        prepare(place, tmp_path / "OUT", to="lmdb")
    assert {each.name for each in tmp_path.iterdir()} == {"in"}


def test_ids_are_checked_before_the_first_picture_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr("hf_zhclip.data.cleaning.opened", lambda *_: pytest.fail("a picture was decoded"))
    place = tsv(tmp_path / "in", texts=[{"text_id": 1, "text": "猫", "image_ids": [8]}])

    refused("not there: 8", input=place, out=tmp_path / "OUT", to="tsv")


@pytest.mark.parametrize(
    "module, arguments",
    [("lmdb", {"to": "lmdb"}), ("datasets", {"to": "parquet"}), ("opencc", {"to": "tsv", "simplified": True})],
)
def test_a_missing_package_is_asked_for_before_any_work(module, arguments, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)

    refused(module, 'pip install "hf-zhclip[train]"', input=tmp_path / "missing", out=tmp_path / "OUT", **arguments)


def test_tsv_and_folders_need_no_extra_package(tmp_path, monkeypatch):
    for module in ("datasets", "lmdb", "opencc", "pyarrow", "pandas"):
        monkeypatch.setitem(sys.modules, module, None)
    write(tmp_path / "in", **{"1猫.png": picture("red")})

    prepare(tmp_path / "in", tmp_path / "OUT", to="tsv")
    assert colours(read(tmp_path / "OUT")) == [(1, (255, 0, 0))]


# The command


def test_the_command_prints_a_summary_and_lists_broken_pictures_apart(tmp_path, capsys):
    write(tmp_path / "in", **{"1猫.png": picture(), "2猫.png": picture(), "3狗.png": b"x"})

    assert zhclip_cli.main(["data", str(tmp_path / "in"), str(tmp_path / "OUT"), "--to", "tsv"]) == 0

    text, said = capsys.readouterr()
    assert text.splitlines() == [
        f"{tmp_path / 'OUT'}: written as tsv.",
        "left out of train: broken pictures (1), texts without a picture (1)",
        "train: 2 pictures, 2 texts, 2 pairs",
        "  captions that stand more than once: 1, in 2 texts: 猫 (2)",
        "  In training, equal captions in a batch count as wrong answers to each other's pictures.",
    ]
    assert re.search("Left out: .*3狗.png", said)


def test_the_command_gives_json_and_the_errors_exit_code(tmp_path, capsys):
    place = str(tsv(tmp_path / "in"))

    assert zhclip_cli.main(["data", place, str(tmp_path / "OUT"), "--to", "lmdb", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["splits"]["valid"]["pairs"] == 4
    assert zhclip_cli.main(["data", place, str(tmp_path / "OUT"), "--to", "lmdb"]) == 2
    shutil.rmtree(tmp_path / "OUT")
    assert zhclip_cli.main(["data", str(tmp_path / "nothing"), str(tmp_path / "OUT"), "--to", "lmdb"]) == 2


def test_the_help_names_every_format():
    from zhclip_cli import data

    assert (data.FORMATS, data.WRITERS) == (tuple(FORMATS), tuple(WRITERS))


# Data that change meanwhile


def a_folder(place):
    write(place, **{"1猫.png": picture(), "2狗.png": picture("blue")})
    return place / "1猫.png"


def a_tsv(place):
    return tsv(place) / "valid_imgs.tsv"


def an_lmdb(place):
    prepare(tsv(place.with_name("before")), place, to="lmdb")
    return place / "valid" / "imgs" / "data.mdb"


@pytest.mark.parametrize("make", [a_folder, a_tsv, an_lmdb])
@pytest.mark.parametrize("change", [lambda file: os.truncate(file, 40), lambda file: file.write_bytes(bytes(9000))])
def test_pictures_that_change_after_they_were_checked_are_not_written(make, change, tmp_path, monkeypatch):
    file = make(tmp_path / "in")
    before = entries(tmp_path)
    check = preparing.cleaned

    def changing(*given, **named):
        found = check(*given, **named)
        change(file)
        return found

    monkeypatch.setattr(preparing, "cleaned", changing)
    with pytest.raises(InputError, match="changed after it was checked|cannot be read any more"):
        prepare(tmp_path / "in", tmp_path / "OUT", to="tsv")
    assert entries(tmp_path) == before
