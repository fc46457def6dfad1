"""What training saved of a converted repo becomes a repo like any other, proved by the family's own witness."""

import json
import re
import shlex
import shutil

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoProcessor

import zhclip_cli
from hf_zhclip.conversion import InputError, ParityError, card, convert, export, inspect, load, push, verify
from hf_zhclip.conversion.reading.files import sha256
from hf_zhclip.conversion.reading.read import read
from hf_zhclip.conversion.repos.report import FILE, read_report

from tests import checkpoints
from tests.checkpoints import FAMILIES
from tests.conversion.helpers import contents, entries
from tests.thorough import every_third, in_turns


def changed(folder, towers="", dtype="auto"):
    """A repo's model after a change of every weight whose name begins like this, as an optimiser makes it."""
    model = AutoModel.from_pretrained(folder, dtype=dtype)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.startswith(towers):
                weight.mul_(1 + 0.05 * torch.rand(weight.shape, generator=generator).to(weight.dtype))
    return model


def edit(path, change):
    value = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(change(value) or value), encoding="utf-8")


@pytest.fixture
def base(repo):
    return repo("cn_clip_vit").path


@pytest.fixture
def trained(base, tmp_path):
    changed(base).save_pretrained(tmp_path / "TRAINED")
    return tmp_path / "TRAINED"


def refused(*arguments, **options):
    with pytest.raises(InputError) as caught:
        convert(*arguments, **options)
    return str(caught.value)


# What is made, and what is proved


@pytest.mark.quick(3)
@pytest.mark.parametrize("family", every_third(FAMILIES))
def test_a_fine_tuned_repo_of_every_family_is_finished_and_proved(family, repo, tmp_path):
    found = repo(family)
    changed(found.path).save_pretrained(tmp_path / "TRAINED")

    report = convert(tmp_path / "TRAINED", tmp_path / "OUT", base=found.path)

    assert report.passed and report.level == found.report.level
    assert report.sources == read_report(found.path).sources
    written, before = read(tmp_path / "OUT").tensors, read(tmp_path / "TRAINED").tensors
    assert written.keys() == before.keys() and all(torch.equal(written[key], before[key]) for key in written)
    assert all(each["changed"] for tower, each in report.lineage["towers"].items() if tower != "logit_scale")


def test_it_has_every_file_of_its_base_and_the_commands_take_it_like_any_repo(base, trained, tmp_path):
    before = contents(trained), contents(base)
    out = tmp_path / "OUT"

    convert(trained, out, base=base)

    assert (contents(trained), contents(base)) == before
    assert entries(out) == entries(base)
    same = {"config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json", "modules.json"}
    assert all((out / name).read_bytes() == (base / name).read_bytes() for name in same)
    assert verify(out).passed
    card(out, license="mit")
    assert push(out, "user/tuned", dry_run=True).unverified is None
    export(out, tmp_path / "home.pt", to="cn_clip")
    assert (tmp_path / "home.pt").is_file()


def test_the_report_says_what_it_was_trained_from_and_which_tensors_changed_by_tower(base, tmp_path):
    changed(base, "text_model.").save_pretrained(tmp_path / "TRAINED")

    report = convert(tmp_path / "TRAINED", tmp_path / "OUT", base=base)

    before = read(base).tensors
    # The weights of BERT's padding row and of token type 1 change like all others; zeros stay zeros.
    trained = [key for key, tensor in before.items() if key.startswith("text_model.") and tensor.any()]
    text = [key for key in before if key.startswith(("text_model.", "text_projection."))]
    image = [key for key in before if key.startswith(("vision_model.", "visual_projection."))]
    assert report.lineage == {
        "base": base.name,
        "hub": None,
        "report": sha256(base / FILE),
        "towers": {
            "text": {"tensors": len(text), "changed": len(trained)},
            "image": {"tensors": len(image), "changed": 0},
            "logit_scale": {"tensors": 1, "changed": 0},
        },
        "former": None,
    }
    assert read_report(tmp_path / "OUT").lineage == report.lineage


