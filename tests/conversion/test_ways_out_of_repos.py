"""Walks the ways out that messages about converted repos name: of `verify`, `export`, `card`, `push` and `--base`."""

import json
import re
import shlex
import shutil

import huggingface_hub
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch.distributed import checkpoint as dcp
from transformers import AutoModel

import zhclip_cli
from hf_zhclip import ZhCLIPModel
from hf_zhclip.conversion import card, convert, export, push, verify
from hf_zhclip.conversion.errors import InputError, WorkError
from hf_zhclip.conversion.exports import exporting
from hf_zhclip.conversion.layouts import bases
from hf_zhclip.conversion.proof.verification import unseen
from hf_zhclip.conversion.reading.files import sha256
from hf_zhclip.conversion.repos import doors

from tests import checkpoints as c
from tests.conversion import test_bad_input as bad
from tests.conversion.helpers import answer_here, contents
from tests.loopback_hub import connect, serve
from tests.thorough import every_third, in_turns, thorough


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


@pytest.mark.parametrize(
    ("name", "holds"),
    in_turns(
        [(name, held) for name in ("verify", "card", "export") for held in ("a config", "nothing", "no folder")],
        lambda row: row[1],
    ),
)
def test_an_original_is_converted_first(name, holds, tmp_path):
    source = c.bert_clip.bert_clip_config(tmp_path / "SO URCE")
    given = source
    if holds != "a config":
        given = tmp_path / "other"
    if holds == "nothing":
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


@pytest.mark.thorough
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
    assert "holds no export" in said and "Choose another place" in said
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    said = refused(export, out, tmp_path / "file", to="transformers", force=True)
    assert "is not a folder" in said and "Choose another place" in said
    export(out, tmp_path / "another.pt", to="cn_clip")


@pytest.mark.thorough
def test_the_arguments_of_an_export_are_those_of_the_message(repo, tmp_path):
    out = repo("cn_clip_vit").path
    (to,) = re.findall(
        "wanted transformers, (cn_clip), source or onnx", refused(export, out, tmp_path / "a.pt", to="x")
    )
    export(out, tmp_path / "a.pt", to=to)
    assert "Leave --also-legacy out" in refused(export, out, tmp_path / "b.pt", to="cn_clip", also_legacy=True)
    export(out, tmp_path / "b.pt", to="cn_clip")
    assert "pass --to cn_clip" in refused(export, out, tmp_path / "c.pt", to="transformers", ddp=True)
    export(out, tmp_path / "c.pt", to="cn_clip", ddp=True)
    assert "Name a folder" in refused(export, out, tmp_path / "d.pt", to="transformers")
    export(out, tmp_path / "d", to="transformers")
    assert "does not end in .pt or .pth" in refused(export, out, tmp_path / "e", to="cn_clip")
    said = refused(export, out, tmp_path / "f", to="onnx", opset=17)
    (opset,) = re.findall("wanted 18 to (25)", said)
    export(out, tmp_path / "f", to="onnx", opset=int(opset))
    assert "wanted float32" in refused(export, out, tmp_path / "g", to="onnx", precision="x")
    assert "Leave --max-shard-size out" in refused(export, out, tmp_path / "g", to="onnx", max_shard_size="1GB")
    said = refused(export, out, tmp_path / "g", to="transformers", opset=20)
    assert "Leave --opset out, or pass --to onnx" in said
    export(out, tmp_path / "g", to="onnx", opset=20, precision="float32")
    (layout,) = re.findall("wanted (plain) or", refused(export, out, tmp_path / "h", to="onnx", layout="x"))
    export(out, tmp_path / "h", to="onnx", layout=layout)


@pytest.mark.thorough
def test_what_transformers_js_does_not_hold_is_exported_in_the_plain_layout(repo, tmp_path):
    out = repo("cn_clip_resnet").path
    said = refused(export, out, tmp_path / "x", to="onnx", layout="transformers.js")
    assert "Leave --layout out: the plain layout takes every model" in said
    export(out, tmp_path / "x", to="onnx")


@pytest.mark.thorough
def test_what_cannot_go_to_its_source_goes_to_the_class_that_the_message_names(repo, tmp_path):
    out = repo("taiyi_clip").path
    said = refused(export, out, tmp_path / "HOME", to="source")
    command = re.search(r"(zhclip export \S+ DEST --to transformers)", said)
    if command is None:  # no class of transformers holds it
        assert "Use the repo itself, with `import hf_zhclip`" in said and AutoModel.from_pretrained(out)
    else:
        run(command[1], DEST=tmp_path / "DEST")


@pytest.mark.thorough
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


@pytest.mark.thorough
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


@pytest.mark.thorough
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


@pytest.mark.thorough
def test_an_original_beside_a_base_is_converted_without_it(repo, tmp_path, original):
    for family in ("hf_clip", "bert_clip"):
        found = original(family)
        said = refused(convert, found.source, tmp_path / family, base=repo("cn_clip_vit").path)
        assert "eave out --base" in said
        assert convert(found.source, tmp_path / family, **found.arguments).passed


@pytest.mark.thorough
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


