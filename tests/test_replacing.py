"""--force replaces what a command wrote, and nothing that a user would miss."""

import json
import os

import pytest

from hf_zhclip.errors import InputError
from hf_zhclip.replacing import REPO, Kind
from hf_zhclip.staging import check_absent, staging

from tests.conversion.helpers import contents

CONFIG = json.dumps({"model_type": "hf_zhclip"})
REPORT = json.dumps({"format_version": 3, "files": {"config.json": "0", "deep/own [1].json": "0"}})


@pytest.fixture
def out(tmp_path):
    (tmp_path / "OUT").mkdir()
    return tmp_path / "OUT"


def put(out, files):
    for name, content in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(content, encoding="utf-8")


def refusal(out, kind=REPO):
    """The message, which is the same before the work and at its end; nothing is changed."""
    before = contents(out)
    with pytest.raises(InputError) as early:
        check_absent(out, True, kind)
    with pytest.raises(InputError) as late, staging(out, 0, True, kind):
        pytest.fail("work was done")
    assert str(early.value) == str(late.value) and contents(out) == before
    return str(early.value)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"config.json": CONFIG},
        {"config.json": CONFIG, "model.safetensors": "", "README.md": "", "1_Normalize/config.json": "{}"},
        {"config.json": CONFIG, "model-00001-of-00002.safetensors": "", "model.safetensors.index.json": "{}"},
        {"conversion_report.json": REPORT, "deep/own [1].json": "{}", "measured_figures.json": "[]"},
        {"config.json": CONFIG, "modeling_zhclip.py": "", "__pycache__/modeling_zhclip.cpython-311.pyc": ""},
        {"config.json": CONFIG, ".DS_Store": "", ".gitattributes": "", ".cache/huggingface/download/x.metadata": ""},
    ],
)
def test_a_repo_is_replaced(files, out, tmp_path):
    put(out, files)
    check_absent(out, True)
    with staging(out, 0, True) as new:
        (new / "config.json").write_text("new")
    assert contents(tmp_path) == {"OUT/config.json": b"new"}


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"config.json": '{"model_type": "chinese_clip"}'}, "holds no repo"),
        ({"config.json": "{}"}, "holds no repo"),
        ({"config.json": "[]"}, "holds no repo"),
        ({"config.json": "no JSON"}, "holds no repo"),
        ({"conversion_report.json": "{}"}, "holds no repo"),
        ({"conversion_report.json/model.safetensors": "{}"}, "holds no repo"),
        (
            {"notes.txt": ""},
            "(no conversion_report.json with format_version or config.json with model_type hf_zhclip)",
        ),
    ],
)
def test_a_folder_of_another_kind_is_not_replaced(files, found, out):
    put(out, files)
    said = refusal(out)
    assert found in said and said.endswith("so --force does not replace it. Choose another place.")


@pytest.mark.parametrize(
    ("name", "away"),
    [
        ("notes.txt", "notes.txt"),
        ("optimizer.pt", "optimizer.pt"),
        ("other/config.json", "other"),
        ("photos/deep/1.jpg", "photos"),
        ("deep/own 1.json", "deep"),
        (".cache/other", ".cache"),
        ("MODEL.SAFETENSORS.bak", "MODEL.SAFETENSORS.bak"),
    ],
)
def test_a_file_that_no_command_wrote_is_named_and_moved_away_it_is_replaced(name, away, out, tmp_path):
    put(out, {"config.json": CONFIG, "conversion_report.json": REPORT, name: "precious"})
    assert refusal(out).endswith(
        f"OUT holds {name}, which no repo holds, so --force does not replace it. Choose another place, or move {away} "
        "out of it first."
    )

    (out / away).rename(tmp_path / "moved")
    check_absent(out, True)


def test_an_empty_folder_within_is_nothing_to_lose(out):
    put(out, {"config.json": CONFIG})
    (out / "empty" / "deep").mkdir(parents=True)
    check_absent(out, True)


def test_a_link_to_a_folder_is_named(out, tmp_path):
    put(out, {"config.json": CONFIG})
    (out / "photos").symlink_to(tmp_path)
    assert "OUT holds photos, which no repo holds" in refusal(out)


@pytest.mark.parametrize("deep", ["", "deep"])
def test_the_current_directory_is_not_replaced(deep, out, monkeypatch):
    put(out, {"config.json": CONFIG})
    (out / deep).mkdir(exist_ok=True)
    monkeypatch.chdir(out / deep)
    assert "OUT holds the current directory, so --force does not replace it" in refusal(out)


def test_a_current_directory_that_was_removed_refuses_nothing(out, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    check_absent(out, True)


@pytest.mark.parametrize("make", [lambda git: git.mkdir(), lambda git: git.write_text("gitdir: elsewhere")])
def test_a_git_repository_is_not_replaced(make, out):
    put(out, {"config.json": CONFIG})
    make(out / ".git")
    assert "OUT is the root of a git repository, so --force does not replace it" in refusal(out)


def test_where_a_disk_begins_nothing_is_replaced(out, monkeypatch):
    put(out, {"config.json": CONFIG, "1_Normalize/config.json": "{}"})
    ismount = os.path.ismount
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path).endswith("1_Normalize") or ismount(path))
    assert "OUT holds 1_Normalize, which no repo holds" in refusal(out)
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path).endswith("OUT") or ismount(path))
    assert "OUT is the root of a disk, so --force does not replace it" in refusal(out)


def test_a_folder_that_is_protected_against_writing_is_not_replaced(out, monkeypatch):
    """It could be moved aside, but not be removed there."""
    put(out, {"config.json": CONFIG})
    monkeypatch.setattr(os, "access", lambda place, mode: str(place) != str(out))
    assert "OUT is protected against writing, so --force does not replace it" in refusal(out)


def test_without_force_the_option_is_named_only_where_it_would_replace(out):
    put(out, {"config.json": CONFIG})
    with pytest.raises(InputError, match=r"Choose another place or pass --force\.$"):
        check_absent(out, False)
    put(out, {"notes.txt": ""})
    with pytest.raises(InputError, match=r"Choose another place\.$"):
        check_absent(out, False)


def test_what_is_listed_is_a_name_and_no_pattern(out):
    kind = Kind("kind", {"list.json": None}, ("list.json", "{}_imgs.tsv"), ("list.json", "splits"))
    put(out, {"list.json": '{"splits": {"tr[a]in*": {}}}', "tr[a]in*_imgs.tsv": ""})
    check_absent(out, True, kind)
    put(out, {"train_imgs.tsv": ""})
    assert "OUT holds train_imgs.tsv, which no kind holds" in refusal(out, kind)