def test_a_model_that_was_trained_twice_keeps_its_whole_lineage(base, trained, tmp_path):
    first = convert(trained, tmp_path / "FIRST", base=base)
    changed(tmp_path / "FIRST").save_pretrained(tmp_path / "AGAIN")

    second = convert(tmp_path / "AGAIN", tmp_path / "SECOND", base=tmp_path / "FIRST")

    assert second.lineage["base"] == "FIRST" and second.lineage["former"] == first.lineage
    assert read_report(tmp_path / "SECOND").lineage == second.lineage and second.sources == first.sources


def test_the_card_says_what_is_proved_and_names_no_original_that_it_equals(base, trained, tmp_path):
    convert(trained, tmp_path / "OUT", base=base)

    card = (tmp_path / "OUT" / "README.md").read_text(encoding="utf-8")
    assert "it computes the same as cn_clip (OFA-Sys/Chinese-CLIP) with these weights" in card
    assert "用这些权重，它的计算结果与 cn_clip (OFA-Sys/Chinese-CLIP) 一致" in card
    assert (
        "its vectors differ from the vectors of cn_clip (OFA-Sys/Chinese-CLIP) with these weights by at most " in card
    )
    assert "the original's own code" not in card and "the vectors of the original by" not in card
    assert f"zhclip convert TRAINED OUT --base {base.name}" in card and "--against" not in card
    assert sha256(base / FILE) in card and len(card.splitlines()) < 120


def test_a_base_on_the_hub_is_the_card_s_base_model(base, trained, tmp_path, monkeypatch):
    from tests.loopback_hub import connect, serve

    with serve(tmp_path / "server", {"hf_writer": ("user",)}) as hub:
        connect(monkeypatch, hub, "hf_writer", tmp_path / "home")
        push(base, "user/base")

        report = convert(trained, tmp_path / "OUT", base="user/base")

    commit = hub.repo("user/base").resolve("main")
    assert report.lineage["hub"] == {"repo": "user/base", "file": None, "revision": commit}
    header = ModelCard.load(tmp_path / "OUT" / "README.md").data
    assert (header.base_model, header.base_model_relation) == (["user/base"], "finetune")


# What training leaves


def sharded(model, folder):
    model.save_pretrained(folder, max_shard_size="1MB")
    assert (folder / "model.safetensors.index.json").exists()


def as_bin(model, folder):
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")


def step_of_a_trainer(model, folder):
    model.save_pretrained(folder)
    for name in ("optimizer.pt", "scheduler.pt", "training_args.bin", "rng_state.pth"):
        torch.save({"state": {}}, folder / name)
    (folder / "trainer_state.json").write_text('{"global_step": 500}', encoding="utf-8")


def weights_of_accelerate(model, folder):
    """As `Accelerator.save_model` writes them: no config.json."""
    folder.mkdir()
    save_file({key: tensor.clone() for key, tensor in model.state_dict().items()}, folder / "model.safetensors")


def compiled_and_distributed(model, folder):
    folder.mkdir()
    torch.save(
        {"model": {f"module._orig_mod.{key}": tensor for key, tensor in model.state_dict().items()}},
        folder / "pytorch_model.bin",
    )


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "save", every_third([step_of_a_trainer, sharded, as_bin, weights_of_accelerate, compiled_and_distributed])
)
def test_whatever_training_left_is_finished(save, base, tmp_path):
    model = changed(base)
    folder = tmp_path / "checkpoint-500"
    save(model, folder)

    report = convert(folder, tmp_path / "OUT", base=base)

    assert report.passed and report.level == "reference"
    written = read(tmp_path / "OUT").tensors
    assert all(torch.equal(written[key], tensor) for key, tensor in model.state_dict().items())


def test_a_file_of_weights_is_finished(base, trained, tmp_path):
    assert convert(trained / "model.safetensors", tmp_path / "OUT", base=base).passed


def test_a_repo_that_was_saved_over_is_its_own_base(base, tmp_path):
    folder = shutil.copytree(base, tmp_path / "REPO")
    changed(base).save_pretrained(folder)

    report = convert(folder, tmp_path / "OUT")

    assert report.passed and report.level == "reference"
    assert report.lineage["base"] == "REPO" and report.lineage["towers"] is None
    card = (tmp_path / "OUT" / "README.md").read_text(encoding="utf-8")
    assert "not counted, because the training overwrote them" in card


