import hashlib
import json
import math
import os
import shutil
import signal
import tempfile
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import hf_zhclip
from hf_zhclip.conversion import card, convert, export, pipeline, verify
from hf_zhclip.conversion.errors import InputError, MappingError, ParityError, WorkError
from hf_zhclip.conversion.proof import compared, fresh_process, precision, verification, witnesses
from hf_zhclip.conversion.proof.fresh_process import answered, started
from hf_zhclip.conversion.proof.reference.layers import computing_in
from hf_zhclip.conversion.proof.reference.vocabularies import Table
from hf_zhclip.conversion.proof.witness import Offer
from hf_zhclip.conversion.repos.report import Comparison, Report
from hf_zhclip.conversion.sources import SOURCES
from hf_zhclip.conversion.words import Words

from tests import checkpoints
from tests.checkpoints import FAMILIES
from tests.conversion.helpers import contents, entries
from tests.thorough import every_third
from tests.weights import seeded_state_dict

COSINE = "smallest cosine"
WITH_TOWERS = verification._with_towers
NUMBERS = {"config", "ids", "pixels", "text", "image", "logits"}


def failed_steps(error):
    return {each.step for each in error.value.report.comparisons if not each.passed}


@pytest.fixture
def copy(repo, tmp_path):
    """Gives a converted repo that may be changed."""

    def make(family):
        shutil.copytree(repo(family).path, tmp_path / family)
        return tmp_path / family

    return make


# What holds


@pytest.mark.quick(3)
@pytest.mark.parametrize("family", every_third(FAMILIES))
def test_a_repo_is_verified_against_its_original(family, repo):
    found = repo(family)

    report = verify(found.path, found.original.source, **found.original.arguments)

    assert report.passed
    assert {each.step for each in report.comparisons} == {"files", "code", "tensors", *NUMBERS}
    assert {each.what.en for each in report.comparisons if each.step == "tensors"} == {
        "file tensors",
        "loaded parameters and buffers",
    }


def test_a_vocabulary_that_the_model_has_no_rows_for_is_asked_for(repo):
    converted = repo("openai_clip")
    with pytest.raises(InputError, match=r"ids up to at least \d+, but the model has \d+ rows.*--tokenizer PATH"):
        verify(converted.path, converted.original.source)


@pytest.mark.quick(3)
@pytest.mark.parametrize("family", every_third(FAMILIES))
def test_a_repo_is_verified_by_its_own_tensors_mapped_back(family, repo):
    report = verify(repo(family).path)

    assert report.passed
    assert report.level in ("peer", "reference")
    assert {each.step for each in report.comparisons} == {"files", "code", "tensors", *NUMBERS}


def test_verifying_changes_nothing(copy):
    out = copy("cn_clip_vit")
    before = contents(out)

    verify(out)

    assert contents(out) == before


def test_every_comparison_has_a_bound_and_the_bounds_are_the_published_ones(repo):
    comparisons = repo("cn_clip_vit").report.comparisons
    bounds = {(each.step, each.measure): each.bound for each in comparisons}

    sameness = {
        each.step: each.bound for each in comparisons if "inputs in float64" in each.what.en or each.step == "logits"
    }
    assert sameness == {"text": 1 - 1e-9, "image": 1 - 1e-9, "logits": 0}
    first = {each.step: each.bound for each in reversed(comparisons) if "float64" in each.what.en}
    assert first["logits"] == 1e-9
    rounding = [each for each in comparisons if "in float32" in each.what.en]
    assert [each.step for each in rounding] == ["text", "image"]
    assert all(0 < each.result <= each.bound < 1e-3 for each in rounding)

    assert bounds[("text", "smallest cosine")] == bounds[("image", "smallest cosine")] == 1 - 1e-9
    assert bounds[("tensors", "number that differ")] == bounds[("ids", "number that differ")] == 0
    assert bounds[("pixels", "max abs difference")] == 0


# What is wrong with the description: a fact that no weight file holds


def change(side, **changes):
    def plant(description):
        tower = getattr(description, side)
        fields = {key: value for key, value in changes.items() if key in ("pooling", "projection")}
        config = {key: value for key, value in changes.items() if key not in fields}
        return replace(description, **{side: replace(tower, config={**tower.config, **config}, **fields)})

    return plant


def order(name):
    return lambda description: replace(description, image_order=name)


