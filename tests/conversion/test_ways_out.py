"""Walks the ways out that messages of `convert` name: from the input that gives the message, to success.

Each walk starts from an input that the command refuses, does literally what the message says, and runs the command
again. It ends in success, or in a different message where the way says so. `tests/test_messages.py` holds every
message against these walks and the walks of other tests.
"""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import zhclip_cli
from hf_zhclip.conversion.tokenizers.vocabularies import default_vocab

from tests import checkpoints as c
from tests.conversion import test_bad_input as bad
from tests.thorough import thorough

Words = list[Any]
WALKS: dict[str, tuple[Callable[[Path], Words], Callable[[Path, Words, str], Words]]] = {}


def walk(start: Callable[[Path], Words]):
    """A walk: a function of the folder, the refused words and the message, which gives the words that it says.

    Args:
        start: makes the refused source and options of `convert`.
    """

    def keep(way: Callable[[Path, Words, str], Words]) -> Callable[[Path, Words, str], Words]:
        WALKS[way.__name__] = start, way
        return way

    return keep


def without(words: Words, option: str, said: str) -> Words:
    """The words without an option, which the message says to leave out."""
    assert re.search(rf"[Ll]eave out [^.]*{option}\b|[Ll]eave {option} out", said), said
    at = words.index(option)
    return words[:at] + words[at + 2 :]


def named(words: Words, option: str, value: Any, said: str) -> Words:
    """The words with an option that the message names; the value replaces a former value."""
    assert option in said, said
    at = words.index(option) if option in words else len(words)
    return [*words[:at], option, value, *words[at + 2 :]]


def edit(path: Path, **fields: Any) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, **fields}), encoding="utf-8")


# Options


@walk(bad.two_configs)
def a_config_beside_a_config_is_left_out(tmp, words, said):
    return without(words, "--config", said)


@walk(bad.one_part_too_many)
def an_image_part_beside_a_whole_model_is_left_out(tmp, words, said):
    return without(words, "--vision", said)


def an_ema_without_an_average(tmp):
    return [*bad.cn_clip(tmp, bad.vit()), "--ema", "use"]


@walk(an_ema_without_an_average)
def an_ema_without_a_choice_is_left_out(tmp, words, said):
    return without(words, "--ema", said)


def two_sets_of_weights(tmp):
    return [*bad.an_average_beside_the_weights(tmp), "--config", c.cn_clip.cn_clip_config(tmp / "f.json")]


@walk(two_sets_of_weights)
def of_two_sets_of_weights_the_raw_ones_are_taken(tmp, words, said):
    return named(words, *re.search(r"(--ema) (ignore)", said).groups(), said)


@walk(bad.a_context_longer_than_the_model)
def a_length_of_texts_within_the_limits_is_taken(tmp, words, said):
    return named(words, "--context-length", re.search(r"3 to (\d+) tokens", said)[1], said)


@walk(bad.a_shard_size_in_unknown_units)
def a_shard_size_of_the_message_is_taken(tmp, words, said):
    return named(words, "--max-shard-size", re.search(r"such as (\w+) or", said)[1], said)


@walk(bad.a_report_into_a_folder_that_does_not_exist)
def the_folder_of_a_report_is_made(tmp, words, said):
    assert "Make the folder" in said
    (tmp / "nowhere").mkdir()
    return words


@walk(bad.a_report_over_the_checkpoint)
def another_place_of_a_report_is_chosen(tmp, words, said):
    assert "Choose another place" in said
    return named(words, "--report", tmp / "report.json", said)


def a_place_that_exists(tmp):
    (tmp / "OUT").mkdir()
    (tmp / "OUT" / "config.json").write_text('{"model_type": "hf_zhclip"}', encoding="utf-8")
    return bad.cn_clip(tmp, bad.vit())


@walk(a_place_that_exists)
def what_exists_is_replaced_by_force(tmp, words, said):
    assert "pass --force" in said
    return [*words, "--force"]


