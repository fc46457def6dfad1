"""push() against a hub on loopback, with the real client."""

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from huggingface_hub import constants

from hf_zhclip.conversion import convert
from hf_zhclip.conversion.errors import InputError, WorkError
from hf_zhclip.conversion.publishing.notice import with_notice
from hf_zhclip.conversion.publishing.publish import push
from hf_zhclip.conversion.reading.hub import locate
from hf_zhclip.conversion.repos.report import FILE
from hf_zhclip.conversion.words import Words

from tests.conversion.helpers import contents, entries
from tests.conversion.publishing.pushing import FILES, HEADER, SHARDS, STAMP, refused, repo_of
from tests.loopback_hub import environment

pytestmark = pytest.mark.usefixtures("stand_in_cards")

ROOT = Path(__file__).parents[3]


# What is published.


def test_a_verified_folder_is_published_in_one_commit(hub, out):
    before = contents(out)

    pushed = push(out, "user/new")

    there = hub.contents("user/new")
    card = f"{HEADER}{STAMP}load user/new; unverified: None\n".encode()
    assert there == {**before, "README.md": card}
    assert contents(out) == before
    assert len(hub.asked("/commit/")) == 1
    assert pushed.commit == hub.repo("user/new").resolve("main")
    assert pushed.url == f"{hub.endpoint}/user/new"
    assert pushed.files == {name: len(content) for name, content in there.items()}
    assert set(pushed.sent) == set(there) and pushed.unverified is None and not pushed.left_out
    assert json.loads(json.dumps(pushed.to_json()))["repo_id"] == "user/new"
    assert f"{hub.endpoint}/user/new: 5 files, " in pushed.text() and pushed.commit in pushed.text()


def test_pushed_again_nothing_is_sent_and_nothing_committed(hub, out):
    first = push(out, "user/new")
    hub.requests.clear()

    again = push(out, "user/new")

    assert again.commit == first.commit
    assert again.sent == () and "already has all files" in again.text()
    assert not hub.asked("^PUT|/commit/|preupload")


def test_a_new_version_sends_what_changed_and_takes_away_what_would_be_loaded_instead(hub, out, tmp_path):
    foreign = {"pytorch_model.bin": b"theirs", "notes.txt": b"theirs", "my_zhclip.py": b"theirs"}
    hub.add("user/new", {**foreign, "vocab.txt": b"old", "preprocessor_config.json": b"{}"})
    push(out, "user/new")
    sharded = {"config.json": FILES["config.json"], "tokenizer.json": b"{ }\n", SHARDS[0]: b"1", SHARDS[1]: b"2"}
    new = repo_of(tmp_path / "sharded", {**sharded, "model.safetensors.index.json": b"{}\n"})

    pushed = push(new, "user/new")

    assert set(hub.contents("user/new")) == {*sharded, *foreign, "model.safetensors.index.json", "README.md", FILE}
    assert pushed.removed == ("model.safetensors",)
    assert "config.json" not in pushed.sent and "tokenizer.json" in pushed.sent
    assert "Removed on the hub (files of an earlier version): model.safetensors" in pushed.text()


def test_what_is_not_the_repo_s_stays_here_and_is_named(hub, out, tmp_path):
    for name in ("pytorch_model.bin", "epoch3.pt", "notes.txt", ".env", "token", "model-00001-of-00002.safetensors"):
        (out / name).write_text("x")
    (out / ".cache").mkdir()
    (out / ".cache" / "deep").write_text("x")
    (out / "images").mkdir()
    (out / "images" / "a.png").write_text("x")
    left = {".cache/", ".env", "images/a.png", "model-00001-of-00002.safetensors", "notes.txt", "pytorch_model.bin"}
    if os.name == "posix":
        (tmp_path / "secret").write_text("x")
        (out / "added_tokens.json").symlink_to(tmp_path / "secret")
        (out / "outside").symlink_to(tmp_path)
        left |= {"added_tokens.json", "outside/"}

    pushed = push(out, "user/new", dry_run=True)

    assert set(pushed.files) == {*FILES, FILE, "README.md"}
    assert set(pushed.left_out) == left | {"epoch3.pt", "token"}
    assert "epoch3.pt" in pushed.text()


