"""A text tower that belongs to no pair: it becomes a repo of one tower, and everybody says what it can't do."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch
import transformers
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from torch.nn.functional import cosine_similarity, normalize

import hf_zhclip
from hf_zhclip.conversion import card, convert, export, inspect, load, push, verify
from hf_zhclip.conversion.errors import InputError, ParityError, UnknownFormat
from hf_zhclip.conversion.proof import samples
from hf_zhclip.conversion.proof.peers import bert_from_clip as peers
from hf_zhclip.conversion.proof.reference import bert_from_clip as reference
from hf_zhclip.conversion.proof.reference.vocabularies import WordPieces
from hf_zhclip.conversion.proof.witness import TextFacts
from hf_zhclip.conversion.publishing.rendering import render
from hf_zhclip.conversion.repos.repo import read_repo
from hf_zhclip.conversion.repos.report import read_report
from hf_zhclip.conversion.tokenizers.vocabularies import default_vocab

from tests import checkpoints as c
from tests.checkpoints.common import Original
from tests.conversion.helpers import Repo, contents, verify_here
from tests.loopback_hub import connect, serve
from tests.weights import seeded_state_dict

FORMAT = {"format": "bert_from_clip"}
TEXTS = ["一只猫", "两只可爱的小狗在草地上奔跑", "[MASK]"]
SPACE = "its vectors cannot be compared with image vectors"
BOUND = 1e-5
"""Of float32 embeddings, L2-normalised."""

OF_A_PAIR = ("projection_dim", "text_projection_type", "visual_projection_type", "logit_scale_init_value")


def bert_folder(folder: Path) -> Path:
    """A BertModel as save_bert_checkpoint.py of CLIP-Chinese saves it, the buffer of transformers 4.18 included."""
    c.taiyi.taiyi_folder(folder, head=False)
    tensors = seeded_state_dict(c.taiyi.taiyi(head=False)) | {
        "embeddings.position_ids": torch.arange(c.common.POSITIONS)[None]
    }
    torch.save(tensors, folder / "pytorch_model.bin")
    return folder


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The converted repo, with everything that can be added to one."""
    folder = tmp_path_factory.mktemp("one_tower")
    source, out = bert_folder(folder / "bert"), folder / "one"
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        verify_here(patch)
        report = convert(source, out, **FORMAT, with_code=True, also_legacy=True, progress=said.append)
    assert [line for line in said if "text tower alone" in line and "no" in line], said
    return Repo(out, report, Original(source, FORMAT))


@pytest.fixture(scope="module")
def bert(one):
    """The original by its own class."""
    return transformers.BertModel.from_pretrained(one.original.source).eval()


@pytest.fixture
def copied(one, tmp_path):
    return Path(shutil.copytree(one.path, tmp_path / "copy"))


