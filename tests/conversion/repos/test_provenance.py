from pathlib import Path
from types import SimpleNamespace

import pytest

from hf_zhclip.conversion.detection.parts import identify
from hf_zhclip.conversion.reading.hashing import Hashes
from hf_zhclip.conversion.reading.read import Checkpoint
from hf_zhclip.conversion.repos import provenance
from hf_zhclip.conversion.stated import Stated


def part(path="/home/somebody/epoch3.pt", hub_id="", revision=""):
    return SimpleNamespace(checkpoint=Checkpoint(Path(path), (), "zip", {}, hub_id=hub_id, revision=revision))


def test_the_command_names_what_was_given_and_no_place():
    options = {"format": "taiyi", "tokenizer": "/home/somebody/vocab.txt", "context_length": 77, "without_code": True}

    command = provenance.command([part(), part("/data/clip vit")], Path("/tmp/x/out"), options)

    assert command == (
        "zhclip convert epoch3.pt out --vision 'clip vit' --format taiyi --tokenizer vocab.txt --context-length 77 "
        "--without-code"
    )


def test_the_command_leaves_out_what_goes_without_saying():
    options = {"format": None, "dtype": "keep", "max_shard_size": "5GB", "without_code": False, "config": None}

    assert provenance.command([part()], Path("out"), options) == "zhclip convert epoch3.pt out"


def test_a_source_from_the_hub_is_named_as_there():
    found = part("/cache/snapshots/x/a.pt", hub_id="user/repo:a.pt", revision="0" * 40)

    assert provenance.command([found], Path("out"), {}) == "zhclip convert user/repo:a.pt out"


@pytest.mark.parametrize("family", ["cn_clip_vit", "taiyi_head"])
def test_a_source_of_this_machine_is_nowhere_on_the_hub(family, original):
    found = original(family)
    stated = Stated(found.source, **found.arguments)
    parts = identify(stated)

    with Hashes() as hashes:
        assert [provenance.record(part, hashes)["hub"] for part in parts] == [None] * len(parts)
    assert provenance.entry_name(stated, parts) is None


TAIYI, CLIP = "IDEA-CCNL/Taiyi-CLIP-Roberta-102M-Chinese", "openai/clip-vit-base-patch32"


@pytest.mark.parametrize(
    ("source", "vision", "name"),
    [
        ("taiyi-clip-roberta-102m", CLIP, "Taiyi-CLIP-Roberta-102M-Chinese"),
        (TAIYI, CLIP, "Taiyi-CLIP-Roberta-102M-Chinese"),
        (TAIYI, "openai/clip-vit-base-patch16", None),
        (TAIYI, "", None),
        ("somebody/taiyi", CLIP, None),
    ],
)
def test_only_what_was_published_together_bears_the_catalogue_s_name(source, vision, name):
    assert provenance.entry_name(Stated(source), [part(hub_id=TAIYI), part(hub_id=vision)]) == name


def test_a_source_from_the_hub_is_recorded_to_the_commit():
    found = part("/x", hub_id="user/repo:a.pt", revision="0" * 40)

    assert provenance.published_at(found.checkpoint) == {"repo": "user/repo", "file": "a.pt", "revision": "0" * 40}
