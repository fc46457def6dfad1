"""Every command with a mirror of the hub (HF_ENDPOINT), and then without any network (HF_HUB_OFFLINE)."""

import json
import shutil
from unittest.mock import ANY

import pytest
from huggingface_hub import constants

import zhclip_cli
from hf_zhclip.conversion import load
from hf_zhclip.conversion.errors import InputError, WorkError
from hf_zhclip.conversion.exports import exporting, native_process
from hf_zhclip.conversion.proof import samples
from hf_zhclip.conversion.reading.hub import locate

from tests import checkpoints
from tests.conversion.helpers import contents
from tests.loopback_hub import connect, serve

TEXT, CLIP, FILE = "user/text", "user/clip", "user/files:epoch3.pt"
PAIR = ["--vision", CLIP, "--format", "taiyi"]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """What the mirror holds: a text part, a CLIP, and a file."""
    folder = tmp_path_factory.mktemp("sources")
    checkpoints.taiyi.taiyi_folder(folder / "text", head=True)
    checkpoints.hf_clip.clip_folder(folder / "clip")
    (folder / "files").mkdir()
    checkpoints.cn_clip.cn_clip_file(folder / "files" / "epoch3.pt")
    checkpoints.cn_clip.cn_clip_config(folder / "facts.json")
    return folder


@pytest.fixture
def mirror(sources, tmp_path, monkeypatch):
    """A hub on loopback, which is all that this process can reach."""
    with serve(tmp_path / "server", {"hf_writer": ("user",)}) as hub:
        hub.waits = connect(monkeypatch, hub, "hf_writer", tmp_path)
        for name in ("text", "clip", "files"):
            hub.add(f"user/{name}", contents(sources / name))
        hub.requests.clear()
        yield hub


@pytest.fixture(autouse=True)
def export_in_this_process(monkeypatch):
    """As the suite's own tests of an export compute it: a process of its own costs seconds."""

    def answer(request):
        return json.loads(json.dumps(native_process.compute(json.loads(json.dumps(request)))))

    monkeypatch.setattr(exporting, "in_fresh_process", answer)
    monkeypatch.setattr(native_process.runpy, "run_path", lambda _: vars(samples))


def asking(out, facts):
    """Every command that takes a source; the last compares what the one before has made."""
    return (
        ["inspect", CLIP],
        ["inspect", FILE, "--config", facts],
        ["convert", TEXT, out, *PAIR],
        ["verify", out, "--against", TEXT, *PAIR],
    )


def run(capfd, *words):
    code = zhclip_cli.main(list(map(str, words)))
    return code, capfd.readouterr().err


def test_commands_with_a_source_ask_the_mirror_and_then_do_without_it(mirror, sources, tmp_path, monkeypatch, capfd):
    for words in asking(tmp_path / "1", sources / "facts.json"):
        mirror.requests.clear()
        assert run(capfd, *words)[0] == 0 and mirror.requests, words
    assert run(capfd, "push", tmp_path / "1", "user/new")[0] == 0
    assert "model.safetensors" in mirror.contents("user/new")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    mirror.requests.clear()
    for words in asking(tmp_path / "2", sources / "facts.json")[:-1]:
        assert run(capfd, *words) == (0, ANY), words
    code, told = run(capfd, "push", tmp_path / "2", "user/other")
    assert code == 1 and "Offline mode is on" in told
    for source in ("user/never", "user/never:x.pt"):
        code, told = run(capfd, "inspect", source)
        assert code == 1 and "user/never could not be downloaded, and is not in the cache. Offline mode is on" in told
    assert mirror.requests == []


def test_commands_on_a_folder_of_this_machine_ask_nobody(mirror, repo, tmp_path, capfd):
    folder = shutil.copytree(repo("hf_clip").path, tmp_path / "OUT")
    for words in (
        ["verify", folder],
        ["card", folder, "--license", "mit"],
        ["export", folder, tmp_path / "native", "--to", "transformers"],
        ["list"],
    ):
        assert run(capfd, *words)[0] == 0, words
    assert mirror.requests == []


def test_a_half_fetched_folder_is_not_taken_for_a_whole_one_offline(mirror, monkeypatch):
    (locate(CLIP) / "config.json").unlink()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    with pytest.raises(WorkError, match="could not be downloaded, and is not in the cache"):
        locate(CLIP)


def test_a_model_is_loaded_by_the_mirror_s_name_and_again_offline(mirror, tmp_path, monkeypatch):
    monkeypatch.setenv("ZHCLIP_CACHE", str(tmp_path / "cache"))
    load(TEXT, vision=CLIP, format="taiyi")
    assert mirror.asked("user/text") and mirror.asked("user/clip")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    mirror.requests.clear()
    model, _ = load(TEXT, vision=CLIP, format="taiyi")
    assert model.config.model_type == "hf_zhclip" and mirror.requests == []


@pytest.mark.parametrize(
    "names",
    [
        (".metadata", "__0_0.distcp"),
        ("latest", "zero_to_fp32.py", "global_step7/mp_rank_00_model_states.pt"),
        ("config.json", "trainer_state.json", "pytorch_model_fsdp_0/.metadata", "pytorch_model_fsdp_0/__0_0.distcp"),
    ],
)
def test_a_checkpoint_of_training_in_parts_is_fetched_by_hand(names, mirror):
    mirror.add("user/parts", dict.fromkeys(names, b"x"))

    with pytest.raises(InputError, match=r"in parts \(.*\), .* `hf download user/parts --local-dir FOLDER`, and name"):
        locate("user/parts")
