"""Messages that name a way out of a folder or a file that is not the checkpoint: each way is walked."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from hf_zhclip.conversion import convert
from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.reading.read import read

from tests import checkpoints as c


def refused(place, tmp_path, **arguments):
    with pytest.raises(InputError) as error:
        convert(place, tmp_path / "OUT", **arguments)
    assert not (tmp_path / "OUT").exists()
    return str(error.value)


def converts(place, tmp_path, **arguments):
    return convert(place, tmp_path / "OUT", **arguments).passed


# Links

LINKS = pytest.mark.skipif(os.name == "nt", reason="a link needs rights there")


def dangling(link, target):
    link.symlink_to(target)
    return link


@LINKS
def test_a_weight_file_that_is_a_dangling_link_is_called_so(tmp_path):
    folder = c.bert_clip.bert_clip_config(tmp_path / "folder")
    weights = (folder / "pytorch_model.bin").rename(tmp_path / "kept.bin")
    target = tmp_path / "blobs" / "0123abc"
    dangling(folder / "pytorch_model.bin", target)

    said = refused(folder, tmp_path)
    assert (
        f"pytorch_model.bin is a link to {target}, which does not exist" in said
        and "instead of the folder" not in said
    )
    assert f"is a link to {target}, which does not exist" in refused(folder / "pytorch_model.bin", tmp_path)

    target.parent.mkdir()
    weights.rename(target)  # "Put it there"
    assert converts(folder, tmp_path)


@LINKS
def test_a_dangling_link_beside_a_file_is_not_named_as_a_choice(tmp_path):
    (tmp_path / "folder").mkdir()
    c.cn_clip.cn_clip_file(tmp_path / "folder" / "epoch_3.pt")
    dangling(tmp_path / "folder" / "epoch_latest.pt", "epoch_4.pt")

    said = refused(tmp_path / "folder", tmp_path)

    assert "The folder holds epoch_3.pt: name epoch_3.pt instead of the folder" in said
    assert read(tmp_path / "folder" / "epoch_3.pt").tensors


# The hub's cache


def cache(folder, *commits, ref=None):
    """The root of a repository in the hub's cache, with a snapshot for each commit."""
    root = folder / "models--user--model"
    for commit in commits:
        (root / "snapshots").mkdir(parents=True, exist_ok=True)
        c.bert_clip.bert_clip_config(root / "snapshots" / commit)
    (root / "refs").mkdir(parents=True)
    if ref:
        (root / "refs" / "main").write_text(ref, encoding="utf-8")
    return root


@pytest.mark.quick(1)
@pytest.mark.parametrize(("commits", "ref", "wanted"), [("a", None, "a"), ("ab", "a", "a"), ("ab", "b", "b")])
def test_of_a_cache_root_the_snapshot_is_named(commits, ref, wanted, tmp_path):
    root = cache(tmp_path, *(40 * commit for commit in commits), ref=ref and 40 * ref)
    snapshot = root / "snapshots" / (40 * wanted)

    said = refused(root, tmp_path)

    assert f"The folder is user/model in the hub's cache: name {snapshot}, or user/model." in said
    assert converts(snapshot, tmp_path)


def test_of_a_cache_root_without_weights_the_repository_is_named(tmp_path):
    root = cache(tmp_path)

    assert "The folder is user/model in the hub's cache, without weights. Name user/model" in refused(root, tmp_path)


# Folders of training


def test_of_a_project_with_an_output_folder_the_model_in_it_is_named(tmp_path):
    (tmp_path / "project").mkdir()
    c.bert_clip.bert_clip_config(tmp_path / "project" / "output")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin", "scaler.pt"):
        torch.save({"state": torch.ones(1)}, tmp_path / "project" / name)

    said = refused(tmp_path / "project", tmp_path)

    assert "The folder holds output: name output instead of the folder" in said
    assert converts(tmp_path / "project" / "output", tmp_path)


def test_of_a_trainer_s_output_without_a_final_model_the_steps_are_named_the_last_first(tmp_path):
    (tmp_path / "output").mkdir()
    for step in (500, 1000, 90):
        c.bert_clip.bert_clip_config(tmp_path / "output" / f"checkpoint-{step}")
    torch.save({}, tmp_path / "output" / "training_args.bin")

    said = refused(tmp_path / "output", tmp_path)
    assert (
        "The folder holds checkpoint-1000, checkpoint-500, checkpoint-90: name one of them instead of the folder"
        in said
    )
    assert converts(tmp_path / "output" / "checkpoint-1000", tmp_path)