@pytest.mark.skipif(os.name != "posix", reason="makes symbolic links")
def test_a_link_to_elsewhere_is_not_followed_even_if_forced(out, tmp_path):
    (tmp_path / "elsewhere").write_bytes(FILES["model.safetensors"])
    (out / "tokenizer.json").unlink()
    (out / "tokenizer.json").symlink_to(tmp_path / "elsewhere")

    (out / "README.md").unlink()
    (out / "README.md").symlink_to(tmp_path / "elsewhere")

    refused("missing, or a link to another place: tokenizer.json", InputError, out, "user/new")
    pushed = push(out, "user/new", dry_run=True, force_unverified=True)
    assert "tokenizer.json" in pushed.left_out and "tokenizer.json" not in pushed.files
    assert pushed.files["README.md"] < 1000
    (out / FILE).rename(tmp_path / FILE)
    (out / FILE).symlink_to(tmp_path / FILE)
    refused(f"there is no {FILE}", InputError, out, "user/new")


def test_a_card_that_the_user_wrote_is_published_as_it_is(hub, out):
    (out / "README.md").write_text("# Mine\r\n中文\n", encoding="utf-8", newline="")

    push(out, "user/new")

    assert hub.contents("user/new")["README.md"] == "# Mine\r\n中文\n".encode()