def test_the_auto_classes_load_it_and_it_computes_what_bert_model_computes(one, bert):
    model, info = transformers.AutoModel.from_pretrained(one.path, device_map="cpu", output_loading_info=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(one.path)
    stock = transformers.BertTokenizer.from_pretrained(one.original.source)

    inputs = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")

    assert type(model) is hf_zhclip.ZhCLIPTextModel and not any(info.values())
    assert {key.split(".")[0] for key in model.state_dict()} == {"text_model"}
    assert inputs["input_ids"].tolist() == stock(TEXTS, padding=True)["input_ids"]
    with torch.no_grad():
        ours, theirs = model(**inputs), bert(**stock(TEXTS, padding=True, return_tensors="pt"))
        unmasked = model(inputs["input_ids"])
    for name in ("last_hidden_state", "pooler_output"):
        torch.testing.assert_close(ours[name], theirs[name], atol=BOUND, rtol=0)
        torch.testing.assert_close(unmasked[name], ours[name], atol=BOUND, rtol=0)


def test_its_config_states_a_text_tower_and_nothing_of_a_pair(one):
    config = json.loads((one.path / "config.json").read_text(encoding="utf-8"))

    assert config["architectures"] == ["ZhCLIPTextModel"] and config["vision_config"] is None
    assert config["text_pooling"] == "pooler" and config["text_config"]["hidden_size"] == c.common.HIDDEN
    assert not set(OF_A_PAIR) & set(config)
    loaded = transformers.AutoConfig.from_pretrained(one.path)
    assert loaded.vision_config is None and loaded.to_dict()["text_config"]["hidden_size"] == c.common.HIDDEN


def test_its_files_are_those_of_a_tower_and_a_tokenizer(one):
    names = set(contents(one.path))

    assert {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "README.md"} <= names
    # also_legacy and with_code
    assert {"vocab.txt", "special_tokens_map.json", "modeling_zhclip.py", "configuration_zhclip.py"} <= names
    assert not {"processor_config.json", "preprocessor_config.json", "modules.json", "1_Normalize/config.json"} & names


def test_a_fine_tuned_one_is_saved_and_loaded_as_what_it_is(one, copied):
    model = transformers.AutoModel.from_pretrained(one.path)
    with torch.no_grad():
        model.text_model.pooler.dense.bias.add_(1)
    model.save_pretrained(copied)

    again = transformers.AutoModel.from_pretrained(copied)

    assert type(again) is hf_zhclip.ZhCLIPTextModel and again.config.vision_config is None
    assert torch.equal(again.text_model.pooler.dense.bias, model.text_model.pooler.dense.bias)
    assert read_repo(copied).is_text_alone
    assert "Not verified" in card(copied, force=True).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("auto", "name", "message"),
    [
        (hf_zhclip, "ZhCLIPModel", "it describes a text tower alone"),
        (hf_zhclip, "ZhCLIPVisionModel", "it describes a text tower alone"),
        (hf_zhclip, "ZhCLIPVisionModelWithProjection", "cannot be compared with images"),
        (hf_zhclip, "ZhCLIPTextModelWithProjection", "holds no text_projection"),
        (transformers, "AutoModelForZeroShotImageClassification", "Load it with ZhCLIPTextModel or AutoModel"),
    ],
)
def test_what_it_does_not_hold_is_not_made_up(one, auto, name, message):
    with pytest.raises(ValueError, match=message):
        getattr(auto, name).from_pretrained(one.path)


def test_the_report_compares_states_and_what_is_pooled_and_no_picture(one):
    report = read_report(one.path)

    assert report.passed and report.level == "peer"
    assert [each.step for each in report.comparisons] == [
        *("tensors", "tensors", "config", "ids", "config", "ids", "ids", *["states"] * 8, *["pooled"] * 8)
    ]
    assert report.conversion["image_order"] is None and report.conversion["architecture"] == "bare BERT 32x2"
    assert SPACE in report.conversion["limits"][0].en


@pytest.mark.quick(1)
@pytest.mark.parametrize("against", ["itself", "the original"])
def test_it_is_verified_again(one, against):
    arguments = {} if against == "itself" else {"against": one.original.source, **FORMAT}

    assert verify(one.path, **arguments).passed


@pytest.mark.parametrize("alone", [True, False], ids=["a tower against a pair", "a pair against a tower"])
def test_what_is_compared_with_a_model_of_other_sides_is_refused_in_words(one, repo, original, alone):
    pair = original("cn_clip_vit")
    out, other, options = (
        (one.path, pair.source, {}) if alone else (repo("cn_clip_vit").path, one.original.source, FORMAT)
    )

    with pytest.raises(InputError, match="not the same model.* --against"):
        verify(out, other, **options)


@pytest.mark.quick(1)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_it_is_cast_and_verified_with_the_same_rounding(one, tmp_path, dtype):
    report = convert(one.original.source, tmp_path / "out", **FORMAT, dtype=dtype)

    assert report.passed
    assert transformers.AutoModel.from_pretrained(tmp_path / "out", dtype="auto").dtype == getattr(torch, dtype)


