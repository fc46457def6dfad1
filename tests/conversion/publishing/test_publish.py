"""push() against a hub on loopback, with the real client."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, constants

from hf_zhclip.conversion import convert
from hf_zhclip.conversion.errors import InputError, WorkError
from hf_zhclip.conversion.publishing import cards
from hf_zhclip.conversion.publishing.publish import TOKEN, pack, push, with_notice
from hf_zhclip.conversion.reading.files import sha256
from hf_zhclip.conversion.reading.hub import locate
from hf_zhclip.conversion.repos.report import DIFFERENCE, FILE, Comparison, Report, read_report
from hf_zhclip.conversion.repos.write import write_json
from hf_zhclip.conversion.sources import cn_clip
from hf_zhclip.conversion.words import Words

from tests.conversion.helpers import contents, entries
from tests.loopback_hub import connect, environment, serve

ROOT = Path(__file__).parents[3]
TOKENS = {"hf_writer": ("user", "club"), "hf_reader": (), "hf_other": ("other",)}
STAMP = "<!-- written by the converter -->\n"
HEADER = "---\nlicense: mit\n---\n"
EMBEDDINGS, REFERENCE = Words("embeddings in float32", "向量（float32）"), Words("reference", "参考实现")
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with serve(tmp_path / "server", TOKENS) as hub:
        hub.waits = connect(monkeypatch, hub, "hf_writer", tmp_path)
        yield hub


@pytest.fixture(autouse=True)
def stand_in_cards(request, monkeypatch):
    """Cards of two lines, so that these tests are about publishing alone."""

    def render(folder, *, repo, unverified=None):
        return f"{HEADER}{STAMP}load {repo}; unverified: {unverified and unverified.en}\n"

    if "real_cards" not in request.fixturenames:
        monkeypatch.setattr(cards, "render", render, raising=False)
        monkeypatch.setattr(cards, "is_generated", lambda text: STAMP in text, raising=False)


@pytest.fixture
def real_cards():
    """Asks for the cards as users get them."""


def repo_of(folder, files, level="reference", passed=True):
    """A converted folder as far as publishing is concerned: files, a report that names them, and a card."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    comparison = Comparison("text", EMBEDDINGS, REFERENCE, DIFFERENCE, 1e-5, 0.0 if passed else 1.0, passed)
    conversion = {
        **{"architecture": "ViT", "dtype": "keep", "context_length": 52, "trained_context_length": 52, "limits": []},
        **{"stated_context_length": None, "vocabulary": {"vocab.txt": "00"}},
        **{"image_order": "squash_then_rgb", "catalogue": None, "command": "zhclip", "verification_skipped": False},
    }
    report = Report([], conversion, level, [comparison], hashes)
    write_json(folder / FILE, report.to_json())
    (folder / "README.md").write_text(f"{HEADER}{STAMP}load {folder.name}; unverified: None\n")
    return folder


FILES = {
    "config.json": b'{"model_type": "hf_zhclip"}\n',
    "tokenizer.json": b"{}\n",
    "model.safetensors": b"w" * 100_000,
}


@pytest.fixture
def out(tmp_path):
    return repo_of(tmp_path / "OUT", FILES)


def refused(match, kind=WorkError, *arguments, **options):
    with pytest.raises(kind, match=match) as caught:
        push(*arguments, **options)
    return str(caught.value)


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
    assert again.sent == () and "held all of it already" in again.text()
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
    assert "Removed there, files of an earlier version: model.safetensors" in pushed.text()


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

    refused("missing, or links to elsewhere: tokenizer.json", InputError, out, "user/new")
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
    assert f"https://huggingface.co/user/new: 5 files, {sum(pushed.files.values()):,} bytes would be" in pushed.text()
    assert "What is on the hub was not looked at" in pushed.text()


def test_a_card_that_was_edited_on_the_hub_is_kept_and_named(hub, out):
    theirs = "# 我的\r\n".encode()
    push(out, "user/new")
    hub.add("user/new", {"README.md": theirs})

    again = push(out, "user/new")
    (out / "tokenizer.json").write_text("{ }")
    changed = push(out, "user/new", force_unverified=True)

    assert again.kept == ("README.md",) == changed.kept and again.sent == ()
    assert "Kept as it is there, because somebody edited it: README.md" in again.text()
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
    refused("user/open is on the hub already, and everybody can read it", InputError, out, "user/open", private=True)
    assert not hub.contents("user/open")
    refused("everybody can read it", InputError, out, "user/open", private=True, revision="v2")
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