FOLLOWING = {"pixels": ("image",), "ids": ("text",)}
"""Vectors are compared as users get them, from what the repo's own processor gives."""

PLANTED = {
    "half the text heads": ("cn_clip_vit", change("text", num_attention_heads=2), "text"),
    "twice the text heads": ("cn_clip_flash", change("text", num_attention_heads=8), "text"),
    "half the image heads": ("cn_clip_vit", change("vision", num_attention_heads=2), "image"),
    "twice the image heads": ("bert_clip", change("vision", num_attention_heads=8), "image"),
    "other heads of the ResNet": ("cn_clip_resnet", change("vision", num_attention_heads=16), "image"),
    "another text activation": ("cn_clip_vit", change("text", hidden_act="relu"), "text"),
    "quick GELU in the text": ("cn_clip_vit", change("text", hidden_act="quick_gelu"), "text"),
    "erf GELU in the image": ("cn_clip_vit", change("vision", hidden_act="gelu"), "image"),
    "another text eps": ("cn_clip_vit", change("text", layer_norm_eps=1e-5), "text"),
    "another image eps": ("cn_clip_vit", change("vision", layer_norm_eps=1e-12), "image"),
    "mean in place of CLS": ("cn_clip_vit", change("text", pooling="mean"), "text"),
    "RGB before the square, of a ResNet": ("cn_clip_resnet", order("rgb_then_squash"), "pixels"),
    "RGB before the square": ("cn_clip_vit", order("rgb_then_squash"), "pixels"),
    "a crop in place of the square": ("cn_clip_vit", order("crop_then_rgb"), "pixels"),
    "a square in place of the crop": ("bert_clip", order("rgb_then_squash"), "pixels"),
    "RGB after the crop": ("taiyi_head", order("crop_then_rgb"), "pixels"),
    "RGB before the crop": ("taiyi_plain", order("rgb_then_crop"), "pixels"),
    "CLS in place of the mean": ("zh_clip", change("text", pooling="cls"), "text"),
    "half the heads before a mean": ("zh_clip", change("text", num_attention_heads=2), "text"),
    "erf GELU before a biased projection": ("zh_clip", change("vision", hidden_act="gelu"), "image"),
    "a square in place of ZH-CLIP's crop": ("zh_clip", order("rgb_then_squash"), "pixels"),
}


# test_planted_facts.py plants every fact of every family.
@pytest.mark.quick(3)
@pytest.mark.parametrize("name", every_third(PLANTED))
def test_a_planted_error_is_caught_where_it_is(name, original, tmp_path, monkeypatch):
    family, plant, step = PLANTED[name]
    describe = pipeline.describe
    monkeypatch.setattr(pipeline, "describe", lambda parts: plant(describe(parts)))
    found = original(family)

    with pytest.raises(ParityError) as error:
        convert(found.source, tmp_path / "OUT", **found.arguments)

    assert step in failed_steps(error) <= {step, *FOLLOWING.get(step, ()), "logits"}
    assert entries(tmp_path) == set()


def test_a_pooling_that_leaves_the_pooler_unused_is_refused_for_its_keys(original, tmp_path, monkeypatch):
    describe = pipeline.describe
    monkeypatch.setattr(pipeline, "describe", lambda parts: change("text", pooling="cls")(describe(parts)))

    with pytest.raises(MappingError, match=r"keys that the model does not have:\n  text_model\.pooler\.dense\.bias"):
        convert(original("bert_clip").source, tmp_path / "OUT")


def test_a_scale_in_place_of_the_one_that_was_never_trained_is_caught(original, tmp_path, monkeypatch):
    join = pipeline.join_tensors
    monkeypatch.setattr(pipeline, "join_tensors", lambda parts: join(parts) | {"logit_scale": torch.tensor(2.6592)})

    with pytest.raises(ParityError) as error:
        convert(original("zh_clip").source, tmp_path / "OUT")

    assert failed_steps(error) == {"tensors", "logits"}


# What is wrong with the tables


def swap(*keys):
    """Changes the rules of a table so that these targets are written in the next one's place."""

    def change(rules):
        following = dict(zip(keys, (*keys[1:], keys[0]), strict=True))
        return tuple(replace(rule, targets=tuple(following.get(key, key) for key in rule.targets)) for rule in rules)

    return change


