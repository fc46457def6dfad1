"""Walks the ways out that messages of `zhclip data` name: from the input that gives the message, to success.

`tests/test_messages.py` holds every message against these walks and the walks of other tests.
"""

import base64
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import zhclip_cli

from tests.data.made import picture, tsv, write
from tests.data.test_other_readers import PAIRS, database

Words = list[str | Path]


@dataclass(frozen=True)
class Walk:
    """`start` makes an input in a folder, and gives INPUT and options; each way does what the message `says`."""

    start: Callable[[Path], Words]
    says: str
    ways: tuple[Callable[[Path, Words, str], Words], ...]


def add(*more):
    """The way of an option that the message names; a path lies in the walk's folder."""
    return lambda folder, words, said: [*words, *(folder / each if isinstance(each, Path) else each for each in more)]


def without(option):
    def way(folder, words, said):
        at = words.index(option)
        return words[:at] + words[at + 2 :]

    return way


def put(words=None, **files):
    """The way of files that are written; the words stay where none are given."""

    def way(folder, before, said):
        write(folder, **files)
        return before if words is None else [folder / words[0], *words[1:]]

    return way


def captions(content, **pictures):
    """A metadata.csv beside a picture a.png."""
    files = {"a.png": picture(), "metadata.csv": content, **pictures}
    return lambda folder: [write(folder, **files)]


def one_by_one(folder, *splits):
    """Splits whose two pictures share no text."""
    texts = [{"text_id": each, "text": f"猫{each}", "image_ids": [each]} for each in (7, 12)]
    for split in splits:
        tsv(folder, split, texts=texts)
    return [folder]


def blind(folder):
    tsv(folder, "test", texts=[{"text_id": 1, "text": "猫", "image_ids": []}])
    return [folder]


def line(content):
    """cn_clip's files, whose first line of pictures is the given one."""

    def start(folder):
        texts = [{"text_id": 1, "text": "x", "image_ids": ["狗"]}]
        (tsv(folder, texts=texts) / "valid_imgs.tsv").write_bytes(content + b"\n")
        return [folder]

    return start


def write_again(folder, words, said):
    tsv(folder)
    return words


def recoded(name, before, after):
    def way(folder, words, said):
        (folder / name).write_bytes((folder / name).read_bytes().decode(before).encode(after))
        return words

    return way


def command_again(folder, words, said):
    """Runs the command of the message from cn_clip's files."""
    names = {"FOLDER": tsv(folder / "from"), "OUT": folder / "again"}
    command = shlex.split(re.search("`zhclip ([^`]+)`", said)[1])
    assert zhclip_cli.main([str(names.get(word, word)) for word in command]) == 0
    return [folder / "again"]


def renamed(before, after):
    def way(folder, words, said):
        (folder / before).rename(folder / after)
        return words

    return way


GOOD = base64.b64encode(picture())
CSV = b"file_name,text\na.png,x\n"
GBK = "file_name,text\na.png,一只红色的猫\n".encode("gbk")
TAIYI = b"100#0\tok\n100#1\t" + "一只红色的猫\n".encode("gbk")