def planted(folder, name):
    """One wrong fact or tensor in a converted repo."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if name in ("heads", "activation", "eps"):
        field, value = {
            "heads": ("num_attention_heads", 8),
            "activation": ("hidden_act", "quick_gelu"),
            "eps": ("layer_norm_eps", 1e-5),
        }[name]
        config["text_config"][field] = value
    elif name == "pooling":
        config["text_pooling"] = "cls"
    elif name == "mask":
        config["text_attends_to_padding"] = True
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    if name == "pooling":
        tensors = load_file(folder / "model.safetensors")
        kept = {key: tensor for key, tensor in tensors.items() if "pooler" not in key}
        save_file(kept, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("heads", {"states", "pooled"}),
        ("activation", {"states", "pooled"}),
        ("eps", {"states", "pooled"}),
        ("mask", {"states", "pooled"}),
        ("pooling", {"pooled"}),
    ],
)
def test_a_wrong_fact_fails_the_comparison_with_the_original(one, copied, name, steps):
    planted(copied, name)

    with pytest.raises(ParityError) as error:
        verify(copied, one.original.source, **FORMAT)

    compared = [each for each in error.value.report.comparisons if each.measure == "smallest cosine"]
    assert {each.step for each in compared if each.result < 0.99} == steps, [each.result for each in compared]


def test_the_reference_computes_what_bert_model_computes(one):
    tensors = torch.load(one.original.source / "pytorch_model.bin", weights_only=True)
    config = read_report(one.path).sources[0]["evidence"]["files"]["config.json"]["content"]
    facts = TextFacts(config, WordPieces(default_vocab()), c.common.POSITIONS)
    peer = peers.original(tensors, facts)

    ids = reference.token_ids(samples.TEXTS, facts.vocab, facts.context_length)
    assert ids == peer.token_ids(samples.TEXTS)
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(each) for each in ids], batch_first=True)
    with torch.no_grad():
        wanted, states = peer.encode_text(ids), peer.text_states(ids)
    torch.testing.assert_close(reference.encode_text(tensors, ids, facts.config), wanted, atol=BOUND, rtol=0)
    kept = ids != 0
    found = reference.text_states(tensors, ids, facts.config)
    torch.testing.assert_close(found[kept], states[kept], atol=BOUND, rtol=0)
    for wrong in ({"num_attention_heads": 8}, {"hidden_act": "quick_gelu"}, {"layer_norm_eps": 1e-5}):
        off = reference.encode_text(tensors, ids, {**facts.config, **wrong})
        assert cosine_similarity(off, wanted).min() < 0.99, wrong


def test_the_card_says_what_it_is_and_what_it_can_not_do(one):
    text = (one.path / "README.md").read_text(encoding="utf-8")
    chinese, english = text.split("<details><summary>English</summary>")

    header = ModelCard(text).data
    assert header.pipeline_tag == "feature-extraction" and header.tags == [
        "hf_zhclip",
        "bert",
        "chinese",
        "safetensors",
    ]
    assert "**What it can't do**" in english and SPACE in english
    assert "## 它不能做什么" in chinese and "它的向量与图片不在同一个空间里" in chinese
    assert "（英文原文）" not in chinese
    assert "AutoTokenizer" in text and not any(
        word in text for word in ("AutoProcessor", "encode_image", "Image.new", "cn_clip")
    )


def test_the_block_of_its_card_runs_and_what_the_card_says_of_transformers_continues_it(
    one, tmp_path, monkeypatch, bert
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(one.path, tmp_path / "model")
    text = render(one.path, repo="model").replace(", trust_remote_code=True", "")  # hf_zhclip is here already
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    saved = sorted(set(re.findall(r"`([\w.]+\.save_pretrained\(…\))`", text)))

    names = {}
    exec(compile(block, "card", "exec"), names)
    for call in saved:
        exec(call.replace("…", '"model-native"'), names)

    assert len(saved) == 2

    native = transformers.AutoModel.from_pretrained(tmp_path / "model-native")
    assert type(native) is transformers.BertModel
    assert native.state_dict().keys() == bert.state_dict().keys()
    assert all(torch.equal(tensor, bert.state_dict()[key]) for key, tensor in native.state_dict().items())
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "model-native")(TEXTS)["input_ids"]


def test_it_is_not_exported_and_the_way_out_is_named(one, tmp_path):
    for to, destination in (("transformers", tmp_path / "native"), ("cn_clip", tmp_path / "x.pt")):
        with pytest.raises(InputError) as error:
            export(one.path, destination, to=to)
        assert "holds a text tower alone" in str(error.value)
        said = str(error.value)
        assert "import hf_zhclip" in said and "from transformers import AutoModel, AutoTokenizer" in said
        assert ".text_model.save_pretrained(" in said
        assert ("a file of cn_clip holds both towers" in said) == (to == "cn_clip")
        assert '.pt"' not in said
    assert not any(tmp_path.iterdir())
    exec(said[said.index("import hf_zhclip") :].replace("\n    ", "\n"), {})
    assert type(transformers.AutoModel.from_pretrained(tmp_path / "x")) is transformers.BertModel


def test_a_repo_without_its_tokenizer_is_refused_by_name(copied):
    (copied / "tokenizer.json").unlink()

    with pytest.raises(InputError, match=r"has no tokenizer\.json"):
        read_repo(copied)


def test_it_is_pushed_as_every_verified_repo_is(one, tmp_path, monkeypatch):
    with serve(tmp_path / "server", {"hf_writer": ("user",)}) as hub:
        hub.waits = connect(monkeypatch, hub, "hf_writer", tmp_path)
        pushed = push(one.path, "user/one")

        there = hub.contents("user/one")
    assert pushed.unverified is None
    assert {name: there[name] for name in there if name != "README.md"} == {
        name: content for name, content in contents(one.path).items() if name != "README.md"
    }
    assert 'repo = "user/one"' in there["README.md"].decode()


def test_load_gives_the_model_and_its_tokenizer(one, tmp_path, monkeypatch):
    monkeypatch.setenv("ZHCLIP_CACHE", str(tmp_path / "cache"))

    model, tokenizer = load(one.original.source, **FORMAT)

    assert type(model) is hf_zhclip.ZhCLIPTextModel
    assert tokenizer(TEXTS)["input_ids"] == transformers.AutoTokenizer.from_pretrained(one.path)(TEXTS)["input_ids"]


WITHOUT_THE_PACKAGE = """
import importlib.util, sys
import torch
from transformers import AutoModel, AutoTokenizer
assert importlib.util.find_spec("hf_zhclip") is None
repo, texts = sys.argv[1], sys.argv[2:]
model = AutoModel.from_pretrained(repo, trust_remote_code=True, device_map="cpu").eval()
inputs = AutoTokenizer.from_pretrained(repo)(texts, padding=True, return_tensors="pt")
with torch.no_grad():
    torch.save((type(model).__name__, model(**inputs).pooler_output), "found.pt")
