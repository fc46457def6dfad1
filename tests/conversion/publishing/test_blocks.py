"""The blocks of a card run as they stand."""

import shlex
import shutil

import pytest
import torch
from huggingface_hub.cli.hf import app as hf
from PIL import Image

import zhclip_cli
from hf_zhclip.conversion import card, push
from hf_zhclip.conversion.exports import exporting

from tests.conversion.publishing.reading import (
    BLOCK,
    FAMILIES,
    halves,
    text_of,
)
from tests.loopback_hub import connect, serve


@pytest.mark.parametrize("variant", [*FAMILIES, "sharded"])
def test_every_block_of_a_card_runs(variant, repo, original, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "my clip"  # with a space, which the shell has to be told
    if variant in FAMILIES:
        shutil.copytree(repo(variant).path, folder)
    else:
        convert_again(original("cn_clip_vit"), folder)
    card(folder)
    Image.new("RGB", (90, 60), "yellow").save(tmp_path / "pokemon.jpeg")
    monkeypatch.chdir(tmp_path)
    # What an export computes is compared by its own tests, in a fresh process that costs seconds.
    monkeypatch.setattr(exporting, "_verify_native", lambda *arguments: None)
    ran = [run(language, block) for language, block in BLOCK.findall(halves(text_of(folder))[1])]
    doors = {"cn_clip_vit": 5, "cn_clip_resnet": 3, "taiyi_head": 2, "sharded": 5}
    assert sum(ran) == doors.get(variant, 4)


def test_every_block_of_a_card_on_the_hub_runs(repo, tmp_path, monkeypatch, capsys):
    with serve(tmp_path / "server", {"hf_writer": ("user",)}) as hub:
        connect(monkeypatch, hub, "hf_writer", tmp_path)
        push(repo("cn_clip_vit").path, "user/my-clip")
        text = hub.contents("user/my-clip")["README.md"].decode()
        Image.new("RGB", (90, 60), "yellow").save(tmp_path / "pokemon.jpeg")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(exporting, "_verify_native", lambda *arguments: None)
        ran = [run(language, block) for language, block in BLOCK.findall(halves(text)[1])]
    assert sum(ran) == 5 and text.count('"user/my-clip"') == 10
    assert (tmp_path / "my-clip.pt").is_file() and (tmp_path / "my-clip-native" / "config.json").is_file()


def convert_again(found, folder):
    from hf_zhclip.conversion import convert

    convert(found.source, folder, **found.arguments, max_shard_size="1MB")
    assert (folder / "model.safetensors.index.json").is_file()


PROGRAMS = {"zhclip": zhclip_cli.main, "hf": lambda arguments: hf(arguments, standalone_mode=False)}


def run(language, block):
    """Runs a block, unless it is data or needs a package that is not here (tests/parity/test_card_blocks.py)."""
    if language == "bash":
        for program, *arguments in map(shlex.split, block.splitlines()):
            assert PROGRAMS[program](arguments) in (0, None)
        return True
    if language == "python" and "sentence_transformers" not in block:
        with torch.random.fork_rng():
            exec(compile(block, "a card's block", "exec"), {"__name__": "card"})
        return True
    assert language in ("python", "text", "bibtex")
    return False
