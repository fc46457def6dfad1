"""`zhclip evaluate --card`: measured figures in a repo's file and on its card."""

import datetime
import json
import shutil

import pytest
import yaml

import zhclip_cli
from hf_zhclip.conversion import card
from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.publishing import card_measured, noting
from hf_zhclip.conversion.publishing.packing import pack
from hf_zhclip.inference import loading

from tests.conversion.helpers import contents
from tests.data.made import tsv

FILE = "measured_figures.json"
FIGURES = {"r1": 12.34567, "r5": 50, "r10": 100, "mean_recall": 54.1}
RESULT = {"text_to_image": FIGURES, "image_to_text": {**FIGURES, "r1": 3.0}}
OPTIONS = {"repo": "r", "data": "/home/somebody/MUGE", "split": "valid", "classes": None, "templates": None}
OPTIONS |= {"threshold": False, "as_cn_clip": True, "context_length": None, "device": None, "out": "/tmp/o"}


@pytest.fixture
def folder(repo, tmp_path):
    return shutil.copytree(repo("cn_clip_vit").path, tmp_path / "my-clip")


def noted(folder, result=RESULT, **options):
    noting.note_on_card({**OPTIONS, "repo": str(folder), **options}, result)
    return (folder / "README.md").read_text(encoding="utf-8")


def results(text):
    (model,) = yaml.safe_load(text.split("---\n")[1])["model-index"]
    return model["results"]


def test_figures_stand_on_the_card_with_data_date_and_command(folder, tmp_path):
    text = noted(folder)

    command = "zhclip evaluate my-clip MUGE --split valid --as-cn-clip"
    today = datetime.date.today().isoformat()
    assert "| MUGE valid | " in text and "R@1 12.35 · R@5 50 · R@10 100 · mean recall 54.1" in text
    assert text.count(command) >= 1 and f"| {today} |" in text
    assert "somebody" not in text and str(tmp_path) not in text
    found = {}
    for result in results(text):
        assert result["dataset"]["name"] == "MUGE" and result["dataset"]["split"] == "valid"
        for metric in result["metrics"]:
            assert metric["args"]["command"] == command and metric["args"]["date"] == today
            found[metric["name"]] = metric["value"]
    assert found["text-to-image retrieval: R@1"] == 12.3457 and found["image-to-text retrieval: R@1"] == 3
    assert len(found) == 8


def test_figures_of_the_same_data_are_replaced_and_others_stay(folder):
    noted(folder)
    noted(folder, {"text_to_image": {**FIGURES, "r1": 77.7}})
    classified = {"classification": {"top1": 64.4, "top5": 90.0, "mean_per_class": 64.0, "pictures": 9}}
    text = noted(folder, classified, split=None, data="CIFAR")
    figures = json.loads((folder / FILE).read_text())["figures"]
    assert [(each["task"], each["dataset"], each["values"].get("r1")) for each in figures] == [
        ("image_to_text", "MUGE", 3.0), ("text_to_image", "MUGE", 77.7), ("classification", "CIFAR", None),
    ]  # fmt: skip
    assert "77.7" in text and "12.35" not in text and "top 1 64.4" in text
    assert any(each["task"]["type"] == "zero-shot-image-classification" for each in results(text))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_figures_go_when_the_files_that_they_depend_on_change(name, folder):
    assert "R@1 12.35" in noted(folder)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(
        content[:-1] + bytes([content[-1] ^ 1]) if name.startswith("model") else content + b"\n"
    )
    assert "R@1 12.35" not in card(folder).read_text(encoding="utf-8")
    assert "R@1 33" in noted(folder, {"text_to_image": {**FIGURES, "r1": 33}})
    assert len(json.loads((folder / FILE).read_text())["figures"]) == 1


def test_a_push_publishes_figures_and_card(folder, tmp_path):
    noted(folder)
    parcel = pack(folder, "user/name")
    assert FILE in parcel.files and FILE not in parcel.left_out and parcel.unverified is None
    text = parcel.files["README.md"].read().decode()
    assert "R@1 12.35" in text and "somebody" not in text and str(tmp_path) not in text
    assert str(tmp_path).encode() not in parcel.files[FILE].read()


@pytest.mark.parametrize(
    "content, match",
    [
        ("{", "no valid JSON"),
        ('{"figures": []}', "found no files"),
        ('{"files": {}, "figures": [1]}', r"figures\[0\]"),
        ('{"files": {}, "figures": [{}]}', "found no task"),
        (None, "has the task 'cooking'.* Remove the file"),
    ],
)
def test_damaged_figures_are_refused_before_anything_is_measured(content, match, folder, monkeypatch, capsys):
    if content is None:
        noted(folder)
        content = (folder / FILE).read_text().replace('"text_to_image"', '"cooking"')
    (folder / FILE).write_text(content)
    refuses(folder, match, monkeypatch, capsys)

    (folder / FILE).unlink()
    assert "R@1 12.35" in noted(folder)


def test_a_card_that_a_person_edited_is_refused_before_anything_is_measured(folder, monkeypatch, capsys):
    (folder / "README.md").write_text("# mine\n")
    refuses(folder, "was not written by zhclip, or was edited later", monkeypatch, capsys)


def test_figures_are_noted_in_a_folder_alone_and_the_folder_is_the_way_out(folder, capsys):
    data = str(tsv(folder.parent / "data"))
    for repo in ("user/repo", None):
        with pytest.raises(InputError, match="Give the folder of a converted repo and DATA, or leave out --card"):
            noting.check_noting(repo, data)
    assert zhclip_cli.main(["evaluate", str(folder), data]) == 0
    assert zhclip_cli.main(["evaluate", str(folder), data, "--card"]) == 0
    assert "The figures stand on" in capsys.readouterr().err


def refuses(folder, match, monkeypatch, capsys):
    monkeypatch.setattr(loading, "_load", None)
    data, before = tsv(folder.parent / "data"), contents(folder)
    with pytest.raises(InputError, match=match):
        noting.check_noting(str(folder), str(data))
    assert zhclip_cli.main(["evaluate", str(folder), str(data), "--card"]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.startswith("zhclip: ") and contents(folder) == before


def test_the_command_notes_what_it_measured(folder, capsys):
    data = tsv(folder.parent / "data")
    assert zhclip_cli.main(["evaluate", str(folder), str(data), "--card", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "zhclip evaluate my-clip data" in text and str(folder.parent) not in text
    values = {each["task"]: each["values"] for each in json.loads((folder / FILE).read_text())["figures"]}
    assert values["text_to_image"]["r10"] == told["text_to_image"]["r10"]
    assert card_measured.figures_of(folder, None)


@pytest.mark.parametrize(
    "word, shown",
    [
        ("/a/b/c", "c"),
        ("C:\\a\\b", "b"),
        ("a/b", "a/b"),
        ("/x/lists.py:NAMES", "lists.py:NAMES"),
        ("cn_clip:openai",) * 2,
    ],
)
def test_of_an_absolute_path_the_command_has_the_name(word, shown):
    assert noting.command_of({**OPTIONS, "repo": word, "data": "d"}).split()[2].strip("'") == shown


def test_data_are_named_by_folder_or_file_or_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "muge").mkdir()
    (tmp_path / "muge" / "valid_texts.jsonl").write_text("")
    assert noting.dataset_of("muge") == noting.dataset_of(str(tmp_path / "muge")) == "muge"
    assert noting.dataset_of("muge/valid_texts.jsonl") == "muge/valid_texts.jsonl"
    assert noting.dataset_of(str(tmp_path / "muge" / "valid")) == "valid"
    assert noting.dataset_of("user/data") == "user/data"
