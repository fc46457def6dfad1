"""What outsiders planted in converted repos and found verified: each is caught, by a step that is not the hash.

The report names the files as they are, as the report of whoever wrote them would. Facts planted in the conversion
itself are in test_planted_facts.py and test_planted_readers.py, those of other kinds of checks beside the checks.
"""

import hashlib
import json
import shutil
import sys
from itertools import product

import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_zhclip.conversion import convert, verify
from hf_zhclip.conversion.detection import parts
from hf_zhclip.conversion.detection.parts import identify
from hf_zhclip.conversion.errors import InputError, MappingError, ParityError, WorkError
from hf_zhclip.conversion.layouts import hf_config
from hf_zhclip.conversion.proof import orders, texts, witnesses
from hf_zhclip.conversion.proof.reference import pictures
from hf_zhclip.conversion.proof.witness import TextFacts
from hf_zhclip.conversion.reading.evidence import Testimony, gather
from hf_zhclip.conversion.stated import Stated
from hf_zhclip.conversion.tokenizers.vocabularies import default_vocab
from hf_zhclip.image_processing_zhclip import IMAGE_ORDERS

from tests import checkpoints
from tests.conversion.helpers import save_time
from tests.thorough import in_turns

WHOLE = texts.whole
"""Before the tests of other rooms make it brief."""


def edited(path, change):
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def fields(file, *keys, **values):
    """Sets fields of an object that lies in a JSON file under these keys."""

    def plant(out):
        def change(found):
            for key in keys:
                found = found[key]
            found.update(values)

        edited(out / file, change)

    return plant


def tokenizer(change):
    return lambda out: edited(out / "tokenizer.json", change)


def swap_rows(found):
    vocab = found["model"]["vocab"]
    vocab["猫"], vocab["狗"] = vocab["狗"], vocab["猫"]


def drop_merge(found):
    del found["model"]["merges"][3]


def swap_merges(found):
    merges = found["model"]["merges"]
    merges[0], merges[1] = merges[1], merges[0]


def change_scores(found):
    for piece in found["model"]["vocab"][10:20]:
        piece[1] -= 0.5


def shorten_words(found):
    found["model"]["max_input_chars_per_word"] = 171


def lose_contraction(found):
    for step in found["pre_tokenizer"]["pretokenizers"]:
        if "Regex" in step.get("pattern", {}):
            step["pattern"]["Regex"] = step["pattern"]["Regex"].replace("'m|", "")


def add_word(found):
    row = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    found["added_tokens"].append({**row, "id": found["model"]["vocab"]["love"], "content": "love"})


def replace_word(found):
    rule = {"type": "Replace", "pattern": {"String": "北京"}, "content": "南京"}
    found["normalizer"] = {"type": "Sequence", "normalizers": [rule, found["normalizer"]]}


def keep_ideographs_together(found):
    found["normalizer"]["handle_chinese_chars"] = False


def change_weight(key):
    def plant(out):
        tensors = load_file(out / "model.safetensors")
        tensors[key] = tensors[key].clone()
        tensors[key].view(-1)[0] += 1
        save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})

    return plant


def drop_tensor(out):
    tensors = load_file(out / "model.safetensors")
    del tensors["text_projection.weight"]
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})


def order(name):
    return fields("processor_config.json", "image_processor", image_order=name)


def text_vectors(method, output):
    stated = {"method": method, "method_output_name": output}
    return fields("sentence_bert_config.json", "modality_config", text=stated)


def prompt(out):
    fields("config_sentence_transformers.json", prompts={"q": "问："}, default_prompt_name="q")(out)