WALKS = {
    "pictures_that_are_missing_are_added_or_found_or_left_out": Walk(
        captions(b"file_name,text\na.png,x\nb.png,y\n", **{"images/a.png": picture(), "images/b.png": picture()}),
        "Add the pictures, name their folder with pictures (--pictures of `zhclip data`), or remove their rows.",
        (put(**{"b.png": picture()}), add("--pictures", Path("images")), put(**{"metadata.csv": CSV})),
    ),
    "a_divided_input_is_divided_in_one_split_or_not_at_all": Walk(
        lambda folder: [*one_by_one(folder, "train", "valid"), "--split", "0.5"],
        "Name the split to divide with only (--only), or leave out split (--split).",
        (add("--only", "train"), without("--split")),
    ),
    "a_blind_split_is_left_out_or_written_without_pairs": Walk(
        lambda folder: [*one_by_one(folder, "train"), *blind(folder)[1:], "--to", "parquet"],
        "Name another split with only (--only), or write tsv or lmdb without split (--split).",
        (
            add("--only", "train"),
            lambda folder, words, said: [folder, "--to", "tsv"],
            lambda folder, words, said: [folder, "--to", "lmdb"],
        ),
    ),
    "a_blind_split_is_not_divided": Walk(
        lambda folder: [*blind(folder), "--split", "0.5"], "without split (--split)", (without("--split"),)
    ),
    "a_comma_in_a_field_is_put_into_quotes": Walk(
        captions(b"file_name,text\na.png,x,y\n"),
        "Put a field that holds a comma into quotes",
        (put(**{"metadata.csv": b'file_name,text\na.png,"x,y"\n'}),),
    ),
    "a_csv_of_gbk_that_is_utf_8_by_chance_is_saved_as_utf_8": Walk(
        captions("file_name,text\n猫.png,一只猫\n".encode("gbk"), **{"猫.png": picture()}),
        "names the file 'è.png', whose bytes are 猫.png in GBK",
        (recoded("metadata.csv", "gb18030", "utf-8"),),
    ),
    "a_csv_of_gbk_is_saved_as_utf_8": Walk(
        captions(GBK),
        "in Excel as 'CSV UTF-8', elsewhere with iconv -f GB18030 -t UTF-8.",
        (recoded("metadata.csv", "gb18030", "utf-8-sig"), recoded("metadata.csv", "gb18030", "utf-8")),
    ),
    "captions_of_no_format_become_a_csv_or_a_jsonl": Walk(
        lambda folder: [write(folder, **{"a.png": picture(), "images/b.png": picture(), "x.txt": CSV}) / "x.txt"],
        "a csv or jsonl file with a column file_name",
        (
            put(["x.csv"], **{"x.csv": CSV}),
            put(["x.jsonl"], **{"x.jsonl": b'{"image": "a.png", "caption": "x"}\n'}),
            put(["x.csv", "--pictures", "images"], **{"x.csv": b"filename,title\nb.png,y\n"}),
        ),
    ),
    "captions_of_no_format_become_taiyi_s": Walk(
        lambda folder: [write(folder, **{"100.jpg": picture(), "images/9.jpg": picture(), "x.txt": CSV}) / "x.txt"],
        "Taiyi's text file, each line of which is key#number, a tab and a caption; key.jpg lies beside it",
        (
            put(**{"x.txt": b"100#0\tx\n"}),
            put(["x.txt", "--pictures", "images"], **{"x.txt": b"9#0\tx\n"}),
        ),
    ),
    "an_lmdb_that_is_damaged_is_written_again": Walk(
        lambda folder: [database(folder / "valid", {**PAIRS, "num_samples": b"4"})],
        "Write the LMDB again from cn_clip's tsv files",
        (command_again,),
    ),
    "pictures_without_texts_are_renamed_or_get_captions": Walk(
        lambda folder: [write(folder, **{"0001.png": picture(), "2猫.png": picture()})],
        "Rename them, or put a metadata.csv with the columns file_name and text into the folder.",
        (
            renamed("0001.png", "0001狗.png"),
            put(**{"metadata.csv": "file_name,text\n0001.png,狗\n2猫.png,猫\n".encode()}),
        ),
    ),
    "pictures_of_a_folder_without_captions_are_left_out_or_the_captions_named": Walk(
        lambda folder: [
            write(folder / "in", **{"a.png": picture(), "../x.csv": CSV}),
            "--pictures",
            folder / "in",
        ],
        "Leave it out, or name the file of the captions instead of the folder.",
        (without("--pictures"), put(["x.csv", "--pictures", "in"])),
    ),
    "pictures_of_a_format_that_holds_its_own_are_left_out": Walk(
        lambda folder: [tsv(folder), "--pictures", folder],
        "pictures (--pictures) has no effect. Leave it out.",
        (without("--pictures"),),
    ),
    "taiyi_s_captions_of_gbk_are_saved_as_utf_8": Walk(
        lambda folder: [write(folder, **{"100.jpg": picture(), "x.txt": TAIYI}) / "x.txt"],
        "Save the file as UTF-8.",
        (recoded("x.txt", "gbk", "utf-8"),),
    ),
    "a_line_that_never_ends_is_written_again": Walk(
        line(b"7\t" + b"A" * 20_000), "bytes; an id, a tab and a picture in base64 were wanted. Write", (write_again,)
    ),
    "a_line_without_a_tab_is_written_again": Walk(
        line(b"7 " + GOOD),
        "parts between tabs; an id, a tab and a picture in base64 were wanted. Write",
        (write_again,),
    ),
    "a_line_of_other_characters_is_written_again": Walk(
        line(b"7\t*" + GOOD), "is no character of base64; an id, a tab and a picture in base64 were", (write_again,)
    ),
    "an_id_of_gbk_is_saved_as_utf_8": Walk(
        line("狗".encode("gbk") + b"\t" + GOOD),
        "Save the file as UTF-8.",
        (recoded("valid_imgs.tsv", "gbk", "utf-8"),),
    ),
    "a_place_of_two_formats_is_read_as_the_stated_one": Walk(
        lambda folder: [write(tsv(folder), **{"1猫.png": picture()})],
        "Say which you mean with format (--format of `zhclip data`):",
        (add("--format", "tsv"), add("--format", "folder")),
    ),
    "splits_of_the_same_name_are_taken_one_by_one": Walk(
        lambda folder: [*one_by_one(folder, "my-val 1", "my_val 1"), "--to", "parquet"],
        "Take them one by one with only (--only).",
        (add("--only", "my-val 1"), add("--only", "my_val 1")),
    ),
}


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, walk in WALKS.items() for number in range(len(walk.ways))]
)
def test_the_way_out_that_a_message_names_is_walked(name, number, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("hf_zhclip.data.readers.tsv_files.MOST_LINE_BYTES", 10_000)
    walk, folder = WALKS[name], tmp_path / "in"
    folder.mkdir()
    out = tmp_path / "OUT"

    def run(words):
        source, *options = words
        to = [] if "--to" in options else ["--to", "tsv"]
        return zhclip_cli.main(["data", *map(str, (source, out, *options, *to))])

    words = walk.start(folder)
    assert run(words) == 2
    said = capsys.readouterr().err
    assert walk.says in said

    monkeypatch.chdir(folder)
    assert run(walk.ways[number](folder, words, said)) == 0, capsys.readouterr().err
    assert (out / "zhclip_data.json").is_file()