@pytest.mark.thorough
def test_a_repo_that_is_converted_already_is_trained_and_finished_with_itself_as_base(repo, trained, tmp_path):
    base = shutil.copytree(repo("cn_clip_vit").path, tmp_path / "BA SE")
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


def test_a_name_is_taken_from_what_list_prints(capsys):
    said = refused(convert, "clip_of_nobody", "OUT")
    (command,) = re.findall("a name that `(zhclip list)` prints", said)
    run(command)
    printed = capsys.readouterr().out

    name = next(word for word in printed.split() if word.casefold() == "prd2_pretrain_250m")
    assert "is published at" in refused(convert, name, "OUT"), "a further message, about this checkpoint"


@pytest.mark.thorough
def test_a_checkpoint_in_parts_is_downloaded_by_the_hub_s_command_and_its_folder_is_named(tmp_path, monkeypatch):
    with serve(tmp_path / "server", {"hf_writer": ("user",)}) as hub:
        connect(monkeypatch, hub, "hf_writer", tmp_path)
        dcp.save({"model": bad.vit()}, checkpoint_id=tmp_path / "parts")
        hub.add("user/parts", contents(tmp_path / "parts"))
        said = refused(convert, "user/parts", tmp_path / "OUT")

        command = re.search("Run `(hf download [^`]*)`, and name the folder", said)[1]
        words = [str({"FOLDER": tmp_path / "FOLDER"}.get(word, word)) for word in shlex.split(command)]
        # What the command calls, which starts a process of its own.
        huggingface_hub.snapshot_download(words[2], **{words[3][2:].replace("-", "_"): words[4]})

    config = c.cn_clip.cn_clip_config(tmp_path / "facts.json")
    assert convert(tmp_path / "FOLDER", tmp_path / "OUT", config=config).passed


@pytest.mark.parametrize("extra", [{"two\nlines": 21128}, thorough({"far": 30000})])
def test_a_vocabulary_without_lines_goes_without_the_files_of_older_readers(extra, repo, tmp_path, monkeypatch):
    lines = doors._vocabulary_lines
    monkeypatch.setattr(doors, "_vocabulary_lines", lambda ids: lines({**ids, **extra}))

    said = refused(export, repo("cn_clip_vit").path, tmp_path / "NATIVE", to="transformers", also_legacy=True)

    assert "Leave out --also-legacy" in said
    export(repo("cn_clip_vit").path, tmp_path / "NATIVE", to="transformers")


def test_files_of_another_repo_are_taken_from_the_same_folder(copy, repo, tmp_path):
    own = repo("cn_clip_vit").path
    edit(copy / "config.json", lambda content: content["text_config"].update(num_hidden_layers=10**9))
    said = refused(export, copy, tmp_path / "a.pt", to="cn_clip")
    assert "Take weights and config.json from the same folder" in said
    shutil.copyfile(own / "config.json", copy / "config.json")
    export(copy, tmp_path / "a.pt", to="cn_clip")

    edit(
        copy / "processor_config.json",
        lambda content: content["image_processor"].update(size={"height": 32, "width": 32}),
    )
    said = refused(export, copy, tmp_path / "b.pt", to="cn_clip")
    assert "Take model and processor from the same folder" in said
    shutil.copyfile(own / "processor_config.json", copy / "processor_config.json")
    export(copy, tmp_path / "b.pt", to="cn_clip")


def edit(path, change):
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def test_an_original_that_is_loaded_is_converted_by_the_command_of_the_message(tmp_path):
    source = c.bert_clip.bert_clip_config(tmp_path / "SO'URCE")
    with pytest.raises(ValueError, match="Convert it first") as error:
        ZhCLIPModel.from_pretrained(source)

    run(re.search(r"^    (zhclip convert .*)$", str(error.value), re.MULTILINE)[1], OUT=tmp_path / "OUT")

    assert ZhCLIPModel.from_pretrained(tmp_path / "OUT").config.model_type == "hf_zhclip"


@pytest.mark.thorough
def test_an_adapter_in_memory_is_merged_as_the_message_says(repo, tmp_path):
    base, settings = repo("cn_clip_vit").path, LoraConfig(r=2, target_modules=["query", "value"])
    model = get_peft_model(AutoModel.from_pretrained(base), settings)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".lora_" in name:
                weight.add_(0.1)
    model.config.save_pretrained(tmp_path / "T")
    prefix = "base_model.model."
    state = {key.removeprefix(prefix): tensor.contiguous() for key, tensor in model.state_dict().items()}
    save_file(state, tmp_path / "T" / "model.safetensors")
    said = refused(convert, tmp_path / "T", tmp_path / "OUT", base=base)

    code = "\n".join(line[4:] for line in said.splitlines() if line.startswith("    "))
    code = code.replace('"BASE"', repr(str(base))).replace('"TRAINED"', repr(str(tmp_path / "TRAINED")))
    load = "model.load_state_dict({f'base_model.model.{key}': tensor for key, tensor in STATE.items()})"
    exec(code.replace("...  # load the trained state into it", load), {"LORA_CONFIG": settings, "STATE": state})
    run(command_of(said), TRAINED=tmp_path / "TRAINED", OUT=tmp_path / "OUT", BASE=base)

    assert verify(tmp_path / "OUT").passed