def test_a_dry_run_needs_neither_network_nor_token_and_lists_every_file(out, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.delenv("HF_TOKEN", raising=False)

    pushed = push(out, "user/new", dry_run=True)

    assert pushed.dry_run and pushed.commit is None
    assert re.search(r"^ +100,000  model\.safetensors$", pushed.text(), re.MULTILINE)
    assert (
        f"https://huggingface.co/user/new: a push would publish 5 files, {sum(pushed.files.values()):,} bytes"
        in pushed.text()
    )
    assert "The dry run did not read the files on the hub" in pushed.text()


def test_a_card_that_was_edited_on_the_hub_is_kept_and_named(hub, out):
    theirs = "# 我的\r\n".encode()
    push(out, "user/new")
    hub.add("user/new", {"README.md": theirs})

    again = push(out, "user/new")
    (out / "tokenizer.json").write_text("{ }")
    changed = push(out, "user/new", force_unverified=True)

    assert again.kept == ("README.md",) == changed.kept and again.sent == ()
    assert "Not replaced on the hub, because somebody edited the file there: README.md" in again.text()
    assert json.loads(json.dumps(again.to_json()))["kept"] == ["README.md"]
    # What is not verified says so on their card too, once.
    assert hub.contents("user/new")["README.md"] == with_notice(theirs, Words.same(changed.unverified))
    assert set(changed.sent) == {"tokenizer.json", "README.md"}
    assert push(out, "user/new", force_unverified=True).sent == ()
    repo_of(out, FILES)
    push(out, "user/new")
    assert hub.contents("user/new")["README.md"] == theirs
    (out / "README.md").write_text("mine")
    assert push(out, "user/new").kept == () and hub.contents("user/new")["README.md"] == b"mine"


# Where it goes.


def test_a_private_repo_is_made_and_a_public_one_is_not_taken_for_one(hub, out):
    push(out, "user/secret", private=True)
    hub.create("user/open")

    assert hub.repo("user/secret").info["private"]
    assert not hub.contents("user/open")
    refused(
        "user/open is on the hub already, and everybody can read the repo", InputError, out, "user/open", private=True
    )
    assert not hub.contents("user/open")
    refused("everybody can read the repo", InputError, out, "user/open", private=True, revision="v2")
    assert set(hub.repo("user/open").refs) == {"main"}


def test_a_branch_is_made_where_it_is_absent_and_used_where_it_is_there(hub, out):
    push(out, "user/new", revision="v2")
    first = hub.repo("user/new").resolve("v2")
    (out / "README.md").write_text("mine")
    push(out, "user/new", revision="v2")

    assert not hub.contents("user/new", "main")
    assert hub.contents("user/new", "v2")["README.md"] == b"mine"
    assert hub.contents("user/new", first)["README.md"] != b"mine"
    assert len(hub.asked("/branch/")) == 1


def test_a_pull_request_is_opened_on_somebody_else_s_repo_and_pushed_to(hub, out, monkeypatch):
    hub.add("user/new", {"notes.txt": b"theirs"})
    monkeypatch.setenv("HF_TOKEN", "hf_other")

    pushed = push(out, "user/new", create_pr=True)
    (out / "README.md").write_text("mine")

    assert pushed.pull_request == f"{hub.endpoint}/user/new/discussions/1"
    assert pushed.pull_request in pushed.text()
    assert set(hub.contents("user/new")) == {"notes.txt"}
    assert set(hub.contents("user/new", "refs/pr/1")) == {"notes.txt", *contents(out)}
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    push(out, "user/new", revision="refs/pr/1")
    assert hub.contents("user/new", "refs/pr/1")["README.md"] == b"mine"


@pytest.mark.parametrize("name", ["name", "a/b/c", "user/na me", "user/", "/name", "", "user/name:file", "user/a..b"])
def test_what_is_no_repo_s_name_is_refused_at_once(name, out):
    refused("Wanted: user/name", InputError, out, name)


def test_what_is_no_branch_is_refused_at_once(out):
    refused("is no branch", InputError, out, "user/new", revision="0" * 40)
    refused("is no branch", InputError, out, "user/new", revision=" ")
    refused("a pull request already", InputError, out, "user/new", revision="refs/pr/1", create_pr=True)


# What comes back from the hub.

GATED = {"X-Error-Code": "GatedRepo"}
SLOW = {"Retry-After": "77"}
RETURNS = [
    (
        "/resolve/",
        {"status": 401},
        WorkError,
        r"does not know who sent the request .*\(status 401\).* Log in with `hf auth login`",
    ),
    ("/resolve/", {"status": 403}, WorkError, r"You have no right for this request .*\(status 403\)"),
    ("/resolve/", {"status": 403, "headers": GATED}, WorkError, "user/cn is gated: .* Ask for access on the page of"),
    (
        "/resolve/",
        {"status": 409, "message": "Lock"},
        WorkError,
        "could not be downloaded.* Lock. Run the command again",
    ),
    (
        "/resolve/",
        {"status": 429, "headers": SLOW},
        WorkError,
        r"refuses more requests for now \(status 429\).* Wait 77 seconds",
    ),
    ("/resolve/", {"status": 503}, WorkError, r"The hub failed \(status 503\).* Try again later"),
    ("^GET", {"status": 500}, WorkError, r"The hub failed \(status 500\).* Try again later"),
    ("^GET", {"drop_after": 0}, WorkError, "did not answer, or stopped answering: .* run the command again"),
    ("^GET", {"drop_after": 50_000}, WorkError, "did not answer, or stopped answering: .* run the command again"),
]


@pytest.mark.parametrize(("request_of", "fault", "kind", "match"), RETURNS)
def test_a_download_that_fails_is_told_and_nothing_is_half_converted(request_of, fault, kind, match, hub, tmp_path):
    hub.add("user/cn", {"epoch3.pt": bytes(100_000)})
    hub.plan(request_of, **fault)
    before = entries(tmp_path)

    with pytest.raises(kind, match=match) as caught:
        convert("user/cn:epoch3.pt", tmp_path / "OUT")

    assert "\n" not in str(caught.value)
    assert entries(tmp_path) <= before | {"hub"}  # the client's cache


@pytest.mark.parametrize("name", ["user/nothing", "user/nothing:x.pt", "user/cn:nothing.pt", "club/secret:x.pt"])
def test_what_is_not_there_or_not_to_be_seen_is_told_apart_from_trouble(name, hub, tmp_path, monkeypatch):
    hub.add("user/cn", {"epoch3.pt": b"x"})
    hub.create("club/secret", private=True)
    monkeypatch.setenv("HF_TOKEN", "hf_reader")

    with pytest.raises(
        InputError, match="has no file nothing.pt" if "cn" in name else "does not exist: .*hf auth login"
    ):
        convert(name, tmp_path / "OUT")


def test_a_download_that_broke_off_goes_on_where_it_stopped(hub):
    content = bytes(range(256)) * 1000
    hub.add("user/cn", {"epoch3.pt": content})
    hub.plan("^GET .*/resolve/", drop_after=70_000, times=2)

    assert locate("user/cn:epoch3.pt").read_bytes() == content
    assert len(hub.asked("^GET .*/resolve/")) == 3


FRESH = """
    import json, sys
    from pathlib import Path

    import numpy as np
    import torch
    from PIL import Image

    def embed(repo, **options):
        from transformers import AutoModel, AutoProcessor

        code = {name: value for name, value in options.items() if name == "trust_remote_code"}
        model = AutoModel.from_pretrained(repo, **options).eval()
        processor = AutoProcessor.from_pretrained(repo, **code)
        picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
        inputs = processor(text=["一只猫", "两只狗在雪地上跑"], images=picture, return_tensors="pt", padding=True)
        with torch.no_grad():
            text = model.encode_text(inputs["input_ids"], attention_mask=inputs["attention_mask"])
            assert torch.equal(model.encode_text(["一只猫", "两只狗在雪地上跑"]), text)
            return type(model).__module__.split(".")[0], torch.cat([text, model.encode_image(inputs["pixel_values"])])

    local, facts = sys.argv[1:]
    torch.set_num_threads(1)
    sys.modules["hf_zhclip"] = None  # as where it is not installed
    by_code, with_code = embed("user/model", trust_remote_code=True)
    del sys.modules["hf_zhclip"]

    import hf_zhclip
    import pytest
    import zhclip_cli
    from tests.conversion.helpers import save_time

    by_plugin, with_plugin = embed("user/model", device_map="auto", dtype="auto")
    _, wanted = embed(local)
    assert (by_code, by_plugin) == ("transformers_modules", "hf_zhclip"), (by_code, by_plugin)
    torch.testing.assert_close(with_code, wanted, rtol=0, atol=1e-6)
    torch.testing.assert_close(with_plugin, wanted, rtol=0, atol=1e-6)

    save_time(pytest.MonkeyPatch())
    assert zhclip_cli.main(["convert", "user/bert", "bert"]) == 0
    assert zhclip_cli.main(["convert", "user/cn:epoch3.pt", "cn", "--config", facts]) == 0
"""


@pytest.mark.thorough  # test_doors.py has a stranger; test_blocks.py runs the blocks of a pushed card
@pytest.mark.usefixtures("real_cards")
def test_a_fresh_process_loads_what_was_pushed_and_converts_what_others_pushed(hub, original, repo, tmp_path):
    cn, bert = original("cn_clip_vit"), original("bert_clip")
    out = tmp_path / "sharded"
    convert(cn.source, out, **cn.arguments, max_shard_size="1MB", with_code=True)
    first = hub.add("user/cn", {"epoch3.pt": cn.source.read_bytes()})
    hub.add("user/bert", contents(bert.source))

    pushed = push(out, "user/model", private=True)
    script = [sys.executable, "-c", textwrap.dedent(FRESH), str(out), str(cn.arguments["config"])]
    result = subprocess.run(
        script,
        cwd=tmp_path,
        env={**os.environ, **environment(hub, "hf_writer", tmp_path / "home"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )

    assert result.returncode == 0, result.stderr
    assert pushed.unverified is None and not pushed.left_out
    assert "model-00002-of-00002.safetensors" in pushed.files and "modeling_zhclip.py" in pushed.files
    there = hub.contents("user/model")
    assert there.pop("README.md") != (out / "README.md").read_bytes()
    assert there == {name: content for name, content in contents(out).items() if name != "README.md"}
    for name, family in (("cn", "cn_clip_vit"), ("bert", "bert_clip")):
        weights = "model.safetensors"
        assert (tmp_path / name / weights).read_bytes() == (repo(family).path / weights).read_bytes()
    (source,) = json.loads((tmp_path / "cn" / FILE).read_text())["sources"]
    assert source["hub"] == {"repo": "user/cn", "file": "epoch3.pt", "revision": first}