@walk(bad.a_nan)
def weights_that_are_no_numbers_are_converted_anyway(tmp, words, said):
    assert "--allow-nonfinite converts" in said
    return [*words, "--allow-nonfinite"]


@walk(bad.numbers_too_large_for_the_dtype)
def a_dtype_that_is_too_narrow_is_another(tmp, words, said):
    assert "--dtype is too narrow" in said
    return named(words, "--dtype", "float32", said)


# Formats


@walk(bad.a_format_that_does_not_exist)
def a_format_is_one_of_the_list(tmp, words, said):
    assert "the formats are cn_clip, " in said
    words = named(words, "--format", "cn_clip", "--format")
    return [*words, "--config", c.cn_clip.cn_clip_config(tmp / "facts.json")]


@walk(bad.a_bert_clip_file_without_its_config)
def keys_that_do_not_decide_are_decided_by_the_named_format(tmp, words, said):
    words = named(words, "--format", re.search(r"--format (bert_clip)", said)[1], said)
    return [*words, "--config", tmp / "folder" / "config.json", "--tokenizer", tmp / "folder" / "vocab.txt"]


def openai_keys(tmp):
    torch.save(bad.seeded_state_dict(c.openai_clip.openai_clip()), tmp / "x.pt")
    return [tmp / "x.pt", "--tokenizer", c.common.bpe_folder(tmp / "vocabulary")]


@walk(openai_keys)
def keys_of_openai_or_open_clip_are_openai_s(tmp, words, said):
    return named(words, "--format", re.search(r"pass --format (openai_clip)\.", said)[1], said)


@walk(openai_keys)
def keys_of_openai_or_open_clip_are_open_clip_s(tmp, words, said):
    folder = c.open_clip.open_clip_folder(tmp / "of open_clip")
    format, option = re.search(r"pass --format (open_clip) (--config) FILE", said).groups()
    shutil.copyfile(folder / "open_clip_pytorch_model.bin", words[0])
    return named(named(words, "--format", format, said), option, folder / "open_clip_config.json", said)


def another_class_in_config_json(tmp):
    return [
        *bad.edited_config(tmp, architectures=["ChineseCLIPModel"], model_type="chinese_clip"),
        "--format",
        "bert_clip",
    ]


@walk(another_class_in_config_json)
def a_class_in_config_json_is_corrected(tmp, words, said):
    assert "Correct config.json or --format" in said or "put the right config.json in its place" in said
    shutil.copyfile(c.bert_clip.bert_clip_config(tmp / "right") / "config.json", words[0] / "config.json")
    return words


# Parts


@walk(bad.taiyi_without_its_image_tower)
def a_text_tower_alone_gets_its_image_tower(tmp, words, said):
    return named(words, "--vision", c.hf_clip.clip_folder(tmp / "clip"), said)


@walk(bad.an_image_tower_alone)
def an_image_tower_alone_is_passed_beside_a_text_tower(tmp, words, said):
    assert "Pass it as --vision beside a text tower" in said and "taiyi" in said
    return [c.taiyi.taiyi_folder(tmp / "text", head=True), "--format", "taiyi", "--vision", words[0]]


@walk(bad.an_image_part_that_is_none)
def an_image_part_is_a_clip_model_s_folder(tmp, words, said):
    assert "for example a Hugging Face CLIPModel folder" in said
    return named(words, "--vision", c.hf_clip.clip_folder(tmp / "clip"), said)


@walk(bad.a_pair_without_a_scale)
def a_pair_without_a_scale_gets_the_whole_clip(tmp, words, said):
    assert "name the whole CLIP" in said
    return named(words, "--vision", c.hf_clip.clip_folder(tmp / "whole"), said)


@walk(bad.a_pair_of_different_widths)
def a_pair_of_two_widths_gets_the_text_tower_s_own_clip(tmp, words, said):
    return named(words, "--vision", c.hf_clip.clip_folder(tmp / "own", embed=c.common.HIDDEN), said)


# Vocabularies