# What is not verified.


def spoil_report(out):
    (out / FILE).unlink()


def spoil_version(out):
    (out / FILE).write_text('{"format_version": 1}')


def spoil_files(out):
    (out / "config.json").write_text("{}")
    (out / "tokenizer.json").unlink()


def spoil_result(out):
    repo_of(out, FILES, passed=False)


def spoil_level(out):
    repo_of(out, FILES, level="tensors")


SPOILT = [
    (spoil_report, "there is no conversion_report.json"),
    (spoil_version, "its conversion_report.json can't be read, or is of another version"),
    (spoil_files, r"\(changed since then: config\.json; missing, or links to elsewhere: tokenizer\.json\)"),
    (spoil_result, "its verification failed"),
    (spoil_level, "only its tensors were compared, no embeddings"),
]


@pytest.mark.parametrize(("spoil", "reason"), SPOILT)
def test_what_is_not_verified_is_refused_unless_forced_and_then_the_card_says_so(spoil, reason, hub, out):
    spoil(out)
    for name in ("pytorch_model.bin", "notes.txt"):
        (out / name).write_text("x")
    (out / "vocab.txt").write_text("[PAD]\n")

    message = refused(f"OUT is not verified: .*{reason}", InputError, out, "user/new")
    assert "Convert it again, or pass --force-unverified" in message
    assert hub.requests == []

    pushed = push(out, "user/new", force_unverified=True)
    there = hub.contents("user/new")
    assert re.search(reason, pushed.unverified) and "NOT verified, and the card says so" in pushed.text()
    assert pushed.unverified in there["README.md"].decode()
    assert there["README.md"].decode().startswith(HEADER)
    assert set(there) == set(contents(out)) - {"pytorch_model.bin", "notes.txt"}
    assert push(out, "user/new", force_unverified=True).commit == pushed.commit


def test_a_forced_push_goes_on_where_no_card_can_be_made(hub, out, monkeypatch):
    def render(*_, **__):
        raise InputError("no model can be built")

    monkeypatch.setattr(cards, "render", render)
    refused("no model can be built", InputError, out, "user/new")
    (out / "config.json").write_text("{}")

    push(out, "user/new", force_unverified=True)

    card = hub.contents("user/new")["README.md"].decode()
    assert card.startswith("\n> **Not verified") and "changed since then: config.json" in card
    assert card.endswith("\n\n# new\n") and "load OUT" not in card


def fail_comparison(out):
    report = json.loads((out / FILE).read_text(encoding="utf-8"))
    report["comparisons"][0]["passed"] = False
    write_json(out / FILE, report)


def compare_tensors_alone(out):
    write_json(out / FILE, {**read_report(out).to_json(), "level": "tensors"})


def change_weights(out):
    with (out / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"!")


def name_a_pickle(out):
    (out / "pytorch_model.bin").write_text("x")
    report = read_report(out).to_json()
    write_json(
        out / FILE, {**report, "files": {**report["files"], "pytorch_model.bin": sha256(out / "pytorch_model.bin")}}
    )


def break_config(out):
    (out / "config.json").write_text("{}")


@pytest.mark.usefixtures("real_cards")
@pytest.mark.parametrize(
    ("spoil", "rendered"),
    [
        (spoil_report, True),
        (spoil_version, True),
        (fail_comparison, True),
        (compare_tensors_alone, True),
        (change_weights, True),
        (name_a_pickle, True),
        (break_config, False),
    ],
)
def test_no_card_of_what_is_not_verified_says_that_it_is(spoil, rendered, repo, tmp_path):
    out = shutil.copytree(repo("cn_clip_vit").path, tmp_path / "OUT")
    spoil(out)

    card = pack(out, "user/new", force_unverified=True).files["README.md"].read().decode()

    assert not re.search("^(Verified|已验证)", card, re.MULTILINE)
    assert re.search("^> [*][*]Not verified", card, re.MULTILINE)
    assert "英文原文" not in card, "a reason has no Chinese"
    assert ('AutoModel.from_pretrained("user/new"' in card) == rendered == cards.is_generated(card)
    assert "cn_clip_vit" not in re.sub("^zhclip (convert|verify).*", "", card, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("card", "head", "tail"),
    [
        (f"{HEADER}\n# Mine\n", HEADER, "# Mine\n"),
        ("---\r\nlicense: mit\r\n---\r\n# Mine\n", "---\r\nlicense: mit\r\n---\r\n", "# Mine\n"),
        ("---\nlicense: mit\n---", "---\nlicense: mit\n---\n", ""),
        ("# Mine\n\n---\nno header\n---\n", "", "# Mine\n\n---\nno header\n---\n"),
        ("", "", ""),
    ],
)
def test_the_notice_stands_behind_the_metadata(card, head, tail):
    text = with_notice(card.encode(), Words.same("no report")).decode()

    assert text.startswith(f"{head}\n> **Not verified / 未经验证**")
    assert text.endswith(f"\n\n{tail}") and "no report" in text
    again = with_notice(text.encode(), Words.same("another reason")).decode()
    assert again == text.replace("no report", "another reason")