PLANTED = {
    # the model
    "half the heads": ("cn_clip_vit", fields("config.json", "text_config", num_attention_heads=2), "text"),
    "relu for GELU": ("cn_clip_vit", fields("config.json", "text_config", hidden_act="relu"), "text"),
    "an eps of 1e-3": ("taiyi_head", fields("config.json", "vision_config", layer_norm_eps=1e-3), "image"),
    "quick GELU in open_clip": ("open_clip", fields("config.json", "vision_config", hidden_act="quick_gelu"), "image"),
    "CLS for the mean": ("sentence_transformers", fields("config.json", text_pooling="cls"), "text"),
    "a shorter text": ("bert_clip", fields("tokenizer_config.json", model_max_length=40), "ids"),
    "padding masked inside a text": ("chinese_clip", fields("config.json", text_masks_pad_token=True), "text"),
    "padding kept inside a text": ("open_clip_xlm_roberta", fields("config.json", text_masks_pad_token=False), "text"),
    "a text that looks both ways": ("hf_clip", fields("config.json", "text_config", is_causal=False), "text"),
    "a narrower dtype": ("cn_clip_vit", fields("config.json", dtype="bfloat16"), "text"),
    "a wider dtype": ("cn_clip_vit", fields("config.json", dtype="float64"), "config"),
    # what prepares a text
    "padding on the left": ("hf_clip", fields("tokenizer_config.json", padding_side="left"), InputError),
    "two rows of a vocabulary": ("cn_clip_vit", tokenizer(swap_rows), "ids"),
    "a merge that is gone": ("hf_clip", tokenizer(drop_merge), "ids"),
    "two merges": ("openai_clip", tokenizer(swap_merges), "ids"),
    "scores": ("multilingual_clip", tokenizer(change_scores), "ids"),
    "ideographs that stand together": ("bert_clip", tokenizer(keep_ideographs_together), "ids"),
    "a contraction that is cut otherwise": ("hf_clip", tokenizer(lose_contraction), "ids"),
    "a word that is a token of its own": ("bert_clip", tokenizer(add_word), "ids"),
    "a rule for two characters": ("cn_clip_vit", tokenizer(replace_word), "ids"),
    "the length of a word": ("cn_clip_vit", tokenizer(shorten_words), "ids"),
    # what prepares a picture
    "a crop rounded up": ("taiyi_plain", order("crop_up_then_rgb"), "pixels"),
    "a crop rounded down": ("taiyi_plain", order("rgb_then_crop"), "pixels"),
    # what sentence-transformers is told
    "vectors of pictures": ("bert_clip", text_vectors("get_image_features", "pooler_output"), InputError),
    "states for vectors": ("bert_clip", text_vectors("get_text_features", "last_hidden_state"), InputError),
    "a prompt": ("bert_clip", prompt, "text"),
    "a prompt for queries": (
        "bert_clip",
        fields("config_sentence_transformers.json", prompts={"query": "查询：", "document": ""}),
        InputError,
    ),
    "texts that are cut sooner": ("bert_clip", fields("sentence_bert_config.json", max_seq_length=4), InputError),
    "texts that are joined": ("bert_clip", fields("sentence_bert_config.json", unpad_inputs=True), InputError),
    # the weights
    "a weight": ("cn_clip_vit", change_weight("text_projection.weight"), "tensors"),
    "a tensor that is gone": ("cn_clip_vit", drop_tensor, MappingError),
}


@pytest.fixture
def copy(repo, tmp_path):
    """Gives a converted repo of a family, with its original, into which something was planted."""

    def make(family, plant):
        found, out = repo(family), tmp_path / family
        shutil.copytree(found.path, out)
        plant(out)
        edited(out / "conversion_report.json", lambda report: report.update(files=hashes(out, report["files"])))
        return out, found.original

    return make


def hashes(out, names):
    return {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in names}


@pytest.mark.quick(3)
@pytest.mark.parametrize("name", in_turns(PLANTED, lambda name: PLANTED[name][2]))
def test_what_was_planted_in_a_repo_is_caught_though_the_report_names_its_hash(name, copy, monkeypatch):
    monkeypatch.setattr(texts, "whole", WHOLE)
    family, plant, caught = PLANTED[name]
    out, original = copy(family, plant)

    with pytest.raises(ParityError if isinstance(caught, str) else caught) as error:
        verify(out, original.source, **original.arguments)

    if isinstance(caught, str):
        failed = {each.step for each in error.value.report.comparisons if not each.passed}
        assert caught in failed and "files" not in failed


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    ("stated", "error", "said"),
    [
        ({"return_dict": False}, WorkError, "loads but does not compute: .*tuple"),
        ({"output_hidden_states": True}, None, ""),
        ({"chunk_size_feed_forward": 3}, WorkError, "loads but does not compute: .*chunk"),
        ({"_attn_implementation": "flash_attention_2"}, InputError, "states _attn_implementation, which makes"),
    ],
    ids=str,
)
def test_what_a_config_says_of_its_use_is_heeded_or_told_in_words(stated, error, said, copy):
    def plant(out):
        edited(out / "config.json", lambda config: [config[tower].update(stated) for tower in ("text_config",)])
        edited(out / "config.json", lambda config: config.update(stated))

    out, original = copy("cn_clip_vit", plant)

    if error is None:
        assert verify(out, original.source, **original.arguments).passed
    else:
        with pytest.raises(error, match=said):
            verify(out, original.source, **original.arguments)