@walk(bad.a_folder_without_its_vocabulary)
def a_bert_s_vocabulary_is_passed(tmp, words, said):
    return named(words, "--tokenizer", c.bert_clip.bert_clip_config(tmp / "other") / "vocab.txt", said)


@walk(bad.a_bert_clip_file_without_a_vocabulary)
def a_file_s_vocabulary_is_passed(tmp, words, said):
    return named(words, "--tokenizer", tmp / "both" / "vocab.txt", said)


def a_clip_without_its_vocabulary(tmp):
    folder = c.hf_clip.clip_folder(tmp / "clip")
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        (folder / name).unlink()
    return [folder]


@walk(a_clip_without_its_vocabulary)
def a_clip_s_vocabulary_is_passed(tmp, words, said):
    return named(words, "--tokenizer", c.hf_clip.clip_folder(tmp / "other"), said)


def an_xlm_roberta_without_its_vocabulary(tmp):
    found = c.FAMILIES["multilingual_clip"](tmp)
    (found.source / "tokenizer.json").rename(tmp / "tokenizer.json")
    return [found.source, *(word for name, value in found.arguments.items() for word in (f"--{name}", value))]


@walk(an_xlm_roberta_without_its_vocabulary)
def an_xlm_roberta_s_vocabulary_is_passed(tmp, words, said):
    return named(words, "--tokenizer", tmp / "tokenizer.json", said)


def the_packaged_vocabulary_of_a_family_without_one(tmp):
    return [c.bert_clip.bert_clip_config(tmp / "both"), "--tokenizer", "packaged"]


@walk(the_packaged_vocabulary_of_a_family_without_one)
def a_family_without_a_packaged_vocabulary_gets_its_own(tmp, words, said):
    assert "Pass the vocabulary that the model was trained with: --tokenizer PATH" in said
    return named(words, "--tokenizer", words[0] / "vocab.txt", said)


@walk(bad.a_vocabulary_that_is_too_large)
def a_vocabulary_that_is_too_large_is_another(tmp, words, said):
    return named(words, "--tokenizer", c.bert_clip.bert_clip_config(tmp / "other") / "vocab.txt", said)


# Facts


@walk(bad.a_size_that_nobody_published)
def facts_of_a_cn_clip_are_written_into_a_file(tmp, words, said):
    fields = re.findall(r"^ +(\w+): ", said, re.MULTILINE)
    assert "Pass --config FILE" in said
    (tmp / "facts.json").write_text(json.dumps({field: c.cn_clip.CN_CLIP_FACTS[field] for field in fields}))
    return named(words, "--config", tmp / "facts.json", said)


@walk(bad.a_field_that_cn_clip_does_not_know)
def an_unknown_field_is_corrected(tmp, words, said):
    assert "Correct the file" in said and "typo_field" in said
    c.cn_clip.cn_clip_config(tmp / "facts.json")
    return words


@walk(bad.a_config_of_another_size)
def fields_that_contradict_the_shapes_are_left_out(tmp, words, said):
    facts = json.loads((tmp / "facts.json").read_text())
    wrong = re.findall(r"(\w+): stated", said)
    (tmp / "facts.json").write_text(json.dumps({name: value for name, value in facts.items() if name not in wrong}))
    return words


def a_wukong_of_no_published_size(tmp):
    return [c.wukong.wukong_file(tmp / "wukong.ckpt")]


@walk(a_wukong_of_no_published_size)
def facts_of_a_wukong_are_written_into_a_file(tmp, words, said):
    facts = re.search(r"Wukong's configs: (\{.*\}), and", said)[1].replace(
        "NUMBER", str(c.wukong.WUKONG_FACTS["text"]["heads"])
    )
    (tmp / "facts.json").write_text(facts, encoding="utf-8")
    return named(words, "--config", tmp / "facts.json", said)