def test_a_folder_without_weights_or_config_is_not_published_even_if_forced(out, tmp_path):
    (out / "model.safetensors").unlink()
    refused("OUT has no weights", InputError, out, "user/new", force_unverified=True)
    (out / "config.json").unlink()
    refused("OUT has no config.json", InputError, out, "user/new", force_unverified=True)
    refused("is no folder", InputError, tmp_path / "nothing", "user/new")


@pytest.mark.parametrize("name", ["../outside.json", "/etc/passwd", ".env", "pytorch_model.bin", "a/../../b"])
def test_a_report_can_not_name_what_no_repo_holds(name, out):
    report = json.loads((out / FILE).read_text())
    report["files"][name] = "0" * 64
    (out / FILE).write_text(json.dumps(report))
    (out / "pytorch_model.bin").write_text("x")

    refused(f"names {re.escape(name)}, which no converted repo holds", InputError, out, "user/new")
    pushed = push(out, "user/new", dry_run=True, force_unverified=True)
    assert name not in pushed.files


@pytest.mark.parametrize("kind", ["", "oauth_", "jwt_"])
def test_a_token_in_a_file_is_not_published_nor_shown(kind, out):
    assert not any(TOKEN.search(limit.en.encode()) for limit in cn_clip.LIMITS)  # hf_zhclip.processing_zhclip.…
    token = f"hf_{kind}" + ("abcDEF0123" * 4 if not kind else "eyJhbGciOi-_" * 3 + ".abc")
    (out / "README.md").write_text(f"login({token!r})")

    message = refused("holds a token of the hub in README.md", InputError, out, "user/new")
    assert token not in message


# What goes wrong on the way.


@pytest.mark.parametrize("token", [None, "hf_typo"])
def test_without_a_valid_token_nobody_pushes(token, hub, out, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)

    kind = WorkError if token else InputError
    message = refused("Log in with `hf auth login`, or set HF_TOKEN", kind, out, "user/new")

    assert message.endswith("Nothing was pushed.")
    assert bool(hub.requests) == bool(token)


def test_a_token_that_may_not_write_is_told_from_a_wrong_name(hub, out, monkeypatch):
    message = refused(r"status 403", WorkError, out, "stranger/new")
    assert 'under the namespace "stranger"' in message and "Log in as somebody who may" in message
    hub.create("user/new")
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert "No file of user/new was changed." in refused("status 403", WorkError, out, "user/new")
    assert not hub.contents("user/new")


QUOTA = "Private repository storage limit reached, please upgrade your plan to increase your private storage limit."
# What the hub answers at a step -> the class of the error and what its message says.
ANSWERS = [
    (
        "/repos/create",
        401,
        "",
        WorkError,
        "does not know who asks .* Log in with `hf auth login`.* Nothing was pushed",
    ),
    ("/repos/create", 404, "No such namespace", InputError, "No such namespace. Look at the name of the user"),
    ("/repos/create", 429, "Too fast", WorkError, "slow down .*Too fast. Wait 77 seconds, .* Nothing was pushed"),
    ("/repos/create", 503, "Down", WorkError, r"in trouble \(status 503\): Down. Try again later. Nothing was pushed"),
    ("validate-yaml", 500, "", WorkError, "in trouble .* No file of user/new was changed"),
    (
        "preupload",
        403,
        "No",
        WorkError,
        r"does not let you .*\(status 403\): .*No. Log in as somebody who may",
    ),
    ("preupload", 504, "Slow", WorkError, "in trouble .* No file of user/new was changed"),
    ("objects/batch", 403, QUOTA, WorkError, "no room for user/new .*storage limit reached.* Make room in .* of user"),
    ("objects/batch", 413, "Too large", WorkError, "no room for user/new .*Too large. Make room"),
    ("objects/batch", 429, "Too fast", WorkError, "slow down .* Wait 77 seconds.* No file of user/new was changed"),
    ("^PUT", 500, "Oops", WorkError, "in trouble .* No file of user/new was changed"),
    ("/verify", 404, "Gone", InputError, "Gone. .* No file of user/new was changed"),
    ("/commit/", 403, QUOTA, WorkError, "no room for user/new .* No file of user/new was changed"),
    ("/commit/", 409, "Lock", WorkError, "was changed by somebody else meanwhile: Lock. Run the command again. No fi"),
    ("/commit/", 429, "Too fast", WorkError, "slow down .* Wait 77 seconds.* No file of user/new was changed"),
    ("/commit/", 502, "", WorkError, "in trouble .* Either everything is there or nothing was changed; run again"),
    (
        "/tree/[0-9a-f]+$",
        500,
        "Oops",
        WorkError,
        "in trouble .* Commit [0-9a-f]{40} is there, but could not be read",
    ),
]