STATED = {
    "a mean of one number": (fields("processor_config.json", "image_processor", image_mean=[0.5]), "image_mean"),
    "a mean of words": (fields("processor_config.json", "image_processor", image_mean=["a"] * 3), "three numbers"),
    "a deviation of 0": (fields("processor_config.json", "image_processor", image_std=[0.2, 0, 0.2]), "above 0"),
    "no deviation": (fields("processor_config.json", "image_processor", image_std=None), "image_std"),
    "no filter": (fields("processor_config.json", "image_processor", resample=None), "resample"),
    "a filter that is not there": (fields("processor_config.json", "image_processor", resample=99), "resample 99"),
    "a billion layers": (fields("config.json", "text_config", num_hidden_layers=10**9), "num_hidden_layers 1e\\+09"),
    "texts of no token": (fields("tokenizer_config.json", model_max_length=0), "model_max_length 0, but the model"),
    "texts without an end": (fields("tokenizer_config.json", model_max_length=10**30), "model_max_length 1e\\+30"),
}


@pytest.mark.parametrize("name", STATED)
def test_what_a_repo_cannot_compute_with_is_refused_in_words_before_it_computes(name, copy):
    plant, said = STATED[name]
    out, original = copy("cn_clip_vit", plant)

    with pytest.raises(InputError, match=said):
        verify(out, original.source, **original.arguments)


# Weights of ordinary scale, which hide in float32 what they show in double

ORDINARY = {
    "BERT's eps": ("text_config", "layer_norm_eps", 1e-5),
    "tanh GELU": ("text_config", "hidden_act", "gelu_new"),
    "the eps of the image tower": ("vision_config", "layer_norm_eps", 1e-6),
}


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory):
    """A converted ChineseCLIP whose weights are drawn as transformers draws them."""
    folder = tmp_path_factory.mktemp("ordinary")
    source = checkpoints.chinese_clip.chinese_clip_folder(folder / "source")
    random = torch.Generator().manual_seed(0)
    weights = torch.load(source / "pytorch_model.bin")
    for key, tensor in weights.items():
        if tensor.is_floating_point() and tensor.dim():
            is_norm = "norm" in key.lower() and key.endswith("weight")
            spread = 0.0 if is_norm or key.endswith("bias") else 0.02
            weights[key] = float(is_norm) + spread * torch.randn(tensor.shape, generator=random)
    torch.save(weights, source / "pytorch_model.bin")
    with pytest.MonkeyPatch.context() as patch:
        save_time(patch)
        convert(source, folder / "OUT")
    return folder / "OUT", source


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", ORDINARY)
def test_a_small_error_shows_on_weights_of_ordinary_scale(name, ordinary, tmp_path):
    tower, field, value = ORDINARY[name]
    converted, source = ordinary
    out = shutil.copytree(converted, tmp_path / "OUT")
    fields("config.json", tower, **{field: value})(out)

    with pytest.raises(ParityError) as error:
        verify(out, source)

    side = {"text_config": "text", "vision_config": "image"}[tower]
    assert side in {each.step for each in error.value.report.comparisons if not each.passed}


# Pictures that tell the orders apart

REFERENCES = {order: getattr(pictures, order) for order in IMAGE_ORDERS}


@pytest.mark.parametrize("size", [32, 56, 224, 288])
def test_the_pictures_tell_every_order_from_every_other_by_the_references_own_steps(size):
    prepared = [
        {order: prepare(picture, size) for order, prepare in REFERENCES.items()}
        for _, picture in orders.telling_pictures(size)
    ]

    for first in REFERENCES:
        for second in REFERENCES:
            same = all(torch.equal(each[first], each[second]) for each in prepared)
            assert same == (first == second), (first, second)


# In the conversion: a reader of facts that is wrong for every family that reads with it