"""


@pytest.mark.thorough  # repos/test_doors.py loads whole models there
def test_with_its_code_it_loads_where_the_package_is_not_installed(one, tmp_path):
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHON"))}
    places = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    offline = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"}
    # -S leaves the .pth files alone, by one of which an editable install is found.
    subprocess.run(
        [sys.executable, "-S", "-c", WITHOUT_THE_PACKAGE, str(one.path), *TEXTS],
        cwd=tmp_path,
        env={**inherited, **offline, "PYTHONPATH": os.pathsep.join(places)},
        check=True,
    )

    name, found = torch.load(tmp_path / "found.pt")
    inputs = transformers.AutoTokenizer.from_pretrained(one.path)(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        wanted = transformers.AutoModel.from_pretrained(one.path)(**inputs).pooler_output
    assert name == "ZhCLIPTextModel"
    torch.testing.assert_close(found, wanted, atol=BOUND, rtol=0)


# What it is, and what it is not


def test_keys_of_a_bert_do_not_decide_and_both_candidates_are_listed(one):
    found = inspect(one.original.source)

    assert found.format is None
    assert "--format taiyi (" in found.why and "--format bert_from_clip (" in found.why
    assert inspect(one.original.source, **FORMAT).architecture == "bare BERT 32x2"


def test_without_a_pooler_it_is_refused_with_the_reason(tmp_path):
    bert_folder(tmp_path / "bert")
    tensors = torch.load(tmp_path / "bert" / "pytorch_model.bin", weights_only=True)
    kept = {key: tensor for key, tensor in tensors.items() if "pooler" not in key}
    torch.save(kept, tmp_path / "bert" / "pytorch_model.bin")

    with pytest.raises(
        UnknownFormat, match=r"a BERT without a pooler(.|\n)*nothing says which of its vectors represents a text"
    ):
        convert(tmp_path / "bert", tmp_path / "out")
    with pytest.raises(UnknownFormat, match=r"that are missing here:\n  pooler\.dense\.weight"):
        convert(tmp_path / "bert", tmp_path / "out", **FORMAT)


def test_it_takes_no_image_tower_and_is_none(one, tmp_path):
    clip = c.hf_clip.clip_folder(tmp_path / "clip")

    with pytest.raises(
        InputError, match="has no vectors that can be compared with pictures, so no image tower belongs to it"
    ):
        convert(one.original.source, tmp_path / "out", vision=clip, **FORMAT)
    with pytest.raises(InputError, match="do not decide its format"):
        convert(c.taiyi.taiyi_folder(tmp_path / "taiyi", head=True), tmp_path / "out", vision=one.original.source)
    assert not (tmp_path / "out").exists()


def test_half_of_a_pair_is_still_asked_for_the_other(tmp_path):
    with pytest.raises(InputError, match="Name the image tower with --vision"):
        convert(c.taiyi.taiyi_folder(tmp_path / "taiyi", head=False), tmp_path / "out", format="taiyi")


def test_an_image_tower_alone_is_refused_with_the_reason(tmp_path):
    with pytest.raises(InputError, match="because no text can be compared with its pictures"):
        convert(c.hf_clip.clip_vision_folder(tmp_path / "clip"), tmp_path / "out")


def test_a_config_that_contradicts_the_weights_is_refused(tmp_path):
    folder = bert_folder(tmp_path / "bert")
    stated = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**stated, "vocab_size": 7}), encoding="utf-8")

    with pytest.raises(InputError, match="vocab_size: config.json says 7, the shapes say"):
        convert(folder, tmp_path / "out", **FORMAT)


def test_a_tower_saved_out_of_a_pair_is_no_repo_of_one_tower(repo, tmp_path):
    hf_zhclip.ZhCLIPTextModel.from_pretrained(repo("taiyi_plain").path).save_pretrained(tmp_path / "tower")

    with pytest.raises(InputError, match="a whole model \\(ZhCLIPModel\\) was wanted"):
        export(tmp_path / "tower", tmp_path / "x", to="transformers")


@pytest.mark.parity
def test_against_bert_model_at_base_size(tmp_path):
    """mengzi-bert-base's sizes, those of Google's Chinese BERT."""
    torch.manual_seed(0)
    model = transformers.BertModel(transformers.BertConfig(vocab_size=len(default_vocab()))).eval()
    state_dict = seeded_state_dict({key: tuple(tensor.shape) for key, tensor in model.state_dict().items()})
    model.load_state_dict(state_dict)
    model.save_pretrained(tmp_path / "bert")
    (tmp_path / "bert" / "vocab.txt").write_text("".join(f"{word}\n" for word in default_vocab()), encoding="utf-8")

    convert(tmp_path / "bert", tmp_path / "out", skip_verify=True, **FORMAT)

    inputs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")(TEXTS, padding=True, return_tensors="pt")
    ours = transformers.AutoModel.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        found, wanted = ours(**inputs), model(**inputs)
        second = reference.encode_text(state_dict, inputs["input_ids"], facts_of(model.config))
    for name in ("last_hidden_state", "pooler_output"):
        torch.testing.assert_close(found[name], wanted[name], atol=BOUND, rtol=0)
    torch.testing.assert_close(second, normalize(wanted.pooler_output, dim=-1), atol=BOUND, rtol=0)


def facts_of(config):
    return {name: getattr(config, name) for name in ("num_attention_heads", "hidden_act", "layer_norm_eps")}