@pytest.mark.parametrize(("step", "status", "said", "kind", "match"), ANSWERS)
def test_what_the_hub_answers_is_told_and_the_next_push_mends_it(step, status, said, kind, match, hub, out):
    first = 2 if step.startswith("/tree") else 1
    fault = hub.plan(step, status=status, message=said, headers={"Retry-After": "77"}, first=first)

    message = refused(match, kind, out, "user/new")

    assert "\n" not in message and ".." not in message
    committed = step.startswith("/tree")
    made = (hub.root / "repos/user/new").exists()
    assert ("user/new was made for this, and is empty." in message) == (made and "No file of" in message)
    assert not (hub.root / "repos/user/new").exists() or bool(hub.contents("user/new")) == committed
    hub.faults.remove(fault)
    pushed = push(out, "user/new")
    assert set(hub.contents("user/new")) == {*FILES, FILE, "README.md"}
    assert bool(pushed.sent) != committed


@pytest.mark.parametrize(
    ("fault", "match"),
    [
        ({"status": 404}, r"by xet: .*set HF_HUB_DISABLE_XET=1"),
        ({"status": 403}, r"does not let you .*\(status 403\)"),
        ({"status": 401}, r"does not know who asks .*\(status 401\).*hf auth login"),
    ],
)
def test_what_the_hub_says_to_xet_is_told_too(fault, match, hub, out, monkeypatch):
    pytest.importorskip("hf_xet")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    hub.plan("xet-write-token", **fault)

    hub.create("user/new")

    assert refused(match, WorkError, out, "user/new").endswith("No file of user/new was changed.")


def test_a_full_quota_reported_for_one_file_is_told(hub, out):
    refusal = {"oid": "0" * 64, "size": 1, "error": {"code": 403, "message": QUOTA}}
    hub.plan("objects/batch", answer={"objects": [refusal], "transfer": "basic"})

    message = refused("storage limit reached", WorkError, out, "user/new")
    assert "Make room" in message and "No file of user/new was changed" in message