def saved_over(base, folder, edited=lambda report: None):
    """A copy of the base with other weights, another activation and another dropout, and its report, edited."""
    shutil.copytree(base, folder)
    model = changed(base)
    model.config.vision_config.hidden_act = "gelu"
    model.config.text_config.hidden_dropout_prob = 0.3
    model.save_pretrained(folder)
    edit(folder / FILE, edited)
    return folder


def test_a_fact_that_was_changed_in_a_repo_that_was_saved_over_is_named(base, tmp_path):
    folder = saved_over(base, tmp_path / "REPO")

    message = refused(folder, tmp_path / "OUT")

    assert "\n  vision_config.hidden_act: 'gelu'; the base has 'quick_gelu'" in message
    assert "hidden_dropout_prob" not in message
    edit(folder / "config.json", lambda config: config["vision_config"].update(hidden_act="quick_gelu"))
    told = []
    report = convert(folder, tmp_path / "OUT", progress=told.append)
    assert report.passed and any(line.startswith("text_config.hidden_dropout_prob was 0.3 in") for line in told)
    written = json.loads((tmp_path / "OUT" / "config.json").read_text(encoding="utf-8"))
    assert written["text_config"]["hidden_dropout_prob"] == 0.1 and report.conversion["config"] == written


def test_where_a_report_records_no_config_the_witness_finds_the_changed_fact(base, tmp_path):
    folder = saved_over(base, tmp_path / "REPO", edited=lambda report: report["conversion"].pop("config") and None)

    with pytest.raises(ParityError, match="image: .*against reference"):
        convert(folder, tmp_path / "OUT")
    assert entries(tmp_path) == {"REPO"}


def test_half_precision_and_dropout_are_told(base, tmp_path):
    model = changed(base, dtype=torch.bfloat16)
    model.config.text_config.hidden_dropout_prob = 0.3
    model.save_pretrained(tmp_path / "TRAINED")
    told = []

    report = convert(tmp_path / "TRAINED", tmp_path / "OUT", base=base, progress=told.append)

    assert report.passed
    assert f"The weights are written as bfloat16; {base.name} has float32" in told
    assert any(line.startswith("text_config.hidden_dropout_prob was 0.3 in training") for line in told)
    config = json.loads((tmp_path / "OUT" / "config.json").read_text(encoding="utf-8"))
    assert config["dtype"] == "bfloat16" and config["text_config"]["hidden_dropout_prob"] == 0.1


@pytest.mark.parametrize("family", ["r2d2"])
def test_a_temperature_is_mapped_back_from_half_precision(family, repo, tmp_path):
    found = repo(family)
    changed(found.path, dtype=torch.bfloat16).save_pretrained(tmp_path / "TRAINED")

    assert convert(tmp_path / "TRAINED", tmp_path / "OUT", base=found.path).passed
    assert verify(tmp_path / "OUT").passed


def test_weights_that_no_training_changed_are_told(base, tmp_path):
    AutoModel.from_pretrained(base).save_pretrained(tmp_path / "TRAINED")
    told = []

    report = convert(tmp_path / "TRAINED", tmp_path / "OUT", base=base, progress=told.append)

    assert report.passed and not any(each["changed"] for each in report.lineage["towers"].values())
    assert any(line.startswith("No tensor has changed") for line in told)


@pytest.mark.thorough
def test_the_options_of_writing_work_as_for_an_original(base, trained, tmp_path):
    out = tmp_path / "OUT"
    options = {"dtype": "float16", "max_shard_size": "1MB", "with_code": False, "also_legacy": True}

    report = convert(trained, out, base=base, report=tmp_path / "report.json", **options)

    there = {"preprocessor_config.json", "vocab.txt", "model.safetensors.index.json"}
    assert report.passed and there <= entries(out) and verify(out).passed
    assert "modeling_zhclip.py" in entries(base) and not list(out.glob("*.py"))
    assert {tensor.dtype for tensor in read(out).tensors.values()} == {torch.float16}
    assert report.conversion["command"].endswith("--dtype float16 --max-shard-size 1MB --also-legacy --without-code")
    unverified = convert(trained, tmp_path / "QUICK", base=base, skip_verify=True)
    assert unverified.level == "tensors" and unverified.passed


