import errno
import hashlib
import json
import os
import re
import shutil
import signal
import socket
from itertools import product

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoProcessor

from hf_zhclip.conversion import convert, pipeline
from hf_zhclip.conversion.errors import InputError, ParityError, WorkError
from hf_zhclip.conversion.proof import verification
from hf_zhclip.conversion.repos import pieces
from hf_zhclip.conversion.tokenizers.vocabularies import default_vocab
from hf_zhclip.saving_zhclip import CODE_FILES

from tests import checkpoints as c
from tests.checkpoints import FAMILIES
from tests.conversion.helpers import contents, entries, save_time
from tests.thorough import in_turns, thorough
from tests.weights import seeded_state_dict


@pytest.fixture
def facts(tmp_path):
    return c.cn_clip.cn_clip_config(tmp_path / "facts.json")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "OUT"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def saved(path, tensors, **options):
    torch.save(tensors, path, **options)
    return path


# What comes out


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_becomes_a_complete_and_verified_repo(family, repo):
    found = repo(family)

    assert found.report.passed
    assert found.report.level in ("peer", "reference")
    assert {each.step for each in found.report.comparisons} == {
        *("tensors", "config", "ids", "pixels", "text", "image", "logits")
    }
    assert entries(found.path) == {
        *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
        *("processor_config.json", "README.md", "conversion_report.json"),
        *("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"),
        *CODE_FILES,
    }


def test_the_tensors_are_those_of_the_file_where_they_belong(repo):
    source = seeded_state_dict(c.cn_clip.cn_clip_vit())
    block, width = "visual.transformer.resblocks.1.attn.", c.common.WIDTH
    fused = source[block + "in_proj_weight"]

    found = load_file(repo("cn_clip_vit").path / "model.safetensors")

    layer = "vision_model.encoder.layers.1."
    expected = {
        "text_projection.weight": source["text_projection"].t(),
        "visual_projection.weight": source["visual.proj"].t(),
        "logit_scale": source["logit_scale"],
        "vision_model.embeddings.patch_embedding.weight": source["visual.conv1.weight"],
        "vision_model.pre_layrnorm.bias": source["visual.ln_pre.bias"],
        "vision_model.post_layernorm.weight": source["visual.ln_post.weight"],
        layer + "self_attn.q_proj.weight": fused[:width],
        layer + "self_attn.k_proj.weight": fused[width : 2 * width],
        layer + "self_attn.v_proj.weight": fused[2 * width :],
        layer + "mlp.fc2.bias": source["visual.transformer.resblocks.1.mlp.c_proj.bias"],
        "text_model.encoder.layer.0.attention.self.key.bias": source["bert.encoder.layer.0.attention.self.key.bias"],
        "text_model.embeddings.word_embeddings.weight": source["bert.embeddings.word_embeddings.weight"],
    }
    assert len(found) == 79
    for key, tensor in expected.items():
        assert torch.equal(found[key], tensor), key


def test_the_repo_loads_through_the_auto_classes_alone(repo):
    model = AutoModel.from_pretrained(repo("bert_clip").path, dtype="auto").eval()
    processor = AutoProcessor.from_pretrained(repo("bert_clip").path)

    embedding = model.encode_text(**processor(text=["一只猫"], return_tensors="pt"))

    assert embedding.shape == (1, c.common.EMBED)


def test_flash_and_plain_layout_become_the_same_weights(tmp_path, facts):
    plain = seeded_state_dict(c.cn_clip.cn_clip_vit())
    flash = {}
    for key, tensor in plain.items():
        if re.search(r"self\.(query|key|value)\.", key):
            stem, suffix = re.split(r"query|key|value", key)
            parts = [plain[f"{stem}{part}{suffix}"] for part in ("query", "key", "value")]
            flash[f"{stem}Wqkv{suffix}"] = torch.cat(parts)
        elif "attention.output.dense" in key:
            flash[key.replace("output.dense", "self.out_proj")] = tensor
        else:
            flash[key.replace("in_proj_", "Wqkv.")] = tensor
    assert flash.keys() == c.cn_clip.cn_clip_vit(flash=True).keys()

    for name, tensors in (("plain", plain), ("flash", flash)):
        convert(saved(tmp_path / f"{name}.pt", tensors), tmp_path / name, config=facts)

    assert comparable(tmp_path / "plain") == comparable(tmp_path / "flash")


# The same, whatever it came in


def comparable(folder):
    """What does not name the source: weights, config, processor, tokenizer."""
    return {
        name: data for name, data in contents(folder).items() if name not in ("README.md", "conversion_report.json")
    }


