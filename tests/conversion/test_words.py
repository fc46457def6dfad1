"""Both languages as one value: what it refuses, and that everything that a card takes over is such a value."""

import importlib
import re

import pytest

from hf_zhclip.conversion import upgrade
from hf_zhclip.conversion.exports import cn_clip_file
from hf_zhclip.conversion.exports.natives import NATIVES, Demand
from hf_zhclip.conversion.proof import compared, samples
from hf_zhclip.conversion.publishing import card_proof, card_words, unverified
from hf_zhclip.conversion.reading import catalogue
from hf_zhclip.conversion.repos import report
from hf_zhclip.conversion.sources import SOURCES
from hf_zhclip.conversion.words import SEMICOLON, Words, joined

CHINESE = re.compile("[\u4e00-\u9fff]")
EMBEDDINGS = Words("embeddings of {count} inputs", "{count} 个输入的向量")


def told(value):
    """All words that a module's name stands for: alone, in a tuple, or in a table."""
    if isinstance(value, Words):
        return [value]
    if isinstance(value, compared.Vectors):
        return [value.exact, value.narrow]
    values = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return [words for each in values for words in told(each)]


def of_module(module):
    return [words for value in vars(module).values() for words in told(value)]


@pytest.mark.parametrize("name", SOURCES)
def test_every_sentence_of_a_source_is_listed_and_has_both_languages(name):
    source = SOURCES[name]
    listed = (*source.limits, *source.limits_of_some)
    assert set(of_module(importlib.import_module(f"hf_zhclip.conversion.sources.{name}"))) <= set(listed)
    for words in (*listed, catalogue.STATED_HERE, upgrade.LIMIT):
        assert CHINESE.search(words.zh) and not CHINESE.search(words.en), words


def test_every_loss_of_an_export_has_both_languages():
    demands = [each for native in NATIVES for each in native.demands]
    demands += [*cn_clip_file.CONFIG, *cn_clip_file.VIT, *cn_clip_file.RESNET, *cn_clip_file.PROCESSOR]
    losses = [loss for demand in demands for loss in demand.lost.values()]
    assert losses and all(CHINESE.search(loss.zh) and not CHINESE.search(loss.en) for loss in losses)
    named = Demand("text_config.model_type", ("bert",), {}).loss({"text_config": {"model_type": "t5"}})
    assert named == Words(
        "text_config.model_type 't5': the class can only hold 'bert'",
        "text_config.model_type 为 't5'（那里只能是 'bert'）",
    )


@pytest.mark.parametrize(
    "module", [compared, card_words, card_proof, report, unverified], ids=lambda module: module.__name__
)
def test_both_languages_of_what_is_filled_take_the_same_values(module):
    for words in of_module(module):
        assert sorted(re.findall(r"\{\w+\}", words.en)) == sorted(re.findall(r"\{\w+\}", words.zh)), words
        assert words.zh and not CHINESE.search(words.en), words


def test_a_picture_that_is_more_than_a_mode_and_a_size_has_a_chinese_name(fresh_process):
    names = [name for name, _ in samples.pictures()]
    assert set(samples.CHINESE_NAMES) == {name for name in names if not re.fullmatch(r"[A-Z0-9;]+ \d+x\d+", name)}
    assert compared.picture("RGB 1x1") == Words.same("RGB 1x1")
    assert compared.picture("EXIF-rotated 140x60").zh == "带 EXIF 旋转标记 140x60"


def test_words_are_filled_in_each_language():
    assert EMBEDDINGS.filled(count=4) == Words("embeddings of 4 inputs", "4 个输入的向量")
    where = Words("in {what}", "在{what}中").filled(what=Words("the file", "文件"))
    assert where == Words("in the file", "在文件中")


def test_a_list_has_the_commas_of_its_language():
    words = [Words("a", "甲"), Words("b", "乙")]
    assert joined(words) == Words("a, b", "甲、乙")
    assert joined(words, SEMICOLON) == Words("a; b", "甲；乙")


def test_what_is_known_in_english_alone_says_so_in_chinese():
    assert Words.in_english("Something new.") == Words("Something new.", "（英文原文）Something new.")


@pytest.mark.parametrize(
    "value", ["a", None, {}, {"en": "a"}, {"en": "a", "zh": 1}, {"en": "a", "zh": "b", "fr": "c"}]
)
def test_what_is_no_text_in_both_languages_is_refused(value):
    with pytest.raises(TypeError, match="en and zh"):
        Words.from_json(value)