def wukong_stating(**facts):
    def start(tmp):
        (tmp / "facts.json").write_text(json.dumps({**c.wukong.WUKONG_FACTS, **facts}), encoding="utf-8")
        return [c.wukong.wukong_file(tmp / "wukong.ckpt"), "--config", tmp / "facts.json"]

    return start


@walk(wukong_stating(text={"heads": 5}))
def a_wukong_s_heads_are_corrected(tmp, words, said):
    assert "states text.heads 5; wanted a divisor" in said
    c.wukong.wukong_config(tmp / "facts.json")
    return words


@walk(wukong_stating(text="transformer"))
def a_wukong_s_text_is_an_object(tmp, words, said):
    assert "an object with the field heads was wanted" in said
    c.wukong.wukong_config(tmp / "facts.json")
    return words


@walk(wukong_stating(is_token_wise="no"))
def a_wukong_s_similarity_is_true_or_false(tmp, words, said):
    assert "true or false was wanted" in said
    c.wukong.wukong_config(tmp / "facts.json")
    return words


def a_prd2_of_no_published_size(tmp):
    return [c.prd2.prd2_file(tmp / "x.pth")]


@walk(a_prd2_of_no_published_size)
def facts_of_a_prd2_are_written_into_a_file(tmp, words, said):
    fields = [field.split(".") for field in re.findall(r"^ +(\w+\.\w+)$", said, re.MULTILINE)]
    facts = {}
    for side, name in fields:
        facts.setdefault(side, {})[name] = c.prd2.PRD2_FACTS[side][name]
    (tmp / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
    return named(words, "--config", tmp / "facts.json", said)


def prd2_stating(**text):
    def start(tmp):
        facts = {**c.prd2.PRD2_FACTS, "text_config": {**c.prd2.PRD2_FACTS["text_config"], **text}}
        (tmp / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
        return [c.prd2.prd2_file(tmp / "x.pth"), "--config", tmp / "facts.json"]

    return start


def corrected(tmp, words, said):
    assert "orrect th" in said
    c.prd2.prd2_config(tmp / "facts.json")
    return words


for _name, _start in {
    "heads_of_a_prd2_that_are_no_number_are_corrected": prd2_stating(num_attention_heads="4"),
    "heads_of_a_prd2_that_do_not_divide_are_corrected": prd2_stating(num_attention_heads=5),
    "an_eps_of_a_prd2_is_corrected": prd2_stating(layer_norm_eps=2),
    "a_size_of_a_prd2_is_corrected": prd2_stating(hidden_size=64),
}.items():
    WALKS[_name] = _start, corrected


# Files beside the weights


@walk(bad.a_folder_without_its_config_json)
def a_config_json_is_fetched_into_the_folder(tmp, words, said):
    assert "into the weights' folder" in said
    shutil.copyfile(c.bert_clip.bert_clip_config(tmp / "page") / "config.json", words[0] / "config.json")
    return words


@walk(bad.a_folder_without_its_config_json)
def a_config_json_is_passed_as_a_file(tmp, words, said):
    return named(words, "--config", c.bert_clip.bert_clip_config(tmp / "page") / "config.json", said)


def right_config(tmp, words, said):
    assert "Take weights and config.json from the same folder" in said or "orrect" in said
    shutil.copyfile(c.bert_clip.bert_clip_config(tmp / "right") / "config.json", words[0] / "config.json")
    return words


for _start in (
    *(bad.a_config_json_that_contradicts_the_text_tower, bad.a_config_json_that_contradicts_the_image_tower),
    *(bad.a_config_json_without_a_tower, bad.a_config_json_without_heads),
):
    WALKS[f"{_start.__name__}_is_replaced"] = _start, right_config


def an_open_clip_without_its_config(tmp):
    folder = c.open_clip.open_clip_folder(tmp / "model")
    (folder / "open_clip_config.json").rename(tmp / "facts.json")
    return [folder, "--format", "open_clip"]


@walk(an_open_clip_without_its_config)
def an_open_clip_s_config_is_passed(tmp, words, said):
    return named(words, "--config", tmp / "facts.json", said)


def an_open_clip_with_another_config(tmp):
    folder = c.open_clip.open_clip_folder(tmp / "model")
    content = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))
    content["model_cfg"]["text_cfg"]["layers"] = 7
    (folder / "open_clip_config.json").write_text(json.dumps(content), encoding="utf-8")
    return [folder]