def as_zip(folder, tensors):
    return saved(folder / "x.pt", {"state_dict": tensors, "epoch": 1})


def as_legacy(folder, tensors):
    return saved(folder / "x.pt", {"state_dict": tensors}, _use_new_zipfile_serialization=False)


def as_bare_bin(folder, tensors):
    return saved(folder / "x.bin", tensors)


def as_nested_model(folder, tensors):
    return saved(folder / "x.pth", {"model": tensors})


def as_safetensors(folder, tensors):
    save_file(tensors, folder / "x.safetensors")
    return folder / "x.safetensors"


def as_folder(folder, tensors):
    save_file(tensors, folder / "model.safetensors")
    return folder


def as_shards(folder, tensors):
    places = {}
    for number, keys in enumerate((sorted(tensors)[::2], sorted(tensors)[1::2]), start=1):
        name = f"pytorch_model-{number:05}-of-00002.bin"
        torch.save({key: tensors[key] for key in keys}, folder / name)
        places |= dict.fromkeys(keys, name)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    return folder


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    source = as_zip(folder, seeded_state_dict(c.cn_clip.cn_clip_vit()))
    with pytest.MonkeyPatch.context() as patch:
        save_time(patch)
        convert(source, folder / "OUT", config=c.cn_clip.cn_clip_config(folder / "facts.json"), skip_verify=True)
    return comparable(folder / "OUT")


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    ("save", "prefix"),
    [
        # detection/test_detection_table.py reads every container with every wrapper
        (as_zip, "module."),
        thorough((as_zip, "module._orig_mod.")),
        thorough((as_legacy, "")),
        thorough((as_legacy, "module.")),
        (as_bare_bin, "_orig_mod."),
        (as_nested_model, "module."),
        thorough((as_safetensors, "")),
        (as_safetensors, "module."),
        (as_folder, "_orig_mod.module."),
        thorough((as_shards, "")),
        (as_shards, "module."),
    ],
)
def test_the_container_and_its_wrappers_change_no_byte(save, prefix, expected, tmp_path, facts, out):
    tensors = {prefix + key: tensor for key, tensor in seeded_state_dict(c.cn_clip.cn_clip_vit()).items()}
    (tmp_path / "in").mkdir()

    convert(save(tmp_path / "in", tensors), out, config=facts, skip_verify=True)

    assert comparable(out) == expected


def test_two_runs_give_the_same_bytes(repo, written_card, tmp_path):
    found = repo("taiyi_head")

    out = tmp_path / "elsewhere" / found.path.name  # the card names the folder

    convert(found.original.source, out, **found.original.arguments)

    assert contents(out) == contents(found.path)


# The report


def test_the_report_names_no_time_no_place_and_no_machine(repo):
    for family in ("cn_clip_vit", "taiyi_head"):
        text = (repo(family).path / "conversion_report.json").read_text(encoding="utf-8")
        assert str(repo(family).path.parent) not in text
        assert str(repo(family).original.source.parent) not in text
        assert f'"{socket.gethostname()}' not in text
        assert not re.search(r"\d{4}-\d\d-\d\d|\d\d:\d\d|/tmp|/home|/root", text)


def test_the_report_s_hashes_are_those_of_the_files(repo):
    out = repo("cn_clip_vit").path
    report = json.loads((out / "conversion_report.json").read_text(encoding="utf-8"))

    assert report["files"] == {
        name: sha256(data)
        for name, data in contents(out).items()
        if name not in ("README.md", "conversion_report.json")
    }
    source = repo("cn_clip_vit").original.source
    assert report["sources"][0]["files"] == {source.name: sha256(source.read_bytes())}


def test_the_report_says_what_was_read_and_what_was_left_out(repo):
    vit, flash, pair = (repo(family).report for family in ("cn_clip_vit", "cn_clip_flash", "taiyi_head"))

    assert vit.sources[0]["format"] == "cn_clip"
    assert vit.sources[0]["wrappers"] == ["module."]
    assert vit.sources[0]["container"] == "torch.save zip"
    assert vit.sources[0]["evidence"] == {"files": {}, "stated": c.cn_clip.CN_CLIP_FACTS}
    assert flash.sources[0]["wrappers"] == []
    assert flash.sources[0]["dropped"] == ["bert.pooler.dense.bias", "bert.pooler.dense.weight"]
    assert [each["format"] for each in pair.sources] == ["taiyi", "hf_clip"]
    assert [each["role"] for each in pair.sources] == ["whole", "image"]
    dropped = pair.sources[1]["dropped"]
    assert all(key.startswith(("text_model.", "text_projection.")) for key in dropped) and len(dropped) == 21
    assert {"text_model.final_layer_norm.weight", "text_projection.weight"} <= {*dropped}
    assert vit.conversion["dtype"] == "keep"
    assert vit.conversion["context_length"] == 52


