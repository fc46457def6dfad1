"""Walks the ways out that messages of `zhclip evaluate` name: from the arguments that give the message, to success.

`tests/test_messages.py` holds every message against these walks and the walks of other tests.
"""

import re
import shlex
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import zhclip_cli
from hf_zhclip import ZhCLIPModel, ZhCLIPTextModelWithProjection
from hf_zhclip.evaluation import files

from tests.checkpoints import FAMILIES
from tests.conversion.helpers import save_time
from tests.data.made import picture, tsv, write

BROKEN = picture()[:40]
LISTS = "--classes NAMES --templates TEMPLATES"
OF_FILES = "--text-features T.jsonl --texts TEXTS"

WALKS = {
    "the_class_names_or_the_threshold_is_left_out": (
        f"REPO CLASSES {LISTS} --threshold",
        "found --classes and --threshold; one of them was wanted.",
        (f"REPO CLASSES {LISTS}", "REPO DATA --threshold"),
    ),
    "the_folder_of_a_split_is_named": (
        f"REPO SPLITS {LISTS} --split train",
        "Name the split's folder as DATA.",
        (f"REPO SPLITS/train {LISTS}",),
    ),
    "features_take_the_place_of_predictions": (
        "--texts TEXTS --predictions PREDICTIONS --threshold",
        "Give the features instead.",
        (f"--image-features I.jsonl {OF_FILES} --threshold",),
    ),
    "a_batch_is_one_or_more": ("REPO DATA --batch-size 0", "1 or more was wanted", ("REPO DATA --batch-size 1",)),
    "a_device_that_is_not_there_becomes_cpu": ("REPO DATA --device gpu", "Try cpu.", ("REPO DATA --device cpu",)),
    "a_length_is_within_the_stated_ones": (
        "REPO DATA --context-length 65",
        "3 to 64 was wanted",
        ("REPO DATA --context-length 3", "REPO DATA --context-length 64"),
    ),
    "the_split_of_labelled_pairs_is_left_out": (
        "REPO pairs.jsonl --threshold --split valid",
        "Leave --split out.",
        ("REPO pairs.jsonl --threshold",),
    ),
    "names_of_gbk_are_saved_as_utf_8": (
        "REPO CLASSES --classes GBK --templates TEMPLATES",
        "Save it as UTF-8.",
        (f"REPO CLASSES {LISTS}",),
    ),
    "both_files_are_taken_from_the_same_split": (
        f"--image-features OTHER.jsonl {OF_FILES}",
        "Take both files from the same split.",
        (f"--image-features I.jsonl {OF_FILES}",),
    ),
    "a_place_that_does_not_exist_becomes_a_converted_repo": (
        "NOTHING DATA",
        "NOTHING does not exist; a folder that `zhclip convert SOURCE OUT` made",
        ("REPO DATA",),
    ),
    "an_original_is_converted": (
        "SOURCE.pt DATA",
        "SOURCE.pt is a file; a folder was wanted that `zhclip convert SOURCE OUT` made.",
        ("REPO DATA",),
    ),
    "a_folder_that_does_not_load_becomes_a_converted_repo": (
        "TYPELESS DATA",
        "does not load: .* A repo was wanted that `zhclip convert SOURCE OUT` made.",
        ("REPO DATA",),
    ),
    "a_tower_becomes_a_whole_repo": (
        "TOWER DATA",
        "a repo with both towers (ZhCLIPModel) was wanted. `zhclip convert SOURCE OUT` makes it.",
        ("REPO DATA",),
    ),
    "a_repo_that_lacks_weights_is_converted_again": (
        "HALF DATA",
        "lacks 1 weights, such as text_projection.weight; their values would be drawn at random. Convert or fetch",
        ("REPO DATA",),
    ),
}
"""What is refused, a part of the message, and what the message says instead; convert made REPO of SOURCE.pt."""


@pytest.fixture
def here(repo, classes, pairs, tmp_path, monkeypatch):
    """A folder with everything that the walks name."""
    monkeypatch.chdir(tmp_path)
    for name, target in (("REPO", repo), ("CLASSES", classes)):
        (tmp_path / name).symlink_to(target)
    (tmp_path / "names.txt").rename(tmp_path / "NAMES")
    (tmp_path / "templates.txt").rename(tmp_path / "TEMPLATES")
    (tmp_path / "GBK").write_bytes((tmp_path / "NAMES").read_text(encoding="utf-8").encode("gbk"))
    shutil.copytree(classes, tmp_path / "SPLITS" / "train")
    tsv(tmp_path / "DATA").joinpath("valid_texts.jsonl").rename(tmp_path / "TEXTS")
    shutil.copyfile(tmp_path / "TEXTS", tmp_path / "DATA" / "valid_texts.jsonl")
    files.write_features(tmp_path / "T.jsonl", "text", [3, 1, 2], torch.eye(3))
    files.write_features(tmp_path / "I.jsonl", "image", [7, 12], torch.eye(3)[:2])
    files.write_features(tmp_path / "OTHER.jsonl", "image", [7, 13], torch.eye(3)[:2])
    files.write_predictions(tmp_path / "PREDICTIONS", "text", {3: [7], 1: [7], 2: [12]})
    return tmp_path