def test_somebody_else_s_push_in_between_is_noticed(hub, out, monkeypatch):
    create = HfApi.create_commit

    def late(api, *arguments, **options):
        hub.add("user/new", {"config.json": b"theirs"})
        return create(api, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(HfApi, "create_commit", late)
        refused("user/new was changed by somebody else .* Run the command again", WorkError, out, "user/new")
    assert hub.contents("user/new") == {"config.json": b"theirs"}

    push(out, "user/new")
    assert hub.contents("user/new")["config.json"] == FILES["config.json"]


def test_a_card_that_the_hub_refuses_is_told_before_anything_is_sent(hub, out):
    (out / "README.md").write_text("---\nlicense: not-a-licence\n---\n")

    message = refused('refused the card: .*"license" must be one of', InputError, out, "user/new")
    assert "Mend the metadata at the head of README.md" in message
    assert not hub.asked("^PUT|/commit/")


def test_an_upload_that_broke_off_is_taken_up_again_and_files_that_arrived_are_not_sent_again(hub, tmp_path):
    files = {"config.json": b"{}", SHARDS[0]: b"1" * 300_000, SHARDS[1]: b"2" * 300_000}
    out = repo_of(tmp_path / "OUT", files)
    second = f"^PUT .*{hashlib.sha256(files[SHARDS[1]]).hexdigest()}"
    fault = hub.plan(second, drop_after=1000)

    message = refused("did not answer, or broke off.* No file of user/new was changed", WorkError, out, "user/new")
    assert "HF_ENDPOINT" in message
    assert not hub.contents("user/new")
    hub.faults.remove(fault)
    hub.requests.clear()
    push(out, "user/new")

    assert len(hub.asked("^PUT")) == len(hub.asked(second)) == 1
    assert hub.contents("user/new")[SHARDS[1]] == files[SHARDS[1]]
    assert sum(hub.waits) < 60


def test_a_connection_that_drops_once_is_mended_without_the_user(hub, out):
    hub.plan("^PUT", drop_after=1000, times=1)
    hub.plan("objects/batch", status=503, times=1)

    push(out, "user/new")

    assert hub.contents("user/new")["model.safetensors"] == FILES["model.safetensors"]


@pytest.mark.parametrize("create_pr", [False, True])
def test_an_answer_that_is_lost_is_not_taken_for_a_failure(create_pr, hub, out):
    hub.create("user/new")
    hub.plan("/commit/", lose_answer=True, times=1)

    state = "unless only the hub's answer was lost: look" if create_pr else "Either everything is there or nothing"
    refused(state, WorkError, out, "user/new", create_pr=create_pr)

    if not create_pr:
        assert push(out, "user/new").sent == ()
        assert len(hub.asked("/commit/")) == 1


def test_a_hub_that_keeps_something_else_is_not_called_done(hub, out, monkeypatch):
    create = HfApi.create_commit

    def changed(api, repo_id, operations, **options):
        add = CommitOperationAdd("config.json", b"{}")
        return create(
            api, repo_id, [add if each.path_in_repo == "config.json" else each for each in operations], **options
        )

    monkeypatch.setattr(HfApi, "create_commit", changed)

    refused(r"Commit [0-9a-f]{40} of user/new does not hold what is here: config\.json\.", WorkError, out, "user/new")


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "http://nowhere.invalid"])
def test_a_hub_that_is_not_there_is_told(endpoint, hub, out, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)

    message = refused(f"The hub at {endpoint} did not answer, or broke off: ", WorkError, out, "user/new")
    assert message.endswith("Nothing was pushed.")


def test_a_password_in_the_address_of_a_hub_is_not_told(hub, out, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://somebody:secret@127.0.0.1:9")

    message = refused(r"The hub at http://\*\*\*@127.0.0.1:9 did not answer", WorkError, out, "user/new")
    assert "secret" not in message
    assert "secret" not in push(out, "user/new", dry_run=True).url

    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert "secret" not in refused("Nobody is logged in to the hub at", InputError, out, "user/new")


def test_a_token_that_an_answer_repeats_is_not_told(hub, out):
    token = "hf_abcdefghijklmnopqrstuvwxyz012345"
    hub.plan("/api/repos/create", status=400, message=f"the token {token} is of another kind")

    assert token not in refused(r"the token hf_\*\*\* is of another kind", InputError, out, "user/new")


def test_offline_nothing_is_pushed(hub, out, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    refused("Offline mode is on.* Unset HF_HUB_OFFLINE", WorkError, out, "user/new")
    assert hub.requests == []


def test_a_revision_that_can_not_be_made_is_told(hub, out):
    hub.create("user/new")
    refused("user/new has no such revision", InputError, out, "user/new", revision="refs/pr/7")
    refused("user/new has no such revision", InputError, out, "user/new", revision="v9", create_pr=True)


# What comes back from the hub.

GATED = {"X-Error-Code": "GatedRepo"}
SLOW = {"Retry-After": "77"}
RETURNS = [
    (
        "/resolve/",
        {"status": 401},
        WorkError,
        r"does not know who asks .*\(status 401\).* Log in with `hf auth login`",
    ),
    ("/resolve/", {"status": 403}, WorkError, r"does not let you .*\(status 403\)"),
    ("/resolve/", {"status": 403, "headers": GATED}, WorkError, "user/cn is gated: .* Ask for access on the page of"),
    (
        "/resolve/",
        {"status": 409, "message": "Lock"},
        WorkError,
        "could not be downloaded.* Lock. Run the command again",
    ),
    ("/resolve/", {"status": 429, "headers": SLOW}, WorkError, r"slow down \(status 429\).* Wait 77 seconds"),
    ("/resolve/", {"status": 503}, WorkError, r"in trouble \(status 503\).* Try again later"),
    ("^GET", {"status": 500}, WorkError, r"in trouble \(status 500\).* Try again later"),
    ("^GET", {"drop_after": 0}, WorkError, "did not answer, or broke off: .* run the command again"),
    ("^GET", {"drop_after": 50_000}, WorkError, "did not answer, or broke off: .* run the command again"),
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