# Bases and vocabularies that a message asks for


def test_a_base_that_cannot_be_fetched_is_passed(tmp_path, original, monkeypatch):
    def fails(source):
        raise WorkError("no network.")

    monkeypatch.setattr(bases, "locate", fails)
    found = original("multilingual_clip")
    said = refused(convert, found.source, tmp_path / "OUT", vision=found.arguments["vision"])
    assert "Fetch the base's config.json yourself and pass --config FILE" in said
    assert convert(found.source, tmp_path / "OUT", **found.arguments).passed


@pytest.mark.thorough
def test_a_head_of_a_first_multilingual_clip_is_put_into_the_folder(tmp_path, original):
    folder = c.multilingual_clip.multilingual_clip_legacy_folder(tmp_path / "SOURCE")
    head = next(folder.glob("*.pkl"))
    head.rename(tmp_path / head.name)
    vision = original("multilingual_clip").arguments["vision"]
    said = refused(convert, folder, tmp_path / "OUT", vision=vision)
    assert "put the pickle of the model's head into the tower's folder" in said.replace("\n", " ")

    (tmp_path / head.name).rename(head)

    assert convert(folder, tmp_path / "OUT", vision=vision).passed


@pytest.mark.thorough
def test_a_vocabulary_of_the_repo_is_passed_beside_its_original(repo):
    found = repo("openai_clip")
    said = refused(verify, found.path, found.original.source)
    assert "Pass the vocabulary that the repo was converted with: --tokenizer PATH" in said
    assert verify(found.path, found.original.source, **found.original.arguments).passed


def test_the_command_that_sees_more_than_verify_is_run(repo, tmp_path):
    found = repo("hf_clip")
    here = shutil.copytree(found.path, tmp_path / "RE PO")
    command = re.search("`(zhclip verify [^`]* --against SOURCE)`", unseen(here))[1]
    run(command, SOURCE=found.original.source)


# Files of a repo that were changed: the base's take their place


def field(name, **changes):
    """Changes fields of a JSON file of a repo."""
    return lambda folder: edit(folder / name, lambda content: content.update(changes))


def other_format(folder):
    edit(folder / "conversion_report.json", lambda content: content["sources"][0].update(format="of_nobody"))


def other_code(folder):
    (folder / "modeling_zhclip.py").write_text("pass\n", encoding="utf-8")


def other_modules(folder):
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    (folder / "modules.json").write_text(json.dumps([*modules, *modules]), encoding="utf-8")


def no_modules(folder):
    (folder / "modules.json").write_text('{"modules": []}', encoding="utf-8")


def other_method(folder):
    def change(content):
        content["modality_config"]["text"]["method"] = "forward"

    edit(folder / "sentence_bert_config.json", change)


SETTINGS = "config_sentence_transformers.json"
CHANGED = {
    "the format of the report": (other_format, "verify"),
    "the code": (other_code, "push"),
    "the side of the padding": (field("tokenizer_config.json", padding_side="left"), "verify"),
    "the modules": (other_modules, "verify"),
    "the list of modules": (no_modules, "verify"),
    "the joining of texts": (field("sentence_bert_config.json", unpad_inputs=True), "verify"),
    "a field of the module": (field("sentence_bert_config.json", max_seq_length=7), "verify"),
    "the method of the module": (other_method, "verify"),
    "the prompts": (field(SETTINGS, prompts={"query": "图片："}), "verify"),
    "the name of the prompt": (field(SETTINGS, prompts={}, default_prompt_name="query"), "verify"),
}


@pytest.mark.parametrize("name", every_third(CHANGED))
def test_a_folder_with_a_changed_file_is_finished_from_its_base(name, copy, repo, tmp_path):
    spoil, command = CHANGED[name]
    spoil(copy)
    if name == "the code":
        report_anew(copy)

    said = refused(CALLS[command], copy, tmp_path / "DEST")
    words = shlex.split(command_of(said))[1:]
    names = {"TRAINED": copy, "REPO": repo("cn_clip_vit").path, "OUT": tmp_path / "OUT"}
    words = [str(names.get(word, word)) for word in words]
    for _ in range(2):  # `convert` may ask for the correction of the file, which is a different message
        try:
            convert(words[1], words[2], base=words[4])
            break
        except InputError as error:
            assert str(error) != said and "correct the file of the field" in str(error), str(error)
            file = re.search(r"^  (\w+\.json) ", str(error), re.MULTILINE)[1]
            shutil.copyfile(names["REPO"] / file, copy / file)

    assert verify(tmp_path / "OUT").passed


def report_anew(folder):
    """A report that names the folder's files as they are."""
    files = {name: sha256(folder / name) for name in contents(folder) if name not in ("conversion_report.json",)}
    own = json.loads((folder / "conversion_report.json").read_text(encoding="utf-8"))["files"]
    edit(folder / "conversion_report.json", lambda content: content.update(files={name: files[name] for name in own}))