@walk(an_open_clip_with_another_config)
def an_open_clip_s_config_is_taken_from_the_same_model(tmp, words, said):
    assert "Take weights and config from the same model" in said
    folder = c.open_clip.open_clip_folder(tmp / "right")
    shutil.copyfile(folder / "open_clip_config.json", words[0] / "open_clip_config.json")
    return words


def an_openai_file_with_stated_facts(tmp):
    found = c.FAMILIES["openai_clip"](tmp)
    (tmp / "facts.json").write_text('{"heads": 2}', encoding="utf-8")
    return [
        found.source,
        "--tokenizer",
        found.arguments["tokenizer"],
        "--format",
        "openai_clip",
        "--config",
        tmp / "facts.json",
    ]


@walk(an_openai_file_with_stated_facts)
def facts_beside_an_openai_file_are_left_out(tmp, words, said):
    return without(words, "--config", said)


@walk(bad.an_index_that_names_an_absent_shard)
def shards_that_are_missing_are_fetched(tmp, words, said):
    (name,) = re.findall(r"missing shards: (\S+)\. Fetch these files", said)
    (tmp / "again").mkdir()
    shutil.copyfile(bad.sharded(tmp / "again") / name, Path(words[0]) / name)
    return [words[0], "--config", c.cn_clip.cn_clip_config(tmp / "facts.json")]


@walk(bad.a_torch_file_cut_in_half)
def a_file_that_is_cut_is_fetched_again(tmp, words, said):
    assert "Fetch it again" in said
    c.cn_clip.cn_clip_file(words[0])
    return [words[0], "--config", c.cn_clip.cn_clip_config(tmp / "facts.json")]


@walk(bad.a_web_page)
def a_web_page_is_fetched_again(tmp, words, said):
    assert "Fetch the checkpoint again" in said
    c.cn_clip.cn_clip_file(words[0])
    return [words[0], "--config", c.cn_clip.cn_clip_config(tmp / "facts.json")]


@walk(bad.a_checkpoint_that_was_zipped_again)
def a_checkpoint_that_was_zipped_again_is_fetched(tmp, words, said):
    assert "fetch the original" in said
    c.cn_clip.cn_clip_file(words[0])
    return [words[0], "--config", c.cn_clip.cn_clip_config(tmp / "facts.json")]


# Weights that are saved again


@walk(bad.a_mixture_of_prefixes)
def one_state_dict_is_saved_alone(tmp, words, said):
    assert "Save one model's state dict alone" in said
    top = torch.load(words[0], weights_only=True)
    state = top.get("state_dict", top)
    torch.save({key.removeprefix("module."): tensor for key, tensor in state.items()}, words[0])
    return words


@walk(bad.sparse_tensors)
def sparse_tensors_are_saved_after_to_dense(tmp, words, said):
    assert "save them after to_dense()" in said
    torch.save({"state_dict": bad.vit()}, words[0])
    return words


@walk(bad.two_state_dicts)
def one_set_of_weights_is_saved(tmp, words, said):
    assert "save only the set of weights that you want" in said
    torch.save({"state_dict": bad.vit()}, words[0])
    return [words[0], "--config", c.cn_clip.cn_clip_config(tmp / "facts.json")]


# Files of single families


def a_bert_clip_under_another_name_of_format(tmp):
    return [c.open_clip.open_clip_folder(tmp / "model"), "--format", "openai_clip"]


@walk(a_bert_clip_under_another_name_of_format)
def a_format_that_reads_no_files_beside_is_left_out(tmp, words, said):
    return without(words, "--format", said)


