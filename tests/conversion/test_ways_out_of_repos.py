"""Walks the ways out that messages about converted repos name: of `verify`, `export`, `card`, `push` and `--base`."""

import json
import re
import shlex
import shutil

import pytest
from transformers import AutoModel

import zhclip_cli
from hf_zhclip.conversion import card, convert, export, push, verify
from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.exports import exporting

from tests import checkpoints as c
from tests.conversion import test_bad_input as bad
from tests.conversion.helpers import answer_here
from tests.loopback_hub import connect, serve


@pytest.fixture(autouse=True)
def answer_in_this_process(monkeypatch):
    monkeypatch.setattr(exporting, "in_fresh_process", answer_here)


@pytest.fixture
def copy(repo, tmp_path):
    """A repo to be changed."""
    return shutil.copytree(repo("cn_clip_vit").path, tmp_path / "REPO")


def refused(call, *arguments, **options):
    with pytest.raises(InputError) as error:
        call(*arguments, **options)
    return str(error.value)


def run(command, **names):
    """Runs a command of a message, with paths for the names that it leaves open."""
    words = [str(names.get(word, word)) for word in shlex.split(command)[1:]]
    assert zhclip_cli.main(words) == 0, words


def command_of(said):
    return re.search(r"`(zhclip [^`]+)`", said)[1]


CALLS = {
    "verify": lambda folder, place: verify(folder),
    "card": lambda folder, place: card(folder),
    "push": lambda folder, place: push(folder, "user/x", dry_run=True),
    "export": lambda folder, place: export(folder, place, to="transformers"),
}


@pytest.mark.parametrize("name", ["verify", "card", "export"])
@pytest.mark.parametrize("with_config", [True, False])
def test_an_original_is_converted_first(name, with_config, tmp_path):
    source = c.bert_clip.bert_clip_config(tmp_path / "SOURCE")
    given = source
    if not with_config:
        given = tmp_path / "empty"
        given.mkdir()

    said = refused(CALLS[name], given, tmp_path / "DEST")
    run(command_of(said), OUT=tmp_path / "OUT", SOURCE=source)

    CALLS[name](tmp_path / "OUT", tmp_path / "DEST")


def test_what_is_no_folder_of_convert_is_not_pushed(copy, tmp_path):
    assert "Wanted: a folder that `zhclip convert` made" in refused(push, tmp_path / "nothing", "user/x", dry_run=True)
    assert push(copy, "user/x", dry_run=True).files


def test_a_folder_that_is_not_verified_is_pushed_by_force_and_says_so(copy):
    (copy / "conversion_report.json").unlink()
    assert "pass --force-unverified" in refused(push, copy, "user/x", dry_run=True)
    assert push(copy, "user/x", dry_run=True, force_unverified=True).unverified


def test_the_arguments_of_a_push_are_those_of_the_message(copy):
    assert "Wanted: user/name" in refused(push, copy, "x", dry_run=True)
    said = refused(push, copy, "user/x", dry_run=True, revision="0" * 40)
    assert "Wanted: the name of a branch" in said
    assert push(copy, "user/x", dry_run=True, revision="next").files
    said = refused(push, copy, "user/x", dry_run=True, revision="refs/pr/1", create_pr=True)
    assert "without --create-pr" in said and push(copy, "user/x", dry_run=True, revision="refs/pr/1").files


def test_a_user_who_is_not_logged_in_sets_a_token(repo, tmp_path, monkeypatch):
    with serve(tmp_path / "server", {"hf_writer": ("user",)}) as hub:
        connect(monkeypatch, hub, None, tmp_path)
        assert "or set HF_TOKEN to a token with the right to write" in refused(
            push, repo("cn_clip_vit").path, "user/x"
        )
        monkeypatch.setenv("HF_TOKEN", "hf_writer")
        assert push(repo("cn_clip_vit").path, "user/x").sent


def test_a_card_that_a_person_wrote_is_replaced_by_force_and_in_utf_8(copy):
    (copy / "README.md").write_text("# Mine\n", encoding="utf-8")
    assert "pass --force" in refused(card, copy)
    card(copy, force=True)

    (copy / "README.md").write_bytes("# 我的\n".encode("gbk"))
    assert "Save the file as UTF-8" in refused(push, copy, "user/x", dry_run=True)
    (copy / "README.md").write_text("# 我的\n", encoding="utf-8")
    assert push(copy, "user/x", dry_run=True).files


def test_a_place_of_an_export_that_exists_is_replaced_by_force_or_another_is_chosen(repo, tmp_path):
    out = repo("cn_clip_vit").path
    export(out, tmp_path / "NATIVE", to="transformers")
    assert "Choose another place or pass --force" in refused(export, out, tmp_path / "NATIVE", to="transformers")
    export(out, tmp_path / "NATIVE", to="transformers", force=True)
    (tmp_path / "x.pt").mkdir()
    assert "Choose another place" in refused(export, out, tmp_path / "x.pt", to="cn_clip", force=True)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine", encoding="utf-8")
    said = refused(export, out, tmp_path / "notes", to="transformers", force=True)
    assert "holds no repo" in said and "Choose another place" in said
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    said = refused(export, out, tmp_path / "file", to="transformers", force=True)
    assert "is not a folder" in said and "Choose another place" in said
    export(out, tmp_path / "another.pt", to="cn_clip")