def test_a_text_tower_alone_is_finished_too(tmp_path):
    checkpoints.taiyi.taiyi_folder(tmp_path / "SOURCE", head=False)
    convert(tmp_path / "SOURCE", tmp_path / "BASE", format="bert_from_clip")
    changed(tmp_path / "BASE").save_pretrained(tmp_path / "TRAINED")

    report = convert(tmp_path / "TRAINED", tmp_path / "OUT", base=tmp_path / "BASE")

    assert report.passed and report.lineage["towers"].keys() == {"text"}
    assert verify(tmp_path / "OUT").passed


# What is refused


def test_another_model_has_no_base(base, original, tmp_path):
    for source in (original("hf_clip").source, original("cn_clip_vit").source):
        assert "eave out --base" in refused(source, tmp_path / "OUT", base=base)


def with_rows(model, count=checkpoints.common.VOCAB + 3):
    model.resize_token_embeddings(count)


FACTS = {
    "text_config.vocab_size": with_rows,
    "text_config.hidden_act": lambda model: setattr(model.config.text_config, "hidden_act", "relu"),
    "text_config.layer_norm_eps": lambda model: setattr(model.config.text_config, "layer_norm_eps", 1e-5),
    "vision_config.image_size": lambda model: setattr(model.config.vision_config, "image_size", 96),
    "vision_config.num_attention_heads": lambda model: setattr(model.config.vision_config, "num_attention_heads", 8),
    "text_pooling": lambda model: setattr(model.config, "text_pooling", "mean"),
}


@pytest.mark.quick(2)
@pytest.mark.parametrize("field", FACTS)
def test_a_fact_that_differs_from_the_base_s_is_refused_with_its_field(field, base, tmp_path):
    model = changed(base)
    FACTS[field](model)
    model.save_pretrained(tmp_path / "TRAINED")

    message = refused(tmp_path / "TRAINED", tmp_path / "OUT", base=base)

    assert f"\n  {field}: " in message and "; the base has " in message
    assert entries(tmp_path) == {"TRAINED"}


def test_rows_that_were_added_are_removed_as_the_message_says(base, tmp_path):
    model = changed(base)
    with_rows(model)
    model.save_pretrained(tmp_path / "TRAINED")
    message = refused(tmp_path / "TRAINED", tmp_path / "OUT", base=base)

    exec(re.search("`(model.resize_token_embeddings.*?)`", message)[1], {"model": model})
    model.save_pretrained(tmp_path / "MENDED")

    assert convert(tmp_path / "MENDED", tmp_path / "OUT", base=base).passed


@pytest.mark.parametrize("with_config", [True, False])
def test_rows_that_pad_the_vocabulary_are_left_out_and_told(with_config, base, tmp_path, capsys):
    model = changed(base)
    model.resize_token_embeddings(pad_to_multiple_of=128)
    model.save_pretrained(tmp_path / "TRAINED")
    if not with_config:
        (tmp_path / "TRAINED" / "config.json").unlink()

    assert zhclip_cli.main(["convert", *map(str, (tmp_path / "TRAINED", tmp_path / "OUT", "--base", base))]) == 0

    told = "The training left 21248 rows for words in the text tower, and the vocabulary has 21128 words."
    assert told in capsys.readouterr().err
    report = verify(tmp_path / "OUT")
    assert report.passed and report.level == "reference"
    assert any(told in limit.en and "21128 行" in limit.zh for limit in report.conversion["limits"])
    embedding = "text_model.embeddings.word_embeddings.weight"
    expected = model.state_dict()[embedding][:21128]
    assert torch.equal(read(tmp_path / "OUT").tensors[embedding], expected)
    card(tmp_path / "OUT", force=True)
    assert told in (tmp_path / "OUT" / "README.md").read_text(encoding="utf-8")