def test_a_second_report_is_written_where_it_is_wanted(original, tmp_path, out):
    found = original("cn_clip_vit")

    convert(found.source, out, report=tmp_path / "second.json", **found.arguments)

    assert (tmp_path / "second.json").read_bytes() == (out / "conversion_report.json").read_bytes()


def test_the_report_is_written_even_when_verification_fails(original, tmp_path, out, monkeypatch):
    found = original("cn_clip_vit")
    describe = pipeline.describe

    def wrong(parts):
        description = describe(parts)
        description.text.config["num_attention_heads"] = 8
        return description

    monkeypatch.setattr(pipeline, "describe", wrong)

    with pytest.raises(ParityError, match="text: embeddings of 18 inputs in float64 against") as error:
        convert(found.source, out, report=tmp_path / "second.json", **found.arguments)

    report = json.loads((tmp_path / "second.json").read_text(encoding="utf-8"))
    assert report["passed"] is False
    assert report == json.loads(json.dumps(error.value.report.to_json()))
    assert entries(tmp_path) == {"second.json"}


@pytest.mark.usefixtures("written_card")
def test_without_verification_only_tensors_are_compared_and_nothing_is_called_verified(original, out, monkeypatch):
    found = original("cn_clip_vit")

    monkeypatch.setattr(verification, "_loaded", None)  # no model is loaded for it
    report = convert(found.source, out, skip_verify=True, **found.arguments)

    assert report.level == "tensors"
    assert {each.step for each in report.comparisons} == {"tensors", "config"}
    assert report.conversion["verification_skipped"] is True
    assert "Not verified: only tensors were compared" in (out / "README.md").read_text(encoding="utf-8")


# Arguments


def test_shards_load_as_one_file_does(original, repo, out):
    found = original("cn_clip_vit")

    report = convert(found.source, out, max_shard_size="1MB", **found.arguments)

    assert report.passed
    assert len(list(out.glob("model-*-of-*.safetensors"))) > 1
    one, many = (AutoModel.from_pretrained(path).state_dict() for path in (repo("cn_clip_vit").path, out))
    assert one.keys() == many.keys()
    assert all(torch.equal(one[key], many[key]) for key in one)


@pytest.mark.quick(1)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_cast_is_compared_with_the_original_after_the_same_rounding(dtype, original, out):
    found = original("cn_clip_resnet")

    report = convert(found.source, out, dtype=dtype, **found.arguments)

    assert report.passed and report.conversion["dtype"] == dtype
    config = json.loads((out / "config.json").read_text())
    tensors = load_file(out / "model.safetensors")
    assert config["dtype"] == dtype
    assert {str(tensor.dtype) for tensor in tensors.values() if tensor.is_floating_point()} == {f"torch.{dtype}"}
    assert tensors["vision_model.bn1.num_batches_tracked"].item() == 1000
    rounded = seeded_state_dict({"text_projection": (c.common.HIDDEN, c.common.EMBED)})["text_projection"].to(
        getattr(torch, dtype)
    )
    assert torch.equal(tensors["text_projection.weight"], rounded.t())


def test_mixed_dtypes_are_kept_and_load_without_loss(tmp_path, facts, out):
    tensors = seeded_state_dict(c.cn_clip.cn_clip_vit())
    tensors = {key: tensor.half() if "weight" in key else tensor for key, tensor in tensors.items()}

    convert(saved(tmp_path / "x.pt", tensors), out, config=facts)

    found = load_file(out / "model.safetensors")
    assert found["vision_model.embeddings.patch_embedding.weight"].dtype == torch.float16
    assert found["text_projection.weight"].dtype == torch.float32
    model = AutoModel.from_pretrained(out, dtype="auto")
    assert model.dtype == torch.float32
    assert torch.equal(model.text_projection.weight, tensors["text_projection"].t())
    word = "text_model.embeddings.word_embeddings.weight"
    assert torch.equal(model.state_dict()[word], tensors["bert.embeddings.word_embeddings.weight"].float())


@pytest.mark.quick(1)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_one_dtype_throughout_is_kept(dtype, tmp_path, facts, out):
    tensors = {key: tensor.to(dtype) for key, tensor in seeded_state_dict(c.cn_clip.cn_clip_vit()).items()}

    report = convert(saved(tmp_path / "x.pt", tensors), out, config=facts)

    assert report.passed
    assert AutoModel.from_pretrained(out, dtype="auto").dtype == dtype


