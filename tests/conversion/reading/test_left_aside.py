"""A folder with several sets of weights: one is read, and the others are named."""

import pytest
import torch

from hf_zhclip.conversion import convert, inspect
from hf_zhclip.conversion.reading.read import read

from tests import checkpoints as c
from tests.weights import seeded_state_dict

OTHERS = ("pytorch_model.bin", "open_clip_pytorch_model.bin")


@pytest.fixture
def folder(tmp_path):
    """A CLIPModel folder with two other sets beside its model.safetensors."""
    found = c.hf_clip.clip_folder(tmp_path / "clip")
    for name in OTHERS:
        torch.save(seeded_state_dict(c.hf_clip.hf_clip()), found / name)
    return found


def test_what_was_read_and_what_was_left_aside_is_said_by_inspect_and_in_the_report(folder, tmp_path):
    found, said = inspect(folder), []
    report = convert(folder, tmp_path / "out", progress=said.append)

    assert (found.file, found.left_aside) == ("model.safetensors", OTHERS)
    line = f"model.safetensors; not read: {', '.join(OTHERS)}"
    assert f"  read: {line}" in found.summary().splitlines()
    assert f"Read {line}" in said
    assert report.sources[0]["left_aside"] == list(OTHERS)
    assert not set(OTHERS) & report.sources[0]["files"].keys()


def test_of_an_open_clip_folder_transformers_weights_are_left_aside(tmp_path):
    folder = c.open_clip.open_clip_folder(tmp_path / "open_clip")
    torch.save(seeded_state_dict(c.hf_clip.hf_clip()), folder / "pytorch_model.bin")

    found = read(folder)

    assert found.files[0].name.startswith("open_clip_") and found.left_aside == ("pytorch_model.bin",)


def test_where_there_is_one_set_nothing_is_said(folder, tmp_path):
    for name in OTHERS:
        (folder / name).unlink()
    said = []
    report = convert(folder, tmp_path / "out", progress=said.append)

    assert "not read" not in inspect(folder).text() and not any("not read" in line for line in said)
    assert report.sources[0]["left_aside"] == []


def test_a_file_that_is_named_itself_leaves_nothing_aside(folder):
    assert read(folder / "pytorch_model.bin").left_aside == ()