def test_the_arguments_of_an_export_are_those_of_the_message(repo, tmp_path):
    out = repo("cn_clip_vit").path
    (to,) = re.findall("wanted transformers, (cn_clip) or source", refused(export, out, tmp_path / "a.pt", to="x"))
    export(out, tmp_path / "a.pt", to=to)
    assert "Leave --also-legacy out" in refused(export, out, tmp_path / "b.pt", to="cn_clip", also_legacy=True)
    export(out, tmp_path / "b.pt", to="cn_clip")
    assert "pass --to cn_clip" in refused(export, out, tmp_path / "c.pt", to="transformers", ddp=True)
    export(out, tmp_path / "c.pt", to="cn_clip", ddp=True)
    assert "Name a folder" in refused(export, out, tmp_path / "d.pt", to="transformers")
    export(out, tmp_path / "d", to="transformers")
    assert "does not end in .pt or .pth" in refused(export, out, tmp_path / "e", to="cn_clip")


def test_what_cannot_go_to_its_source_goes_to_the_class_that_the_message_names(repo, tmp_path):
    out = repo("taiyi_clip").path
    said = refused(export, out, tmp_path / "HOME", to="source")
    command = re.search(r"(zhclip export \S+ DEST --to transformers)", said)
    if command is None:  # no class of transformers holds it
        assert "Use the repo itself, with `import hf_zhclip`" in said and AutoModel.from_pretrained(out)
    else:
        run(command[1], DEST=tmp_path / "DEST")


def test_another_original_is_replaced_by_the_repo_s_own(repo, tmp_path):
    found = repo("taiyi_head")
    checkpoint = c.taiyi.taiyi_folder(tmp_path / "TEXT", head=False)
    said = refused(verify, found.path, checkpoint, format="bert_from_clip")
    assert "With --against, name the checkpoint that" in said
    assert verify(found.path, found.original.source, **found.original.arguments).passed


# --base


@pytest.fixture
def trained(repo, tmp_path):
    AutoModel.from_pretrained(repo("cn_clip_vit").path).save_pretrained(tmp_path / "TRAINED")
    return tmp_path / "TRAINED"


def test_an_original_in_place_of_the_base_is_converted_first(trained, tmp_path, original):
    found = original("bert_clip")
    AutoModel.from_pretrained(repo_of(found, tmp_path)).save_pretrained(tmp_path / "T")
    said = refused(convert, tmp_path / "T", tmp_path / "OUT", base=found.source)
    assert "Name the converted repo" in said

    run(
        "zhclip convert SOURCE REPO" if "`zhclip convert SOURCE REPO`" in said else said,
        SOURCE=found.source,
        REPO=tmp_path / "R",
    )

    assert convert(tmp_path / "T", tmp_path / "OUT", base=tmp_path / "R").passed


def repo_of(found, tmp_path):
    convert(found.source, tmp_path / "B", **found.arguments)
    return tmp_path / "B"


def test_a_base_that_was_changed_is_converted_again_by_its_own_command(tmp_path, original, monkeypatch):
    found = original("bert_clip")
    base = repo_of(found, tmp_path)
    AutoModel.from_pretrained(base).save_pretrained(tmp_path / "T")
    with (base / "config.json").open("a", encoding="utf-8") as file:
        file.write("\n")
    said = refused(convert, tmp_path / "T", tmp_path / "OUT", base=base)

    monkeypatch.chdir(found.source.parent)  # a report names no place
    again = re.search(r"\(`(zhclip convert .*?)`\)", said)[1]
    run(again, B=tmp_path / "AGAIN")

    assert convert(tmp_path / "T", tmp_path / "OUT", base=tmp_path / "AGAIN").passed


def test_facts_beside_the_base_are_left_out(trained, repo, tmp_path):
    base = repo("cn_clip_vit").path
    said = refused(convert, trained, tmp_path / "OUT", base=base, format="cn_clip", context_length=30)
    assert "Leave out --format, --context-length" in said
    assert convert(trained, tmp_path / "OUT", base=base).passed


def test_an_original_beside_a_base_is_converted_without_it(repo, tmp_path, original):
    for family in ("hf_clip", "bert_clip"):
        found = original(family)
        said = refused(convert, found.source, tmp_path / family, base=repo("cn_clip_vit").path)
        assert "eave out --base" in said
        assert convert(found.source, tmp_path / family, **found.arguments).passed


def test_another_length_of_texts_is_converted_from_the_original(trained, repo, tmp_path, monkeypatch):
    found = repo("cn_clip_vit")
    shutil.copyfile(found.path / "tokenizer_config.json", trained / "tokenizer_config.json")
    content = json.loads((trained / "tokenizer_config.json").read_text(encoding="utf-8"))
    content["model_max_length"] = 40
    (trained / "tokenizer_config.json").write_text(json.dumps(content), encoding="utf-8")
    said = refused(convert, trained, tmp_path / "OUT", base=found.path)

    config = shlex.quote(str(found.original.arguments["config"]))
    run(f"{command_of(said)} --config {config}", SOURCE=found.original.source, REPO=tmp_path / "BASE")

    assert convert(trained, tmp_path / "OUT", base=tmp_path / "BASE").passed


def test_a_repo_that_is_converted_already_is_trained_and_finished_with_itself_as_base(repo, trained, tmp_path):
    base = repo("cn_clip_vit").path
    said = refused(convert, base, tmp_path / "OUT")
    run(re.search("`(zhclip convert TRAINED [^`]*)`", said)[1], TRAINED=trained, OUT=tmp_path / "OUT")
    assert verify(tmp_path / "OUT").passed


def test_all_keys_of_a_file_are_printed_by_inspect(tmp_path, capsys):
    (source, *words) = bad.unknown_keys(tmp_path)
    said = refused(convert, source, tmp_path / "OUT", config=words[1])
    (command,) = re.findall("`(zhclip inspect)` prints all keys", said)
    assert zhclip_cli.main([*shlex.split(command)[1:], str(source), "--config", str(words[1])]) == 2
    shown = capsys.readouterr().out
    assert "adapter" in shown and "visual" in shown