def prd2_with_a_word_for_a_tower(tmp):
    (tmp / "facts.json").write_text(json.dumps({**c.prd2.PRD2_FACTS, "text_config": "bert"}), encoding="utf-8")
    return [c.prd2.prd2_file(tmp / "x.pth"), "--config", tmp / "facts.json"]


@walk(prd2_with_a_word_for_a_tower)
def facts_of_a_prd2_in_place_of_an_object_are_corrected(tmp, words, said):
    assert "an object with fields was wanted" in said
    c.prd2.prd2_config(tmp / "facts.json")
    return words


def multilingual(tmp, **base):
    """A Multilingual-CLIP with a base of these changed fields, which is named with --config."""
    found = c.FAMILIES["multilingual_clip"](tmp)
    edit(found.arguments["config"], **base)
    return [found.source, *(word for name, value in found.arguments.items() for word in (f"--{name}", value))]


@walk(lambda tmp: multilingual(tmp, model_type="roberta"))
def the_base_s_config_is_passed(tmp, words, said):
    assert "Pass the config.json of the text tower's base model" in said
    return named(words, "--config", c.multilingual_clip.multilingual_clip_config(tmp / "right.json"), said)


def another_width(tmp):
    words = multilingual(tmp)
    edit(words[0] / "config.json", transformerDimensions=48)
    return words


@walk(another_width)
def widths_of_a_multilingual_clip_are_taken_from_the_same_folder(tmp, words, said):
    assert "Take weights and config.json from the same folder" in said
    edit(words[0] / "config.json", transformerDimensions=c.common.HIDDEN)
    return words