def tower_config(**wrong):
    def plant(patch):
        right = hf_config.tower_config

        def planted(*given, **named):
            found = dict(right(*given, **named))
            return {**found, **{name: change(found[name]) for name, change in wrong.items() if name in found}}

        for module in [each for name, each in sys.modules.items() if name.startswith("hf_zhclip.conversion.")]:
            if hasattr(module, "tower_config"):
                patch.setattr(module, "tower_config", planted)

    return plant


READERS = {
    "half the heads": tower_config(num_attention_heads=lambda heads: heads // 2),
    "relu": tower_config(hidden_act=lambda name: "relu"),
    "an eps of 1e-3": tower_config(layer_norm_eps=lambda eps: 1e-3),
}


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("name", "family"), in_turns(product(READERS, ("bert_clip", "hf_clip", "chinese_clip")), lambda row: row[0])
)
def test_a_reader_that_is_wrong_is_caught_by_numbers(name, family, original, tmp_path, monkeypatch):
    found = original(family)
    READERS[name](monkeypatch)

    with pytest.raises(ParityError) as error:
        convert(found.source, tmp_path / "OUT", **found.arguments)

    assert {"text", "image"} & {each.step for each in error.value.report.comparisons if not each.passed}


# In the conversion: a reader that believes whatever a folder states of its pictures

SQUASHED = {
    "chinese_clip": {
        "size": {"height": checkpoints.common.SIZE, "width": checkpoints.common.SIZE},
        "do_center_crop": False,
    }
}
PREPROCESSORS = {
    "another mean": ("chinese_clip", {"image_mean": [0.5] * 3}),
    "another deviation": ("hf_clip", {"image_std": [0.5, 0.25, 0.5]}),
    "another filter": ("bert_clip", {"resample": 2}),
    "another factor": ("bert_clip", {"rescale_factor": 1 / 127.5}),
    "a crop": ("chinese_clip", {"do_center_crop": True, "size": {"shortest_edge": checkpoints.common.SIZE}}),
    "no crop": (
        "hf_clip",
        {"do_center_crop": False, "size": {"height": checkpoints.common.SIZE, "width": checkpoints.common.SIZE}},
    ),
    "a mean beside the text": ("taiyi_head", {"image_mean": [0.4, 0.4, 0.4]}),
}


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    ("name", "file"),
    in_turns(
        product(PREPROCESSORS, ("preprocessor_config.json", "processor_config.json")),
        lambda row: row[0],
    ),
)
def test_what_a_folder_states_of_its_pictures_is_evidence_of_the_witness(name, file, original, tmp_path, monkeypatch):
    family, stated = PREPROCESSORS[name]
    found = original(family)
    source = shutil.copytree(found.source, tmp_path / "source")
    shape = {
        "size": {"shortest_edge": checkpoints.common.SIZE},
        "crop_size": {"height": checkpoints.common.SIZE, "width": checkpoints.common.SIZE},
    }
    fields = {**shape, **SQUASHED.get(family, {}), **stated}
    fields = fields if file == "preprocessor_config.json" else {"image_processor": fields}
    (source / file).write_text(json.dumps(fields), encoding="utf-8")
    monkeypatch.setattr(parts, "check_pictures", lambda *given: None)

    with pytest.raises(ParityError) as error:
        convert(source, tmp_path / "OUT", **found.arguments)

    assert {each.step for each in error.value.report.comparisons if not each.passed} >= {"pixels"}


NOT_COMPUTED = {
    "no resizing": ({"do_resize": False}, "do_resize False"),
    "a mean of words": ({"image_mean": ["a"] * 3}, "image_mean"),
    "a filter that is not there": ({"resample": 99}, "resample 99"),
    "a size of no pixels": ({"size": {"height": 0, "width": 64}}, "size 0"),
}


@pytest.mark.parametrize("name", NOT_COMPUTED)
def test_the_witness_refuses_a_preparation_that_it_does_not_compute(name):
    stated, said = NOT_COMPUTED[name]

    with pytest.raises(ValueError, match=said):
        pictures.stated(stated)


# In a source: what a check of one direction let pass


def cut_vocabulary(folder):
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in default_vocab()[:3000]), encoding="utf-8")


def other_order(folder):
    words = list(default_vocab())
    words[700], words[701] = words[701], words[700]
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")