def untransposed(key):
    return lambda rules: tuple(replace(rule, op="rename") if rule.sources == (key,) else rule for rule in rules)


TEXT, IMAGE = "text_model.encoder.layer.{}.", "vision_model.encoder.layers.{}."
WRONG_TABLES = {
    "query and key": (swap(IMAGE + "self_attn.q_proj.*", IMAGE + "self_attn.k_proj.*"), "image"),
    "key and value": (swap(IMAGE + "self_attn.k_proj.*", IMAGE + "self_attn.v_proj.*"), "image"),
    "text query and value": (swap(TEXT + "attention.self.query.*", TEXT + "attention.self.value.*"), "text"),
    "norms of a block": (swap(IMAGE + "layer_norm1.*", IMAGE + "layer_norm2.*"), "image"),
    "norms of the text": (swap(TEXT + "attention.output.LayerNorm.*", TEXT + "output.LayerNorm.*"), "text"),
    "norms before and after": (swap("vision_model.pre_layrnorm.*", "vision_model.post_layernorm.*"), "image"),
    "text projection not transposed": (untransposed("text_projection"), "text"),
    "image projection not transposed": (untransposed("visual.proj"), "image"),
}


@pytest.fixture(scope="module")
def square(tmp_path_factory):
    """A cn_clip checkpoint whose projections are square, so that a missing transpose has no wrong shape."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints.common, "EMBED", 64)
        patch.setattr(checkpoints.common, "HIDDEN", 64)
        return checkpoints.cn_clip.original(checkpoints.cn_clip.cn_clip_vit)(tmp_path_factory.mktemp("square"))


def test_the_square_checkpoint_is_sound(square, tmp_path):
    assert convert(square.source, tmp_path / "OUT", **square.arguments).passed


@pytest.mark.quick(3)
@pytest.mark.parametrize("name", WRONG_TABLES)
def test_an_error_in_a_table_is_caught_though_every_shape_fits(name, square, tmp_path, monkeypatch):
    plant, step = WRONG_TABLES[name]
    rules = SOURCES["cn_clip"].rules
    monkeypatch.setitem(SOURCES, "cn_clip", replace(SOURCES["cn_clip"], rules=lambda keys: plant(rules(keys))))

    with pytest.raises(ParityError) as error:
        convert(square.source, tmp_path / "OUT", **square.arguments)

    assert step in failed_steps(error) <= {step, *FOLLOWING.get(step, ()), "logits"}
    assert entries(tmp_path) == set()


def test_a_foreign_tokenizer_is_caught(original, tmp_path, monkeypatch):
    cn_clip_source = SOURCES["cn_clip"]
    monkeypatch.setitem(SOURCES, "cn_clip", replace(cn_clip_source, tokenizer=bert_in_place_of_cn_clip))

    with pytest.raises(ParityError) as error:
        convert(original("cn_clip_vit").source, tmp_path / "OUT", **original("cn_clip_vit").arguments)

    # A BertTokenizer finds the padding token in a text, and cn_clip's own tokenizer takes it for characters.
    assert failed_steps(error) == {"ids", "text"}


def bert_in_place_of_cn_clip(vocabulary, context_length):
    from hf_zhclip.conversion.tokenizers.builders import bert_tokenizer
    from hf_zhclip.conversion.tokenizers.vocabularies import default_vocab

    return bert_tokenizer(default_vocab(), context_length)


# What happens to a repo afterwards


def edit(path, **changes):
    config = json.loads(path.read_text(encoding="utf-8"))
    for key, value in changes.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(config), encoding="utf-8")


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    ("file", "changes", "step"),
    [
        ("config.json", {"text_config": {"num_attention_heads": 8}}, "text"),
        ("config.json", {"vision_config": {"hidden_act": "gelu"}}, "image"),
        ("config.json", {"text_pooling": "mean"}, "text"),
        ("config.json", {"text_attends_to_padding": True}, "text"),
        ("processor_config.json", {"image_processor": {"image_order": "rgb_then_crop"}}, "pixels"),
        ("processor_config.json", {"image_processor": {"image_mean": [0.5, 0.5, 0.5]}}, "pixels"),
        ("tokenizer_config.json", {"model_max_length": 40}, "ids"),
    ],
)
def test_a_changed_fact_is_caught_by_its_numbers_and_by_the_hash(file, changes, step, copy):
    out = copy("cn_clip_vit")
    edit(out / file, **changes)

    with pytest.raises(ParityError, match="does not compute the same as the original") as error:
        verify(out)

    assert {"files", step} <= failed_steps(error)


def restate_hashes(out):
    """As whoever wrote the files and the report would have them."""
    path = out / "conversion_report.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    report["files"] = {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in report["files"]}
    path.write_text(json.dumps(report), encoding="utf-8")


def in_template(type_id):
    def change(tokenizer):
        for piece in tokenizer["post_processor"]["single"]:
            for each in piece.values():
                each["type_id"] = type_id

    return change


def add_token(tokenizer):
    row = {"id": 100_000, "content": "[x]", "special": True}
    tokenizer["added_tokens"].append(
        {**dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False), **row}
    )


TOKENIZER = {
    "padding before the text": ("tokenizer_config.json", {"padding_side": "left"}, "pads on the left"),
    "token types of a second text": ("tokenizer.json", in_template(1), r"token types \[1, 1, 1\]; wanted zeros"),
    "another padding token": ("tokenizer_config.json", {"pad_token": "[UNK]"}, "pads with id"),
    "a word beyond the rows": ("tokenizer.json", add_token, r"21129 words, but the model has only 21128 rows"),
}


@pytest.mark.quick(2)
@pytest.mark.parametrize("name", TOKENIZER)
def test_a_tokenizer_that_prepares_otherwise_is_refused_though_the_report_names_its_hash(name, copy):
    file, change, said = TOKENIZER[name]
    out = copy("bert_clip")  # its tokenizer gives token types
    if callable(change):
        value = json.loads((out / file).read_text(encoding="utf-8"))
        change(value)
        (out / file).write_text(json.dumps(value), encoding="utf-8")
    else:
        edit(out / file, **change)
    restate_hashes(out)

    with pytest.raises(InputError, match=said):
        verify(out)


TOWERS = {
    "text": ("ZhCLIPTextModelWithProjection", "ZhCLIPTextModel"),
    "image": ("ZhCLIPVisionModelWithProjection", "ZhCLIPVisionModel"),
}


@pytest.mark.quick(2)
@pytest.mark.parametrize("family", every_third(FAMILIES))
def test_the_classes_of_one_tower_are_compared_too(family, repo, monkeypatch):
    monkeypatch.setattr(verification, "_with_towers", WITH_TOWERS)

    found = {(each.step, each.what.en): each for each in verify(repo(family).path).comparisons}

    for step, names in TOWERS.items():
        for name in names:
            (comparison,) = [each for (its, what), each in found.items() if its == step and f"{name} " in what]
            assert comparison.passed and comparison.result < 1e-12


def without_mask(self, input_ids, attention_mask):
    return None


def test_a_class_of_one_tower_that_computes_otherwise_is_caught(repo, monkeypatch):
    monkeypatch.setattr(verification, "_with_towers", WITH_TOWERS)
    monkeypatch.setattr(hf_zhclip.ZhCLIPTextModel, "_text_mask", without_mask)

    with pytest.raises(ParityError) as error:
        verify(repo("cn_clip_vit").path)

    failed = [each.what.en for each in error.value.report.comparisons if not each.passed and each.measure != COSINE]
    assert failed == ["ZhCLIPTextModel in float64, inputs: 2"]


def test_a_changed_weight_is_caught_by_the_hash(copy):
    out = copy("cn_clip_vit")
    tamper(out)

    with pytest.raises(ParityError) as error:
        verify(out)

    assert failed_steps(error) == {"files"}


def test_a_changed_weight_is_caught_against_the_original_by_everything(copy, original):
    out = copy("cn_clip_vit")
    tamper(out)

    with pytest.raises(ParityError) as error:
        verify(out, original("cn_clip_vit").source, **original("cn_clip_vit").arguments)

    assert {"files", "tensors", "text"} <= failed_steps(error)


def drop_tensor(out, key):
    tensors = load_file(out / "model.safetensors")
    del tensors[key]
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})


def tamper(out):
    tensors = load_file(out / "model.safetensors")
    tensors["text_projection.weight"][0] *= -1
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})


def test_a_changed_vocabulary_is_caught_against_the_original(copy, original):
    out = copy("bert_clip")
    tokenizer = json.loads((out / "tokenizer.json").read_text(encoding="utf-8"))
    vocab = tokenizer["model"]["vocab"]
    vocab["猫"], vocab["狗"] = vocab["狗"], vocab["猫"]
    (out / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")

    with pytest.raises(ParityError) as error:
        verify(out, original("bert_clip").source)

    assert {"files", "ids"} <= failed_steps(error)


def test_another_checkpoint_of_the_same_shapes_is_not_the_original(repo, tmp_path):
    other = checkpoints.cn_clip.cn_clip_file(tmp_path / "other.pt")
    saved = torch.load(other)
    saved["state_dict"]["module.logit_scale"] += 1
    torch.save(saved, other)

    with pytest.raises(ParityError) as error:
        verify(repo("cn_clip_vit").path, other, **repo("cn_clip_vit").original.arguments)

    assert failed_steps(error) == {"tensors", "logits"}


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda out: (out / "config.json").unlink(), InputError, "is no converted repo: it has no config.json"),
        (lambda out: (out / "conversion_report.json").unlink(), InputError, " OUT --base REPO`"),
        (lambda out: (out / "conversion_report.json").write_text("{}"), InputError, "has an unknown version; version"),
        (lambda out: (out / "conversion_report.json").write_text("no"), InputError, "no valid JSON"),
        (
            lambda out: (out / "model.safetensors").unlink(),
            InputError,
            "model.safetensors does not exist; the weight file of a converted repo was wanted",
        ),
        (lambda out: (out / "model.safetensors").write_bytes(b"\0" * 99), InputError, "is no checkpoint"),
        (
            lambda out: drop_tensor(out, "text_projection.weight"),
            InputError,
            r"text_projection\.weight",
        ),
        (lambda out: (out / "tokenizer.json").unlink(), InputError, "has no tokenizer.json|does not load"),
        (lambda out: (out / "processor_config.json").unlink(), InputError, "has no processor_config.json"),
        (
            lambda out: (out / "processor_config.json").write_text("{"),
            InputError,
            "processor_config.json is no valid JSON",
        ),
        (lambda out: (out / "tokenizer.json").write_text("{"), InputError, "tokenizer.json is no valid JSON"),
        (lambda out: edit(out / "config.json", text_pooling="max"), InputError, "No model can be built from"),
        (lambda out: edit(out / "config.json", projection_dim=7), InputError, "text_projection.weight"),
    ],
)
def test_a_damaged_repo_is_refused_in_words(damage, error, message, copy):
    out = copy("cn_clip_vit")
    damage(out)

    with pytest.raises(error, match=message):
        verify(out)


def test_an_unconverted_folder_is_to_be_converted_first(original):
    with pytest.raises(InputError, match="is no converted repo: its config.json is of model_type .*zhclip convert"):
        verify(original("bert_clip").source)


@pytest.mark.parametrize(("name", "found"), [("nowhere", "nowhere does not exist"), ("file", "file is no folder")])
@pytest.mark.parametrize("command", [verify, card, partial(export, destination="DEST", to="source")])
def test_what_is_no_repo_is_refused(command, name, found, tmp_path):
    (tmp_path / "file").write_text("x")

    with pytest.raises(InputError, match=found):
        command(tmp_path / name)


# The process


def test_the_word_of_the_fresh_process_comes_back_as_it_was_said(monkeypatch, fresh_process):
    request = verification.Request("out", [], "keep", "vocabulary", 52)

    def said(answer):
        program = f"import sys, json, pathlib; {answer}"
        monkeypatch.setattr(verification, "PROGRAM", program)
        return verification.in_fresh_process(request)

    answer = "pathlib.Path(sys.argv[2]).write_text(json.dumps({}))".format
    with pytest.raises(InputError, match="^bad$"):
        said(answer({"error": "bad", "exit_code": 2}))
    with pytest.raises(WorkError, match="^disk$"):
        said(answer({"error": "disk", "exit_code": 1}))
    for program, words in {
        "sys.exit('boom')": "failed: boom",
        "raise OSError('no such disk')": "failed: OSError: no such disk",
        "sys.exit(3)": "failed: it ended with exit code 3 and said nothing",
        r"sys.stderr.buffer.write(b'\xd6'); sys.exit(3)": "failed: \ufffd",
        "os.kill(os.getpid(), 9)": "was ended by the signal SIGKILL, as by a system that has no memory left; free "
        "some memory and try again.",
        "os.kill(os.getpid(), 7)": "was ended by the signal SIGBUS, as where a file becomes shorter while it is read.",
        "os.kill(os.getpid(), 60)": "was ended by the signal 60.",
    }.items():
        with pytest.raises(WorkError) as told:
            said(program)
        assert str(told.value) == f"The process that verifies {words}"
    comparison = asdict(Comparison("text", Words.same("x"), Words.same("w"), "m", 0.0, 0.0, True))
    assert said(answer({"level": "peer", "comparisons": [comparison]}).replace("true", "True")) == (
        "peer",
        [Comparison.from_json(comparison)],
    )


@pytest.mark.skipif(os.name != "posix", reason="kills")
def test_the_fresh_process_ends_with_the_process_that_started_it(tmp_path, fresh_process):
    child = os.fork()
    if not child:
        program = "import os, json, time; open(json.load(open(sys.argv[1]))['pid'], 'w').write(str(os.getpid()))"
        answered(f"{program}; time.sleep(60)", {"pid": str(tmp_path / "pid")})
        os._exit(0)
    fresh = int(soon(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)

    assert soon(
        lambda: not Path(f"/proc/{fresh}").exists() or "State:\tZ" in Path(f"/proc/{fresh}/status").read_text()
    )


def soon(found):
    """What a function finds, as soon as it finds something."""
    for _ in range(300):
        if value := found():
            return value
        time.sleep(0.05)
    raise AssertionError("nothing was found in 15 seconds")


def test_a_process_that_was_begun_early_waits_for_its_request_and_answers_it_alone():
    program = (
        "from pathlib import Path; from hf_zhclip.conversion.proof.fresh_process import awaited; import json;"
        "Path(sys.argv[2]).write_text(json.dumps({'asked': awaited(Path(sys.argv[1]))['text']}))"
    )
    with started(program) as answer:
        time.sleep(0.1)  # the request comes while the process imports
        assert answer({"text": "一只猫"}) == {"asked": "一只猫"}


def test_a_process_that_is_asked_nothing_is_ended():
    began = time.monotonic()
    with pytest.raises(ZeroDivisionError), started("import time; time.sleep(600)"):
        1 / 0  # noqa: B018
    with started("import time; time.sleep(600)"):
        pass
    assert time.monotonic() - began < 60


def test_a_process_that_cannot_start_is_an_error_of_the_system(monkeypatch):
    monkeypatch.setattr(fresh_process.sys, "executable", "/nowhere/python")
    with pytest.raises(WorkError, match="could not start: No such file or directory"), started(""):
        pass


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "keep"])
def test_the_tensors_of_a_witness_are_rounded_as_a_cast_of_each_rounds_them(dtype, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    tensors = {
        "w": torch.randn(30, 7).t(),
        "half": torch.randn(3).half(),
        "n": torch.arange(3),
        "s": torch.tensor(0.1),
    }

    found = verification._rounded(tensors, dtype)

    cast = torch.Tensor.clone if dtype == "keep" else (lambda tensor: tensor.to(getattr(torch, dtype)))
    assert list(found) == list(tensors)
    assert found["w"].dtype is cast(tensors["w"]).dtype and torch.equal(found["w"], cast(tensors["w"]))
    assert found["half"].dtype is cast(tensors["half"]).dtype and torch.equal(found["half"], cast(tensors["half"]))
    assert found["n"] is tensors["n"] and found["s"] is tensors["s"]
    assert entries(tmp_path) == set()


def test_modules_in_the_current_folder_are_not_imported(tmp_path, monkeypatch):
    for name in ("torch", "transformers", "json", "threading", "hf_zhclip"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the current folder')")
    monkeypatch.chdir(tmp_path)

    found = answered("import json; open(sys.argv[2], 'w').write(json.dumps({'file': json.__file__}))", {})

    assert not found["file"].startswith(str(tmp_path))


# Narrow dtypes


@pytest.mark.quick(1)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_rounding_of_the_repos_own_dtype_is_measured_beside_that_of_float32(dtype, original, tmp_path):
    found = original("cn_clip_vit")
    report = convert(found.source, tmp_path / "OUT", dtype=dtype, **found.arguments)

    images = [each for each in report.comparisons if each.step == "image"]
    measured = {each.what.en: each for each in images if each.measure == "max abs difference"}
    own, single = measured[f"embeddings in {dtype}"], measured["embeddings in float32"]
    assert single.result < own.result <= own.bound
    assert own.bound / single.bound == torch.finfo(getattr(torch, dtype)).eps / torch.finfo(torch.float32).eps
    calls = [each.result for what, each in measured.items() if "in float64" in what]
    assert len(calls) == 3 and max(calls) < 1e-12


def test_weights_that_overflow_their_own_dtype_are_no_fault_of_the_conversion(tmp_path):
    tensors = {key: tensor.half() for key, tensor in seeded_state_dict(checkpoints.cn_clip.cn_clip_vit()).items()}
    block = "visual.transformer.resblocks.0.mlp."
    large = {
        block + "c_fc.bias": tensors[block + "c_fc.bias"] + 5,
        block + "c_proj.weight": tensors[block + "c_proj.weight"] * 3000,
        block + "c_proj.bias": torch.full((checkpoints.common.WIDTH,), 6e4).half(),
    }
    torch.save({**tensors, **large}, tmp_path / "x.pt")
    config = checkpoints.cn_clip.cn_clip_config(tmp_path / "facts.json")

    report = convert(tmp_path / "x.pt", tmp_path / "OUT", config=config)

    (own,) = [each for each in report.comparisons if "float16" in each.what.en and each.step == "image"]
    assert own.what == Words(
        "embeddings in float16, where the witness overflows, too", "向量（float16，对照方同样溢出）"
    )
    assert own.passed and math.isnan(own.result)
    json.dumps(report.to_json(), allow_nan=False)


# NaN


def sameness(ours, truth):
    ours, truth = (torch.tensor(each, dtype=torch.float64) for each in (ours, truth))
    return list(
        precision._sameness(
            "text", compared.EMBEDDINGS, [precision.Found("a call", 0, ours)], [truth], witnesses.REFERENCE
        )
    )


def test_nan_agrees_with_nan_and_with_nothing_else():
    nan = float("nan")

    def passes(ours, expected):
        return all(each.passed for each in sameness([[1.0, 0.0], ours], [[1.0, 0.0], expected]))

    assert passes([0.6, 0.8], [0.6, 0.8])
    assert passes([nan, nan], [nan, nan])
    assert not passes([nan, nan], [0.6, 0.8])
    assert not passes([0.6, 0.8], [nan, nan])
    assert not passes([0.6, 0.8], [0.8, 0.6])
    assert not passes([0.6, 0.8], [-0.6, -0.8])


@pytest.mark.parametrize(
    ("ours", "passed"),
    [
        ([0.6, 0.8], (True, True)),
        ([0.600000008, 0.799999994], (False, True)),  # 1e-8 aside: the cosine is 1 - 5e-17
        ([0.6003, 0.79977], (False, False)),
    ],
)
def test_difference_and_cosine_have_a_bound_each(ours, passed):
    assert tuple(each.passed for each in sameness([ours], [[0.6, 0.8]])) == passed


def test_what_json_cannot_say_is_null():
    results = [float("nan"), float("inf"), 0.5]
    comparisons = [Comparison("text", Words.same("x"), Words.same("w"), "m", 0.0, result, False) for result in results]

    value = Report([], {}, "reference", comparisons, {}, versions={}).to_json()

    assert [each["result"] for each in value["comparisons"]] == [None, None, 0.5]
    json.dumps(value, allow_nan=False)


def test_a_report_without_comparisons_has_not_passed():
    assert not Report([], {}, "tensors", [], {}, versions={}).passed


# Witnesses


TABLE = Table({"[PAD]": 0}, ("[PAD]",)), 52


def test_the_level_of_a_pair_is_that_of_the_weaker_witness():
    every = dict.fromkeys(witnesses.CALLS, abs)
    peer = Offer(Words.same("transformers 5"), "peer", computing_in, **{**every, "encode_image": len})
    reference = Offer(witnesses.REFERENCE, "reference", computing_in, **{**every, "encode_text": len, "pixels": None})

    joined = witnesses._joined([reference, peer], *TABLE)

    assert joined.level == "reference"
    assert joined.name == Words("reference, transformers 5", "参考实现、transformers 5")
    assert witnesses._joined([peer, peer], *TABLE).level == "peer"
    assert (joined.encode_text, joined.encode_image, joined.pixels) == (len, abs, abs)
