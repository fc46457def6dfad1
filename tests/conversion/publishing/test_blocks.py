"""The blocks and commands of a card run as they stand."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap

import pytest
import torch
from huggingface_hub.cli.hf import app as hf

import zhclip_cli
from hf_zhclip.conversion import card, convert, push
from hf_zhclip.conversion.exports import exporting

from tests import checkpoints
from tests.conversion.publishing.reading import BLOCK, FAMILIES, LONGEST, line_count, shared, text_of
from tests.loopback_hub import connect, serve

COMMAND = re.compile(r"`((?:zhclip export|hf download) [^`]*)`")
"""The commands that start from the repo; those that start from its original are in the fold of the verification."""

PROGRAMS = {"zhclip": zhclip_cli.main, "hf": lambda arguments: hf(arguments, standalone_mode=False)}

# What a stranger does: each card's blocks, one after another, where hf_zhclip is not installed.
STRANGER = """
    import json, sys

    sys.modules["hf_zhclip"] = None
    for name, blocks in json.load(open(sys.argv[1], encoding="utf-8")).items():
        print("card", name)
        names = {"__name__": "card"}
        for block in blocks:
            exec(compile(block, name, "exec"), names)
        assert type(names["model"]).__module__.startswith("transformers_modules.")
"""


@pytest.fixture
def no_export_process(monkeypatch):
    """What an export computes is compared by its own tests, in a fresh process that costs seconds."""
    monkeypatch.setattr(exporting, "_verify_native", lambda *arguments: None)


@pytest.mark.quick(3)
@pytest.mark.parametrize("variant", [*FAMILIES, "sharded"])
def test_every_block_and_command_of_a_card_runs(variant, repo, original, tmp_path, monkeypatch, no_export_process):
    folder = tmp_path / "my clip"  # with a space, which the shell has to be told
    if variant in FAMILIES:
        shutil.copytree(repo(variant).path, folder)
    else:
        found = original("cn_clip_vit")
        convert(found.source, folder, **found.arguments, max_shard_size="1MB")
        assert (folder / "model.safetensors.index.json").is_file()
    card(folder)
    monkeypatch.chdir(tmp_path)

    names = run_blocks(text_of(folder))
    ran = run_commands(text_of(folder))

    assert names["query"].shape == (1, names["model"].config.projection_dim)
    assert ran == {"cn_clip_vit": 2, "cn_clip_resnet": 1, "taiyi_head": 0, "sharded": 2}.get(variant, 1)


def test_every_block_and_command_of_a_card_on_the_hub_runs(repo, tmp_path, monkeypatch, no_export_process):
    with serve(tmp_path / "server", {"hf_writer": ("user",)}) as hub:
        connect(monkeypatch, hub, "hf_writer", tmp_path)
        push(repo("cn_clip_vit").path, "user/my-clip")
        text = hub.contents("user/my-clip")["README.md"].decode()
        monkeypatch.chdir(tmp_path)
        run_blocks(text)
        ran = run_commands(text)
    assert ran == 3 and text.count('"user/my-clip"') == 1
    assert (tmp_path / "my-clip.pt").is_file() and (tmp_path / "my-clip-native" / "config.json").is_file()


@pytest.mark.thorough  # the blocks run above; test_doors.py has a stranger
def test_the_blocks_of_a_card_run_for_a_stranger_who_has_transformers_alone(repo, tmp_path):
    """One process for a pair, for a ResNet, for an English model and for a text tower alone."""
    folders = {name: shutil.copytree(repo(name).path, tmp_path / name) for name in ("cn_clip_resnet", "hf_clip")}
    alone = checkpoints.taiyi.taiyi_folder(tmp_path / "bert", head=False)
    convert(alone, tmp_path / "text_alone", format="bert_from_clip")
    blocks = {}
    for name in (*folders, "text_alone"):
        card(tmp_path / name)
        assert line_count(text_of(tmp_path / name)) <= LONGEST
        blocks[name] = [block for _, block in BLOCK.findall(text_of(tmp_path / name))]
        assert blocks[name] and all("hf_zhclip" not in block for block in blocks[name])

    printed = stranger(blocks, tmp_path)

    pair, english, text = printed.split("card ")[1:]
    for found in (pair, english):
        (probabilities,) = re.findall(r"probabilities among these texts: tensor\(\[\[(.*?)\]", found)
        assert found.count("cosines: ") == 1 and found.count("topk") == 1
        assert sum(map(float, probabilities.split(","))) == pytest.approx(1, abs=1e-3)
    assert "torch.Size([2, " in text and "cosines" not in text


def stranger(blocks, folder):
    (folder / "blocks.json").write_text(json.dumps(blocks), encoding="utf-8")
    (folder / "stranger.py").write_text(textwrap.dedent(STRANGER), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    ran = subprocess.run(
        [sys.executable, "stranger.py", "blocks.json"],
        cwd=folder,
        env={**environment, "HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    return ran.stdout


def run_blocks(text):
    """Runs a card's Python, whose second block continues the first, and gives the names that it leaves."""
    names = {"__name__": "card"}
    with torch.random.fork_rng():
        for language, block in BLOCK.findall(text):
            assert language == "python"
            exec(compile(block, "a card's block", "exec"), names)
    return names


def run_commands(text):
    """Runs a card's commands and gives their number."""
    commands = COMMAND.findall(shared(text))
    for program, *arguments in map(shlex.split, commands):
        assert PROGRAMS[program](arguments) in (0, None)
    return len(commands)
