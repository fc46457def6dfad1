"""What of a folder is published, and what of it is refused or only published by force."""

import json
import os
import re
import shutil

import pytest

from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.publishing import card_file, rendering
from hf_zhclip.conversion.publishing.notice import with_notice
from hf_zhclip.conversion.publishing.packing import TOKEN, pack
from hf_zhclip.conversion.publishing.publish import push
from hf_zhclip.conversion.reading.files import sha256
from hf_zhclip.conversion.repos.report import FILE, read_report
from hf_zhclip.conversion.repos.write import write_json
from hf_zhclip.conversion.sources import cn_clip
from hf_zhclip.conversion.words import Words

from tests.conversion.helpers import contents
from tests.conversion.publishing.pushing import FILES, HEADER, refused, repo_of

pytestmark = pytest.mark.usefixtures("stand_in_cards")


def spoil_report(out):
    (out / FILE).unlink()


def spoil_version(out):
    (out / FILE).write_text('{"format_version": 1}')


def lie_about_the_level(out):
    report = json.loads((out / FILE).read_text(encoding="utf-8"))
    (out / FILE).write_text(json.dumps({**report, "level": "peer"}))


def spoil_files(out):
    (out / "config.json").write_text("{}")
    (out / "tokenizer.json").unlink()


def spoil_result(out):
    repo_of(out, FILES, passed=False)


def spoil_level(out):
    repo_of(out, FILES, level="tensors")


SPOILT = [
    (spoil_report, "there is no conversion_report.json"),
    (spoil_version, "its conversion_report.json can't be read, has another version, or contradicts itself"),
    (lie_about_the_level, "can't be read, has another version, or contradicts itself"),
    (spoil_files, r"\(changed: config\.json; missing, or a link to another place: tokenizer\.json\)"),
    (spoil_result, "its verification failed"),
    (spoil_level, "only tensors were compared, no embeddings"),
]


@pytest.mark.parametrize(("spoil", "reason"), SPOILT)
def test_what_is_not_verified_is_refused_unless_forced_and_then_the_card_says_so(spoil, reason, hub, out):
    spoil(out)
    for name in ("pytorch_model.bin", "notes.txt"):
        (out / name).write_text("x")
    (out / "vocab.txt").write_text("[PAD]\n")

    message = refused(f"OUT is not verified: .*{reason}", InputError, out, "user/new")
    assert "OUT --base REPO`" in message and "or pass --force-unverified" in message
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

    monkeypatch.setattr(rendering, "render", render)
    refused("no model can be built", InputError, out, "user/new")
    (out / "config.json").write_text("{}")

    push(out, "user/new", force_unverified=True)

    card = hub.contents("user/new")["README.md"].decode()
    assert card.startswith("\n> **Not verified") and "changed: config.json" in card
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
    assert ('repo = "user/new"' in card) == rendered == card_file.is_generated(card)
    assert "cn_clip_vit" not in re.sub("`zhclip (convert|verify)[^`]*`", "", card)


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