def test_a_longer_context_is_compared_at_its_length(original, out):
    found = original("cn_clip_vit")

    report = convert(found.source, out, context_length=64, **found.arguments)

    assert report.passed and report.conversion["context_length"] == 64
    processor = AutoProcessor.from_pretrained(out)
    assert len(processor(text=["很长的句子" * 40])["input_ids"][0]) == 64


def test_a_short_context_is_kept_by_the_processor(original, out):
    convert(original("bert_clip").source, out, context_length=7)

    ids = AutoProcessor.from_pretrained(out)(text=["很长的句子" * 40])["input_ids"][0]
    assert len(ids) == 7
    assert ids[-1] == default_vocab().index("[SEP]")


def own_vocabulary(folder):
    """A vocabulary of as many words as the packaged one, of which two have changed places."""
    words = default_vocab()
    cat, dog = words.index("猫"), words.index("狗")
    words[cat], words[dog] = words[dog], words[cat]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    return folder


def id_of_a_cat(folder):
    return AutoProcessor.from_pretrained(folder)(text=["猫"])["input_ids"][0][1]


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("family", "form"),
    in_turns(
        product(("cn_clip_vit", "bert_clip"), ("folder", "vocab.txt", "tokenizer.json")),
        lambda row: row[1],
    ),
)
def test_a_vocabulary_of_the_user_s_own_takes_the_place_of_the_other(family, form, original, repo, tmp_path, out):
    folder = own_vocabulary(tmp_path / "words")
    place = {"folder": folder, "vocab.txt": folder / "vocab.txt", "tokenizer.json": repo(family).path}[form]
    found = original(family)

    report = convert(
        found.source, out, tokenizer=place / form if form == "tokenizer.json" else place, **found.arguments
    )

    assert report.passed
    assert id_of_a_cat(out) == default_vocab().index("猫" if form == "tokenizer.json" else "狗")


def test_the_vocabulary_beside_the_weights_is_the_one_that_counts(tmp_path, facts, out):
    folder = own_vocabulary(tmp_path / "cn_clip")
    saved(folder / "pytorch_model.bin", seeded_state_dict(c.cn_clip.cn_clip_vit()))

    assert convert(folder, out, config=facts).passed
    assert id_of_a_cat(out) == default_vocab().index("狗")


def test_nan_is_converted_when_it_is_allowed(tmp_path, facts, out):
    tensors = seeded_state_dict(c.cn_clip.cn_clip_vit())
    tensors["visual.proj"][0, 0] = float("nan")

    report = convert(saved(tmp_path / "x.pt", tensors), out, config=facts, allow_nonfinite=True)

    assert report.passed
    # No picture's vector is a number: nothing is shown of what the image tower computes.
    assert report.level == "tensors"
    assert torch.isnan(load_file(out / "model.safetensors")["visual_projection.weight"][0, 0])


def test_a_checkpoint_in_double_is_converted_with_its_bits_and_proved_by_them(tmp_path, facts, out):
    tensors = {key: tensor.double() * (1 + 1e-9) for key, tensor in seeded_state_dict(c.cn_clip.cn_clip_vit()).items()}

    report = convert(saved(tmp_path / "x.pt", tensors), out, config=facts)

    assert report.passed
    assert {tensor.dtype for tensor in load_file(out / "model.safetensors").values()} == {torch.float64}


def test_shared_memory_in_the_source_is_no_obstacle(tmp_path, facts, out):
    tensors = seeded_state_dict(c.cn_clip.cn_clip_vit())
    tensors["visual.ln_post.weight"] = tensors["visual.ln_pre.weight"]
    tensors["visual.ln_post.bias"] = torch.ones(1).expand(c.common.WIDTH)

    assert convert(saved(tmp_path / "x.pt", tensors), out, config=facts).passed


def test_progress_is_told_step_by_step(original, out):
    found, lines = original("cn_clip_vit"), []

    convert(found.source, out, skip_verify=True, progress=lines.append, **found.arguments)

    assert [line.split()[0] for line in lines] == ["Reading", "Found", "Writing", "Verifying"]
    assert "epoch3.pt (cn_clip" in lines[1]


# OUT