def scale_of(value):
    def plant(folder):
        weights = torch.load(folder / "pytorch_model.bin")
        torch.save({**weights, "logit_scale": torch.tensor(value)}, folder / "pytorch_model.bin")

    return plant


def preprocessor(**stated):
    return lambda folder: (folder / "preprocessor_config.json").write_text(json.dumps(stated), encoding="utf-8")


def model_type(kind):
    return lambda folder: edited(folder / "config.json", lambda config: config.update(model_type=kind))


SOURCES = {
    "a vocabulary that is cut": ("bert_clip", cut_vocabulary, "words up to id 2999, but the model has 21128 rows"),
    "another vocabulary beside a file": ("cn_clip_vit", other_order, "--tokenizer packaged"),
    "a model type of another computation": ("taiyi_head", model_type("roberta"), "roberta"),
    "pictures resized otherwise": ("bert_clip", preprocessor(resample=2, crop_size=64, size=64), "resample 2"),
    "a text part's pictures, squashed": ("taiyi_head", preprocessor(do_center_crop=False, size=64), "do_center_crop"),
    "a factor for its logarithm": ("bert_clip", scale_of(14.29), "14.29"),
    "a scale below every factor": ("bert_clip", scale_of(-2.66), "-2.66"),
    "a scale that is no number": ("bert_clip", scale_of(float("nan")), "logit_scale"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_what_a_check_of_one_direction_let_pass_is_refused_in_words(name, tmp_path):
    family, plant, said = SOURCES[name]
    (tmp_path / "original").mkdir()
    found = checkpoints.FAMILIES[family](tmp_path / "original")
    plant(found.source if found.source.is_dir() else found.source.parent)

    with pytest.raises(InputError, match=said):
        convert(found.source, tmp_path / "OUT", **found.arguments)

    assert not (tmp_path / "OUT").exists()


# What a source states and a check of the conversion would let pass: the witness has its own view


def bert_decodes(folder):
    edited(folder / "config.json", lambda config: config.get("text_config", config).update(is_decoder=True))


def open_clip_states(part, **stated):
    def plant(folder):
        def change(config):
            (config if part == "preprocess_cfg" else config["model_cfg"])[part].update(stated)

        edited(folder / "open_clip_config.json", change)

    return plant


def dense_of_tanh(folder):
    edited(folder / "2_Dense" / "config.json", lambda config: config.update(activation_function="x.Tanh"))


REFUSED_BY_THE_WITNESS = {
    "a text tower that decodes": ("bert_clip", bert_decodes, "is_decoder"),
    "a Taiyi that decodes": ("taiyi_head", bert_decodes, "is_decoder"),
    "texts that look both ways": ("open_clip", open_clip_states("text_cfg", no_causal_mask=True), "no_causal_mask"),
    "the first token": ("open_clip", open_clip_states("text_cfg", pool_type="first"), "pool_type"),
    "the mean of the patches": ("open_clip", open_clip_states("vision_cfg", pool_type="avg"), "pool_type"),
    "tanh GELU": ("open_clip", open_clip_states("text_cfg", act_kwargs={"approximate": "tanh"}), "act_kwargs"),
    "a square": ("open_clip", open_clip_states("preprocess_cfg", resize_mode="squash"), "resize_mode"),
    "another mean": ("open_clip", open_clip_states("preprocess_cfg", mean=[0.5] * 3), "mean"),
    "tanh behind the projection": ("sentence_transformers", dense_of_tanh, "activation_function"),
}


@pytest.mark.parametrize("name", REFUSED_BY_THE_WITNESS)
def test_the_witness_itself_refuses_what_it_does_not_compute(name, original, tmp_path, monkeypatch):
    monkeypatch.setattr(witnesses, "_peer_module", lambda format: None)
    family, plant, said = REFUSED_BY_THE_WITNESS[name]
    found = original(family)
    folder = shutil.copytree(found.source, tmp_path / "source")
    part = identify(Stated(folder, **found.arguments))[0]
    plant(folder)
    evidence = gather(part.checkpoint, part.stated, part.base)

    with pytest.raises(ValueError, match=said):
        reader = witnesses._Reader(Testimony(part.source.name, part.role, part.checkpoint.tensors, evidence))
        reader.offer(TextFacts(reader.config, None, 8)).encode_text(torch.ones(1, 4, dtype=torch.long))
