"""A vocabulary beside a weight file: the packaged one is not taken past another, and neither is guessed."""

import json
import re
import shlex

import pytest
import torch
from transformers import BertTokenizerFast

import zhclip_cli
from hf_zhclip.conversion import convert, load, verify
from hf_zhclip.conversion.detection.parts import describe, find_vocabulary, identify
from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.pipeline import prepare
from hf_zhclip.conversion.stated import Stated
from hf_zhclip.conversion.tokenizers.vocabularies import DEFAULT_VOCAB, OPENAI_BPE_FILE, default_vocab, read_openai_bpe

from tests import checkpoints as c
from tests.weights import seeded_state_dict


def id_of(folder, word):
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    return content["model"]["vocab"][word]


def other_words():
    words = default_vocab()
    cat, dog = words.index("猫"), words.index("狗")
    words[cat], words[dog] = words[dog], words[cat]
    return words


def write(path, words):
    path.write_text("".join(f"{word}\n" for word in words), encoding="utf-8")


@pytest.fixture
def made(tmp_path):
    """A cn_clip file with another vocabulary beside it, and what states its facts."""
    write(tmp_path / "vocab.txt", other_words())
    return c.cn_clip.cn_clip_file(tmp_path / "epoch3.pt"), {
        "config": c.cn_clip.cn_clip_config(tmp_path / "facts.json")
    }


def test_another_vocabulary_beside_a_file_is_asked_about_and_both_ways_out_are_taken(made, tmp_path, monkeypatch):
    source, options = made
    with pytest.raises(
        InputError, match=r"vocab\.txt lies beside epoch3\.pt, but .* the packaged vocabulary\. The two differ"
    ) as error:
        convert(source, tmp_path / "OUT", **options)
    assert not (tmp_path / "OUT").exists()
    words = shlex.split(str(error.value))
    theirs, ours = (words[place + 1] for place, word in enumerate(words) if word == "--tokenizer")
    assert (theirs, ours) == (str(tmp_path / "vocab.txt"), "packaged")

    assert convert(source, tmp_path / "theirs", tokenizer=theirs, **options).passed
    report = convert(source, tmp_path / "ours", tokenizer=ours, **options)

    assert report.passed and "--tokenizer packaged" in report.conversion["command"]
    # Google's vocabulary has 猫 in line 4344 and 狗 in line 4329, counted from 0.
    assert (id_of(tmp_path / "theirs", "猫"), id_of(tmp_path / "ours", "猫")) == (
        default_vocab().index("狗"),
        default_vocab().index("猫"),
    )
    assert verify(tmp_path / "ours", source, **options).passed  # it takes what the report recorded
    monkeypatch.setenv("ZHCLIP_CACHE", str(tmp_path / "cache"))
    _, processor = load(source, tokenizer=ours, **options)
    assert processor(text=["猫"])["input_ids"][0][1] == default_vocab().index("猫")


def test_the_same_vocabulary_beside_a_file_is_nothing_to_tell_of(tmp_path):
    source = c.cn_clip.cn_clip_file(tmp_path / "epoch3.pt")
    write(tmp_path / "vocab.txt", default_vocab())
    assert find_vocabulary(identify(Stated(source)), Stated(source)) is None

    # What saves a tokenizer beside it writes the same words as a tokenizer.json.
    content = {"model": {"type": "WordPiece", "vocab": {word: n for n, word in enumerate(default_vocab())}}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    assert find_vocabulary(identify(Stated(source)), Stated(source)) is None


@pytest.mark.quick(1)
@pytest.mark.parametrize("setting", ["do_lower_case", "strip_accents", "tokenize_chinese_chars"])
def test_the_same_vocabulary_with_another_preparation_of_texts_is_asked_about(setting, tmp_path):
    source = c.cn_clip.cn_clip_file(tmp_path / "epoch3.pt")
    write(tmp_path / "vocab.txt", default_vocab())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({setting: False}), encoding="utf-8")
    parts = identify(Stated(source))

    with pytest.raises(InputError, match=f"states {setting} false .* --tokenizer packaged for") as error:
        find_vocabulary(parts, Stated(source))

    assert "trained with other settings is not converted" in str(error.value), "cn_clip's tokenizer heeds no settings"
    assert find_vocabulary(parts, Stated(source, tokenizer="packaged")) == DEFAULT_VOCAB
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({setting: True}), encoding="utf-8")
    assert find_vocabulary(parts, Stated(source)) is None


@pytest.mark.quick(1)
@pytest.mark.parametrize("setting", ["do_lower_case", "strip_accents", "tokenize_chinese_chars"])
def test_a_named_folder_whose_setting_is_not_heeded_is_asked_about_and_its_words_alone_are_the_way_out(
    setting, tmp_path
):
    source, folder = c.cn_clip.cn_clip_file(tmp_path / "epoch3.pt"), tmp_path / "wo rds"
    folder.mkdir()
    write(folder / "vocab.txt", other_words())
    (folder / "tokenizer_config.json").write_text(json.dumps({setting: False}), encoding="utf-8")
    options = {"config": c.cn_clip.cn_clip_config(tmp_path / "facts.json")}

    with pytest.raises(InputError, match=f"state .*{setting} false.* takes no other settings") as error:
        convert(source, tmp_path / "OUT", tokenizer=folder, **options)

    (said,) = re.findall(r"the words alone: --tokenizer (.+)\. A", str(error.value))
    (way,) = shlex.split(said)
    stated = Stated(source, tokenizer=way, **options)
    parts = identify(stated)
    assert prepare(parts, describe(parts), stated).vocabulary == folder / "vocab.txt"
    (folder / "tokenizer_config.json").write_text(json.dumps({setting: True}), encoding="utf-8")
    assert find_vocabulary(parts, Stated(source, tokenizer=folder)) == folder