def test_steps_that_are_adapters_are_named_and_say_what_to_do(tmp_path):
    step = tmp_path / "output" / "checkpoint-500"
    step.mkdir(parents=True)
    (step / "adapter_config.json").write_text("{}", encoding="utf-8")

    assert "The folder holds checkpoint-500: name checkpoint-500" in refused(tmp_path / "output", tmp_path)
    assert "merge_and_unload()" in refused(step, tmp_path)


def test_steps_in_an_output_folder_are_found_and_a_final_model_outweighs_them(tmp_path):
    output = tmp_path / "project" / "output"
    output.mkdir(parents=True)
    c.bert_clip.bert_clip_config(output / "checkpoint-500")
    assert f"The folder holds {Path('output') / 'checkpoint-500'}: name " in refused(tmp_path / "project", tmp_path)

    for file in (output / "checkpoint-500").iterdir():
        shutil.copy(file, output)
    assert "The folder holds output: name output" in refused(tmp_path / "project", tmp_path)


def test_a_converted_repo_in_a_folder_is_no_source(repo, tmp_path):
    shutil.copytree(repo("bert_clip").path, tmp_path / "project" / "my-clip")
    c.cn_clip.cn_clip_file(tmp_path / "project" / "epoch_3.pt")

    assert "The folder holds epoch_3.pt: name epoch_3.pt" in refused(tmp_path / "project", tmp_path)


def test_a_folder_inside_whose_config_json_is_damaged_hides_no_message(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    (c.bert_clip.bert_clip_config(folder / "broken") / "config.json").write_text("{", encoding="utf-8")
    c.cn_clip.cn_clip_file(folder / "epoch_3.pt")

    assert "The folder holds epoch_3.pt: name epoch_3.pt" in refused(folder, tmp_path)


# Zips


def zipped(path, *names):
    """A zip of these files and of what lies in these folders."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            for file in [name] if name.is_file() else sorted(name.iterdir()):
                archive.write(file, file.name if name.is_file() else f"{name.name}/{file.name}")
    return path


def unpacked(said):
    """Runs the command that a message names."""
    words = shlex.split(re.search(r"`(python -m zipfile .*?)`", said).group(1))
    subprocess.run([sys.executable, *words[1:]], check=True, timeout=60)
    return Path(words[-1])


def test_a_zip_with_a_checkpoint_in_it_is_to_be_unpacked(tmp_path):
    facts = c.cn_clip.cn_clip_config(tmp_path / "facts.json")
    packed = zipped(tmp_path / "my model.zip", c.cn_clip.cn_clip_file(tmp_path / "epoch_3.pt"))

    said = refused(packed, tmp_path, config=facts)

    assert "is a zip file that holds epoch_3.pt: unpack it" in said and "epoch_3.pt`" not in said
    folder = unpacked(said)
    assert said.endswith(f"and name {folder / 'epoch_3.pt'}.")
    assert converts(folder / "epoch_3.pt", tmp_path, config=facts)


def test_a_zip_with_a_folder_in_it_leads_to_the_folder(tmp_path):
    packed = zipped(tmp_path / "model.zip", c.bert_clip.bert_clip_config(tmp_path / "bert_clip"))

    said = refused(packed, tmp_path)

    folder = unpacked(said)
    assert said.endswith(f"and name {folder / 'bert_clip'}.")
    assert converts(folder / "bert_clip", tmp_path)


# Byte order marks


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", ["vocab.txt", "vocab.json", "merges.txt"])
def test_a_byte_order_mark_in_front_of_a_vocabulary_goes_by_what_the_message_says(name, tmp_path):
    make = c.bert_clip.bert_clip_config if name == "vocab.txt" else c.hf_clip.clip_folder
    file = make(tmp_path / "model") / name
    kept = file.read_bytes()
    file.write_bytes(b"\xef\xbb\xbf" + kept)

    said = refused(tmp_path / "model", tmp_path)

    assert f"found a byte order mark at the beginning of {file}; wanted UTF-8 without a byte order mark" in said
    subprocess.run([sys.executable, "-c", said.partition("in Python: ")[2]], check=True, timeout=60)
    assert file.read_bytes() == kept
    assert converts(tmp_path / "model", tmp_path)


def test_a_byte_order_mark_in_front_of_a_config_is_taken(tmp_path):
    file = c.bert_clip.bert_clip_config(tmp_path / "model") / "config.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())

    assert converts(tmp_path / "model", tmp_path)