def test_rows_of_a_causal_text_tower_that_pad_its_vocabulary_are_left_out(repo, tmp_path):
    base = repo("hf_clip").path
    model = changed(base)
    rows = len(model.get_input_embeddings().weight)
    model.resize_token_embeddings(rows // 64 * 64 + 64)
    model.save_pretrained(tmp_path / "TRAINED")

    assert convert(tmp_path / "TRAINED", tmp_path / "OUT", base=base).passed
    assert len(AutoModel.from_pretrained(tmp_path / "OUT").get_input_embeddings().weight) == rows


FILES = {
    ("tokenizer_config.json", "model_max_length"): lambda value: value.update(model_max_length=40),
    ("tokenizer.json", "vocabulary"): lambda value: value["added_tokens"].append({"id": 21128, "content": "[NEW]"}),
    ("tokenizer.json", "normalizer"): lambda value: value["normalizer"].update(lowercase=False),
    ("processor_config.json", "image_order"): (
        lambda value: value["image_processor"].update(image_order="rgb_then_squash")
    ),
    ("processor_config.json", "image_mean"): lambda value: value["image_processor"].update(image_mean=[0.5] * 3),
    ("config_sentence_transformers.json", "prompts"): lambda value: value.update(prompts={"query": "图片："}),
}


@pytest.mark.quick(2)
@pytest.mark.parametrize(("file", "field"), FILES)
def test_a_file_that_differs_from_the_base_s_is_refused_with_its_field(file, field, base, trained, tmp_path):
    shutil.copyfile(base / file, trained / file)
    edit(trained / file, FILES[file, field])

    assert f"\n  {file} {field}: " in refused(trained, tmp_path / "OUT", base=base)


OTHER_KINDS = {
    ("config_sentence_transformers.json", "prompts"): lambda value: value.update(prompts=3),
    ("tokenizer.json", "vocabulary"): lambda value: value["model"].update(vocab=3),
}


@pytest.mark.parametrize(("file", "field"), OTHER_KINDS)
def test_a_field_of_another_kind_than_the_base_s_is_refused_with_its_name(file, field, base, trained, tmp_path):
    shutil.copyfile(base / file, trained / file)
    edit(trained / file, OTHER_KINDS[file, field])

    assert f"\n  {file} {field}: " in refused(trained, tmp_path / "OUT", base=base)


def test_a_processor_that_training_saved_again_is_no_difference(base, trained, tmp_path):
    processor = AutoProcessor.from_pretrained(base)
    processor(text=["一只猫", "两只狗"], padding="max_length", truncation=True, max_length=10)
    processor.save_pretrained(trained)

    assert convert(trained, tmp_path / "OUT", base=base).passed


def test_the_base_has_to_be_what_its_report_proves(base, trained, tmp_path):
    folder = shutil.copytree(base, tmp_path / "BASE")
    edit(folder / "config.json", lambda config: config["text_config"].update(hidden_act="relu"))
    assert "--base" in (message := refused(trained, tmp_path / "OUT", base=folder)) and "config.json" in message
    (folder / FILE).unlink()
    assert f"it has no {FILE}" in refused(trained, tmp_path / "OUT", base=folder)
    assert "it holds another model" in refused(trained, tmp_path / "OUT", base=checkpoint(tmp_path / "epoch.pt"))


def checkpoint(path):
    checkpoints.cn_clip.cn_clip_file(path)
    return path


def test_a_model_type_that_was_edited_is_written_back_as_the_message_says(base, trained, tmp_path):
    edit(trained / "config.json", lambda config: config.update(model_type="chinese_clip"))
    message = refused(trained, tmp_path / "OUT", base=base)

    name, value = re.search('write "(.*?)": "(.*?)" into', message).groups()
    edit(trained / "config.json", lambda config: config.update({name: value}))

    assert convert(trained, tmp_path / "OUT", base=base).passed


def test_facts_are_not_stated_beside_the_base(base, trained, tmp_path):
    message = refused(trained, tmp_path / "OUT", base=base, format="cn_clip", context_length=30)
    assert "Leave out --format, --context-length" in message


def test_an_adapter_that_is_not_merged_is_refused_with_the_merge(base, trained, tmp_path):
    state = load_file(trained / "model.safetensors")
    key = "text_model.encoder.layer.0.attention.self.query.weight"
    state[key.replace(".weight", ".base_layer.weight")] = state.pop(key)
    save_file(state, trained / "model.safetensors")
    # No adapter_config.json lies there: PeftModel could not load it.
    message = refused(trained, tmp_path / "OUT", base=base)
    assert "get_peft_model" in message and "PeftModel.from_pretrained" not in message
    changed(base).save_pretrained(trained)
    (trained / "adapter_config.json").write_text("{}", encoding="utf-8")
    assert "PeftModel.from_pretrained" in refused(trained, tmp_path / "OUT", base=base)


# No message sends its reader in a circle


def message_of(call):
    with pytest.raises(InputError) as caught:
        call()
    return str(caught.value)


def spoiled(folder, base):
    """A trained folder with a report that cannot be read."""
    (folder / FILE).write_text("{}", encoding="utf-8")


def with_report(folder, base):
    shutil.copyfile(base / FILE, folder / FILE)


def untouched(folder, base):
    shutil.rmtree(folder)
    shutil.copytree(base, folder)


MESSAGES = {
    "verify": (None, lambda folder, out: verify(folder)),
    "verify, a spoiled report": (spoiled, lambda folder, out: verify(folder)),
    "push": (None, lambda folder, out: push(folder, "user/x", dry_run=True)),
    "push, a report of other files": (with_report, lambda folder, out: push(folder, "user/x", dry_run=True)),
    "convert": (None, lambda folder, out: convert(folder, out)),
    "convert, more has changed": (with_report, lambda folder, out: convert(folder, out)),
    "convert, nothing has changed": (untouched, lambda folder, out: convert(folder, out)),
    "load": (None, lambda folder, out: load(folder)),
    "card": (None, lambda folder, out: card(folder)),
    "export": (None, lambda folder, out: export(folder, out, to="transformers")),
}


@pytest.mark.quick(2)
@pytest.mark.parametrize("name", in_turns(MESSAGES, lambda name: name.partition(",")[0]))
def test_the_command_that_a_message_names_is_a_way_out(name, base, trained, tmp_path, monkeypatch, capfd):
    prepare, call = MESSAGES[name]
    if prepare is not None:
        prepare(trained, base)
    monkeypatch.setenv("ZHCLIP_CACHE", str(tmp_path / "cache"))

    message = message_of(lambda: call(trained, tmp_path / "OUT"))

    walk(message, trained, base, tmp_path)
    assert verify(tmp_path / "OUT").passed and push(tmp_path / "OUT", "user/x", dry_run=True).unverified is None


def test_the_commands_of_a_card_and_of_inspect_are_ways_out(base, trained, tmp_path):
    AutoProcessor.from_pretrained(base).save_pretrained(trained)
    card(trained)
    written = (trained / "README.md").read_text(encoding="utf-8")
    # The missing report, and in both languages the missing files of sentence-transformers.
    assert len(re.findall("`zhclip convert [^`]* --base REPO`", written)) == 3
    walk(written, trained, base, tmp_path)
    assert inspect(trained).verdict == "converted"
    walk(inspect(trained).refusal, trained, base, tmp_path, "AGAIN")


def walk(message, trained, base, tmp_path, out="OUT"):
    """Runs the first command of a message, with the user's names for the folders that it leaves open."""
    command = re.search(r"`zhclip (convert [^`]* --base [^`]*)`", message)[1]
    names = {"OUT": tmp_path / out, "REPO": base, "TRAINED": trained}
    words = [str(names.get(word, word)) for word in shlex.split(command)]
    words[1] = str(trained)
    assert zhclip_cli.main(words) == 0


def test_trained_weights_are_not_compared_with_an_original(base, trained, original, tmp_path):
    convert(trained, tmp_path / "OUT", base=base)

    found = original("cn_clip_vit")
    message = message_of(lambda: verify(tmp_path / "OUT", found.source, **found.arguments))
    assert f"Leave out --against: `zhclip verify {tmp_path / 'OUT'}`" in message
    assert zhclip_cli.main(["verify", str(tmp_path / "OUT")]) == 0


def test_a_module_of_sentence_transformers_that_was_added_is_refused_until_its_entry_goes(base, trained, tmp_path):
    modules = json.loads((base / "modules.json").read_text(encoding="utf-8"))
    added = {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.base.modules.dense.Dense"}
    (trained / "modules.json").write_text(json.dumps([*modules, added]), encoding="utf-8")
    said = refused(trained, tmp_path / "OUT", base=base)
    assert "modules.json types: ['Transformer', 'Normalize', 'Dense']; the base has" in said

    (trained / "modules.json").write_text(json.dumps(modules), encoding="utf-8")  # what the message says
    assert convert(trained, tmp_path / "OUT", base=base).passed