def test_a_tokenizer_json_that_states_a_cased_vocabulary_is_asked_about_too(tmp_path):
    source, folder = c.cn_clip.cn_clip_file(tmp_path / "epoch3.pt"), tmp_path / "words"
    BertTokenizerFast(vocab={word: n for n, word in enumerate(default_vocab())}, do_lower_case=False).save_pretrained(
        folder
    )
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(InputError, match="state do_lower_case false, strip_accents false"):
        find_vocabulary(identify(Stated(source)), Stated(source, tokenizer=folder))


@pytest.mark.parametrize("lowercase", [True, False])
def test_a_family_that_heeds_the_settings_takes_the_named_folder(lowercase, original, tmp_path):
    made, folder = original("bert_clip"), tmp_path / "words"
    folder.mkdir()
    write(folder / "vocab.txt", default_vocab())
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lowercase}), encoding="utf-8")
    stated = Stated(made.source, **{**made.arguments, "tokenizer": folder})
    assert find_vocabulary(identify(stated), stated) == folder


def test_a_converted_folder_is_taken_as_the_vocabulary_of_its_family(repo, original):
    made = original("cn_clip_vit")
    stated = Stated(made.source, **{**made.arguments, "tokenizer": repo("cn_clip_vit").path})
    assert find_vocabulary(identify(stated), stated) == repo("cn_clip_vit").path


def test_a_file_of_another_kind_beside_it_is_asked_about_and_the_packaged_one_is_the_way_out(tmp_path):
    source = c.cn_clip.cn_clip_file(tmp_path / "epoch3.pt")
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "BPE", "vocab": {}}}', encoding="utf-8")
    parts = identify(Stated(source))
    with pytest.raises(InputError, match=r"can't be read as its vocabulary: .*BPE.* --tokenizer packaged"):
        find_vocabulary(parts, Stated(source))
    assert find_vocabulary(parts, Stated(source, tokenizer="packaged")) == DEFAULT_VOCAB


def test_clips_own_vocabulary_is_compared_by_its_words_and_merges(tmp_path):
    source = c.openai_clip.openai_clip_file(tmp_path / "ViT.pt")
    bpe = read_openai_bpe(OPENAI_BPE_FILE)
    (tmp_path / "vocab.json").write_text(json.dumps(bpe.ids), encoding="utf-8")
    merges = ["#version: 0.2", *(" ".join(merge) for merge in bpe.merges), ""]
    (tmp_path / "merges.txt").write_text("\n".join(merges), encoding="utf-8")
    parts = identify(Stated(source))
    assert find_vocabulary(parts, Stated(source)) is None

    first, second, *rest = merges[1:]
    (tmp_path / "merges.txt").write_text("\n".join([merges[0], second, first, *rest]), encoding="utf-8")
    with pytest.raises(
        InputError, match=r"vocab\.json lies beside ViT\.pt, but .* the packaged vocabulary\. The two differ"
    ):
        find_vocabulary(parts, Stated(source))
    assert find_vocabulary(parts, Stated(source, tokenizer="packaged")) == OPENAI_BPE_FILE


def test_a_family_without_a_packaged_vocabulary_is_told_of_the_one_beside(tmp_path):
    torch.save(seeded_state_dict(c.bert_clip.bert_clip()), tmp_path / "x.pt")
    (tmp_path / "facts.json").write_text(
        json.dumps({"text_config": c.common.BERT_CONFIG, "vision_config": c.common.VISION_CONFIG})
    )
    write(tmp_path / "vocab.txt", default_vocab())
    stated = {"format": "bert_clip", "config": tmp_path / "facts.json"}
    with pytest.raises(InputError, match=r"vocab\.txt lies beside x\.pt.* --tokenizer \S+vocab\.txt if x\.pt"):
        convert(tmp_path / "x.pt", tmp_path / "OUT", **stated)
    with pytest.raises(InputError, match="--tokenizer packaged: no vocabulary ships with the package for BertCLIP"):
        convert(tmp_path / "x.pt", tmp_path / "OUT", tokenizer="packaged", **stated)

    assert convert(tmp_path / "x.pt", tmp_path / "OUT", tokenizer=tmp_path / "vocab.txt", **stated).passed


def test_a_file_that_is_called_packaged_goes_first(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "packaged", other_words())
    source, _ = made
    parts = identify(Stated(source))
    assert (
        find_vocabulary(parts, Stated(source, tokenizer="packaged")).read_text(encoding="utf-8").split("\n")[:-1]
        == other_words()
    )


def test_the_command_ends_with_2_and_takes_the_word(made, tmp_path, capsys):
    source, options = made
    command = ["convert", str(source), str(tmp_path / "OUT"), "--config", str(options["config"])]
    assert zhclip_cli.main(command) == 2
    assert "--tokenizer packaged" in capsys.readouterr().err
    assert zhclip_cli.main([*command, "--tokenizer", "packaged"]) == 0