@pytest.fixture
def no_repos(repo, here):
    """Places that are no whole repo."""
    (here / "made").mkdir()
    FAMILIES["cn_clip_vit"](here / "made").source.rename(here / "SOURCE.pt")
    (here / "TYPELESS").mkdir()
    (here / "TYPELESS" / "config.json").write_text("{}")
    ZhCLIPTextModelWithProjection.from_pretrained(repo).save_pretrained(here / "TOWER")
    tensors = load_file(shutil.copytree(repo, here / "HALF") / "model.safetensors")
    del tensors["text_projection.weight"]
    save_file(tensors, here / "HALF" / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, (_, _, ways) in WALKS.items() for number in range(len(ways))]
)
def test_the_way_out_that_a_message_names_is_walked(name, number, here, run, request):
    start, says, ways = WALKS[name]
    if "repo" in name or "original" in name:
        request.getfixturevalue("no_repos")

    code, text, said = run(*start.split())
    assert (code, text) == (2, "")
    assert re.search(re.escape(says).replace(r"\.\*", ".*"), said, re.DOTALL), said

    code, text, said = run(*ways[number].split())
    assert code == 0 and text, said


def command(said, **names):
    """Runs a command of a message, with paths for the names that it leaves open; gives its exit code."""
    words = shlex.split(re.search("`zhclip ([^`]+)`", said)[1])
    return zhclip_cli.main([str(names.get(word, word)) for word in words])


def test_vectors_that_are_not_finite_are_looked_into_by_verify(repo, here, run, capsys, monkeypatch):
    save_time(monkeypatch)
    model = ZhCLIPModel.from_pretrained(repo)
    model.text_projection.weight.data.fill_(float("nan"))
    model.save_pretrained(shutil.copytree(repo, here / "NAN"))

    code, _, said = run("NAN", "DATA")
    assert code == 2

    assert command(said, REPO="NAN") != 0
    assert "FAIL files" in capsys.readouterr().out


def test_ids_that_are_no_numbers_are_numbered_by_the_command_of_the_message(here, run):
    write(here / "PICTURES", **{"红.png": picture("red"), "蓝.png": picture("blue")})
    code, _, said = run("REPO", "PICTURES", "--out", "FIRST")
    assert code == 0 and not (here / "FIRST" / "train_imgs.img_feat.jsonl").exists()

    assert command(said, DATA="PICTURES", OUT="NUMBERED") == 0

    assert run("REPO", "NUMBERED", "--out", "SECOND")[0] == 0
    assert (here / "SECOND" / "train_imgs.img_feat.jsonl").is_file()


def test_data_of_two_formats_are_written_in_one_by_zhclip_data(here, run):
    write(here / "DATA", **{"1猫.png": picture()})
    code, _, said = run("REPO", "DATA")
    assert code == 2 and "format (--format of `zhclip data`)" in said

    assert zhclip_cli.main(["data", "DATA", "ONE", "--format", "tsv", "--to", "tsv"]) == 0

    assert run("REPO", "ONE")[0] == 0


def test_a_broken_picture_is_left_out_by_zhclip_data(here, run):
    write(here / "PICTURES", **{"1红.png": picture("red"), "2蓝.png": BROKEN})
    code, _, said = run("REPO", "PICTURES")
    assert code == 2 and "`zhclip data` lists broken pictures and leaves them out." in said

    assert zhclip_cli.main(["data", "PICTURES", "WHOLE", "--to", "tsv"]) == 0

    assert run("REPO", "WHOLE")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "broken"),
    [(f"REPO CLASSES {LISTS}", "classes/a/red.png"), ("REPO pairs.jsonl --threshold", "red.png")],
)
def test_zhclip_data_which_knows_no_labels_is_not_named_for_labelled_pictures(arguments, broken, here, run):
    (here / broken).write_bytes(BROKEN)

    code, _, said = run(*arguments.split())

    assert code == 2 and "red.png" in said and "zhclip data" not in said