@pytest.mark.parametrize(
    ("place", "found"),
    [
        *(("folder", "no repo"), ("source", "deep/x.pt"), ("config", "facts.json"), ("cwd", "the current directory")),
        ("report", ".*report.json, and --force would delete both"),
    ],
)
def test_force_does_not_delete_what_the_work_needs(place, found, tmp_path, facts, monkeypatch):
    source = c.cn_clip.cn_clip_file(tmp_path / "x.pt")
    logs = tmp_path / "logs"
    (logs / "deep").mkdir(parents=True)
    (logs / "config.json").write_text('{"model_type": "hf_zhclip"}', encoding="utf-8")
    arguments = {"config": facts, "force": True}
    if place == "folder":
        (logs / "config.json").write_text("{}", encoding="utf-8")
        source = as_folder(logs, seeded_state_dict(c.cn_clip.cn_clip_vit()))
    if place == "source":
        source = shutil.move(source, logs / "deep" / "x.pt")
    if place == "config":
        arguments["config"] = shutil.move(facts, logs / "facts.json")
    if place == "report":
        arguments["report"] = logs / "report.json"
    if place == "cwd":
        monkeypatch.chdir(logs / "deep")
    before = contents(tmp_path)

    with pytest.raises(InputError, match=f"logs holds {found}.* Choose another place"):
        convert(source, logs, **arguments)

    assert contents(tmp_path) == before


def test_force_replaces_a_report_and_no_other_file_in_its_place(original, tmp_path, out):
    found, place = original("cn_clip_vit"), tmp_path / "report.json"
    for content in ("my thesis", '{"a": 1}', "[]"):
        place.write_text(content)
        with pytest.raises(
            InputError, match="report.json exists already and is no report, so --force does not replace"
        ):
            convert(found.source, out, report=place, force=True, **found.arguments)
        assert place.read_text() == content and entries(tmp_path) == {"report.json"}

    convert(found.source, out, report=tmp_path / "another.json", **found.arguments)
    (tmp_path / "another.json").unlink()

    place.write_text('{"format_version": 1, "comparisons": []}')
    convert(found.source, out, report=place, force=True, **found.arguments)
    assert place.read_bytes() == (out / "conversion_report.json").read_bytes()
    assert entries(tmp_path) == {"report.json", "OUT"}


def test_force_replaces_an_old_repo(original, repo, tmp_path):
    found = original("cn_clip_vit")
    out = tmp_path / "OUT"
    shutil.copytree(repo("bert_clip").path, out)

    convert(found.source, out, force=True, **found.arguments)

    assert comparable(out) == comparable(repo("cn_clip_vit").path)
    assert entries(tmp_path) == {"OUT"}


def test_an_existing_place_is_refused_before_the_source_is_read(tmp_path, out):
    out.mkdir()

    with pytest.raises(InputError, match="exists already"):
        convert(tmp_path / "nowhere.pt", out)


def test_a_failure_under_force_leaves_the_old_repo(original, repo, tmp_path, monkeypatch):
    out = tmp_path / "OUT"
    shutil.copytree(repo("bert_clip").path, out)
    before = contents(tmp_path)
    full_disk(monkeypatch)

    with pytest.raises(WorkError):
        convert(original("cn_clip_vit").source, out, force=True, **original("cn_clip_vit").arguments)

    assert contents(tmp_path) == before


# The machine's fault


def full_disk(monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pieces, "_bytes", fail)


def test_a_disk_that_fills_during_the_work_leaves_nothing(original, tmp_path, out, monkeypatch):
    found = original("cn_clip_vit")
    full_disk(monkeypatch)

    with pytest.raises(WorkError, match="OUT could not be written: No space left on device"):
        convert(found.source, out, **found.arguments)

    assert entries(tmp_path) == set()


def test_a_disk_that_is_too_small_is_refused_before_writing(original, tmp_path, out, monkeypatch):
    found = original("cn_clip_vit")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 0))

    with pytest.raises(WorkError, match="0 bytes free, but [0-9,]+ bytes are needed"):
        convert(found.source, out, **found.arguments)

    assert entries(tmp_path) == set()


@pytest.mark.quick(1)
@pytest.mark.skipif(os.name != "posix", reason="forks and kills")
@pytest.mark.parametrize("step", ["Writing", "Verifying"])
def test_a_killed_conversion_leaves_no_out_and_the_next_one_succeeds(step, original, tmp_path, out):
    found = original("cn_clip_vit")

    def kill(line):
        if line.startswith(step):
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if not child:
        convert(found.source, out, skip_verify=True, progress=kill, **found.arguments)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert not out.exists()

    convert(found.source, out, skip_verify=True, **found.arguments)

    assert entries(tmp_path) == {"OUT"}