def a_broken_tokenizer(tmp):
    words = multilingual(tmp)
    content = json.loads((words[0] / "tokenizer.json").read_text(encoding="utf-8"))
    content["truncation"] = {"max_length": "long"}
    (words[0] / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    return words


@walk(a_broken_tokenizer)
def a_tokenizer_that_the_library_cannot_read_is_another(tmp, words, said):
    assert "that transformers can't read" in said and "or pass the vocabulary" in said
    folder = c.multilingual_clip.multilingual_clip_folder(tmp / "again")
    return named(words, "--tokenizer", folder, said)


def a_wukong_with_another_vocabulary(tmp):
    words = tmp / "vocab.txt"
    lines = list(default_vocab())
    lines[0], lines[5] = lines[5], lines[0]
    words.write_text("".join(f"{word}\n" for word in lines), encoding="utf-8")
    return [*wukong_stating()(tmp), "--tokenizer", words]


@walk(a_wukong_with_another_vocabulary)
def a_wukong_s_vocabulary_is_passed(tmp, words, said):
    (tmp / "right.txt").write_text("".join(f"{word}\n" for word in default_vocab()), encoding="utf-8")
    return named(words, "--tokenizer", tmp / "right.txt", said)


def an_openai_file(tmp, **scalars):
    found = c.FAMILIES["openai_clip"](tmp)
    c.openai_clip.openai_clip_file(found.source, **scalars)
    return [found.source, "--tokenizer", found.arguments["tokenizer"]]


@walk(lambda tmp: an_openai_file(tmp, context_length=9))
def an_openai_file_that_contradicts_itself_is_fetched_again(tmp, words, said):
    assert "Fetch the file again" in said
    c.openai_clip.openai_clip_file(words[0])
    return words


def an_openai_model_beside_another_config(tmp):
    words = openai_keys(tmp)
    (tmp / "model").mkdir()
    words[0].rename(tmp / "model" / "pytorch_model.bin")
    facts = {"model_type": "clip", "vision_config": {"num_attention_heads": 7}}
    (tmp / "model" / "config.json").write_text(json.dumps(facts), encoding="utf-8")
    return [tmp / "model", *words[1:], "--format", "openai_clip"]


@walk(an_openai_model_beside_another_config)
def a_config_that_contradicts_openai_s_model_is_replaced(tmp, words, said):
    assert "Take weights and config.json from the same model" in said
    (words[0] / "config.json").write_text('{"model_type": "clip"}', encoding="utf-8")
    return words


def an_open_clip_file_as_openai_s(tmp):
    folder = c.open_clip.open_clip_folder(tmp / "m")
    (folder / "open_clip_pytorch_model.bin").rename(tmp / "x.pt")
    return [tmp / "x.pt", "--format", "openai_clip", "--tokenizer", folder]


@walk(an_open_clip_file_as_openai_s)
def a_width_that_is_not_openai_s_is_open_clip_s(tmp, words, said):
    format, option = re.search(r"pass --format (open_clip), and state the heads with (--config)", said).groups()
    return named(named(words, "--format", format, said), option, tmp / "m" / "open_clip_config.json", said)


def a_modelscope_folder_with_one_config(tmp):
    folder = c.modelscope.modelscope_folder(tmp / "m")
    (folder / "text_model_config.json").rename(tmp / "text_model_config.json")
    return [folder]


@walk(a_modelscope_folder_with_one_config)
def a_second_config_is_fetched(tmp, words, said):
    (name,) = re.findall(r"Fetch (\S+\.json), too", said)
    (tmp / name).rename(words[0] / name)
    return words


def a_sentence_transformer_without_its_dense_module(tmp):
    found = c.FAMILIES["sentence_transformers"](tmp)
    (found.source / "2_Dense" / "pytorch_model.bin").rename(tmp / "pytorch_model.bin")
    return [found.source, *(word for name, value in found.arguments.items() for word in (f"--{name}", value))]


@walk(a_sentence_transformer_without_its_dense_module)
def a_file_of_sentence_transformers_is_fetched(tmp, words, said):
    assert re.search("Fetch the (file|projection), too", said)
    (tmp / "pytorch_model.bin").rename(words[0] / "2_Dense" / "pytorch_model.bin")
    return words


def a_sentence_transformer_with_another_dense_module(tmp):
    found = c.FAMILIES["sentence_transformers"](tmp)
    edit(found.source / "2_Dense" / "config.json", in_features=7)
    return [found.source, *(word for name, value in found.arguments.items() for word in (f"--{name}", value))]


@walk(a_sentence_transformer_with_another_dense_module)
def modules_are_taken_from_the_same_folder(tmp, words, said):
    assert "Take all modules from the same folder" in said
    edit(words[0] / "2_Dense" / "config.json", in_features=c.common.HIDDEN)
    return words


def a_setting_in_one_of_two_files(tmp):
    folder = c.bert_clip.bert_clip_config(tmp / "bert")
    from transformers import BertTokenizerFast

    BertTokenizerFast.from_pretrained(folder, do_lower_case=False).save_pretrained(folder)
    content = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    content.pop("do_lower_case", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(content), encoding="utf-8")
    return [folder]


@walk(a_setting_in_one_of_two_files)
def a_setting_is_written_into_tokenizer_config_json(tmp, words, said):
    name, value, setting = re.search(r"found (\w+)=(\w+) in .* but no (\w+) in tokenizer_config.json", said).groups()
    assert f"Write the {setting} of the training into" in said
    edit(words[0] / "tokenizer_config.json", **{setting: value == "True"})
    return words


def a_clip_with_cut_merges(tmp):
    folder = c.hf_clip.clip_folder(tmp / "clip")
    lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    (folder / "merges.txt").write_text("\n".join([*lines[:-1], ""]), encoding="utf-8")
    return [folder]


@walk(a_clip_with_cut_merges)
def a_damaged_vocabulary_is_fetched_again(tmp, words, said):
    assert re.search(r"Fetch .*again", said)
    shutil.copyfile(c.hf_clip.clip_folder(tmp / "again") / "merges.txt", words[0] / "merges.txt")
    return words


@walk(bad.a_config_json_that_is_cut)
def a_config_json_that_is_cut_is_fetched_again(tmp, words, said):
    assert "Fetch it again, or correct it" in said
    shutil.copyfile(c.bert_clip.bert_clip_config(tmp / "again") / "config.json", Path(words[0]) / "config.json")
    return words


@walk(lambda tmp: [c.chinese_clip.chinese_clip_folder(tmp / "m"), "--context-length", "1000"])
def another_length_of_texts_is_taken(tmp, words, said):
    assert "takes 3 to 64 tokens" in said
    return named(words, "--context-length", 64, said)


def a_source_inside_of_what_would_be_replaced(tmp):
    c.bert_clip.bert_clip_config(tmp / "OUT" / "source")
    (tmp / "OUT" / "config.json").write_text('{"model_type": "hf_zhclip"}', encoding="utf-8")
    return [tmp / "OUT" / "source", "--force"]


@walk(a_source_inside_of_what_would_be_replaced)
def a_foreign_folder_is_moved_out_of_what_would_be_replaced(tmp, words, said):
    assert "so --force does not replace it. Choose another place, or move source out of it first" in said
    (tmp / "OUT" / "source").rename(tmp / "source")  # the command of this test has one place
    return [tmp / "source", "--force"]


def a_report_inside_of_what_would_be_replaced(tmp):
    (tmp / "OUT").mkdir()
    return [*bad.cn_clip(tmp, bad.vit()), "--force", "--report", tmp / "OUT" / "report.json"]


@walk(a_report_inside_of_what_would_be_replaced)
def a_place_around_the_report_is_another(tmp, words, said):
    assert "--force would delete both. Choose another place" in said
    return [*words[:-1], tmp / "report.json"]


def only_sentencepiece(tmp):
    words = multilingual(tmp)
    (words[0] / "tokenizer.json").rename(tmp / "tokenizer.json")
    (words[0] / "sentencepiece.bpe.model").write_bytes(b"\x0a\x0e")
    return words


@walk(only_sentencepiece)
def a_tokenizer_json_that_is_missing_is_fetched(tmp, words, said):
    assert "Fetch tokenizer.json from the same repository" in said
    (tmp / "tokenizer.json").rename(words[0] / "tokenizer.json")
    return words


# The walks

SEEN_BY_CONVERT = (
    *(
        "what_exists_is_replaced_by_force",
        "a_foreign_folder_is_moved_out_of_what_would_be_replaced",
        "a_place_around_the_report_is_another",
        "the_folder_of_a_report_is_made",
    ),
    *("weights_that_are_no_numbers_are_converted_anyway", "another_place_of_a_report_is_chosen"),
    *("a_dtype_that_is_too_narrow_is_another", "a_shard_size_of_the_message_is_taken"),
    *("a_length_of_texts_within_the_limits_is_taken", "another_length_of_texts_is_taken"),
)
"""Walks whose message `inspect` does not give."""


def convert(tmp: Path, words: Words, capsys) -> tuple[int, str]:
    code = zhclip_cli.main(["convert", str(words[0]), str(tmp / "OUT"), *map(str, words[1:])])
    return code, capsys.readouterr().err


def inspect(tmp: Path, words: Words, capsys) -> tuple[int, str]:
    """What `convert` would say, from the command that writes nothing."""
    code = zhclip_cli.main(["inspect", "--json", *map(str, words)])
    shown = capsys.readouterr()
    return code, json.loads(shown.out)["refusal"] or "" if shown.out else shown.err


def share() -> list[Any]:
    """Every third walk, by `inspect` where it gives the message; all walks by `convert` are `thorough`."""
    rows = [(name, convert if name in SEEN_BY_CONVERT else inspect) for name in list(WALKS)[::3]]
    return [*rows, *(thorough((name, convert)) for name in WALKS if (name, convert) not in rows)]


@pytest.mark.parametrize(("name", "command"), share())
def test_what_a_message_says_gets_past_it(name, command, tmp_path, capsys):
    start, way = WALKS[name]
    words = start(tmp_path)
    code, said = command(tmp_path, words, capsys)
    assert code == 2, said

    code, after = command(tmp_path, way(tmp_path, words, said), capsys)

    assert code == 0, after
