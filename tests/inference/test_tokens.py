"""The ids of the Embedder, beside those of the processor."""

import logging

import numpy as np
import pytest

from hf_zhclip import ZhCLIPImageProcessor, ZhCLIPProcessor
from hf_zhclip.conversion.tokenizers.builders import (
    bert_tokenizer,
    cn_clip_tokenizer,
    openai_clip_tokenizer,
    slow_bert_tokenizer,
)
from hf_zhclip.inference import tokens
from hf_zhclip.inference.tokens import tokens_of

VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"一只猫和狗红色蓝的圆形abc", "##a", "##b"]
TOKENIZERS = {
    "cn_clip": lambda: cn_clip_tokenizer(VOCAB, 12),
    "bert": lambda: bert_tokenizer(VOCAB, 12),
    "slow_bert": lambda: slow_bert_tokenizer(VOCAB, 12),
    "openai_clip": lambda: openai_clip_tokenizer(None, 12),
}
TEXTS = ["猫", "一只猫和狗", "", "红色的圆形" * 9, " 狗 ", "abab CAB", "[SEP]猫[MASK]", "é\u0000\ufffd猫\n", "🐱"]


def processor_of(name: str) -> ZhCLIPProcessor:
    return ZhCLIPProcessor(ZhCLIPImageProcessor(image_order="rgb_then_squash", size=8), TOKENIZERS[name]())


def check(processor, texts, length=None):
    options = {} if length is None else {"max_length": length}
    wanted = processor(text=texts, return_tensors="np", **options)
    found = tokens_of(processor)(texts, length)
    assert found.keys() == wanted.keys()
    for name, each in found.items():
        assert each.dtype == wanted[name].dtype and np.array_equal(each, wanted[name]), name


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("side", ["right", "left"])
def test_the_ids_and_the_mask_are_those_of_the_processor(name, side):
    processor = processor_of(name)
    assert tokens_of(processor).__name__ == "by_library"
    processor.tokenizer.padding_side = side
    for texts in (TEXTS, TEXTS[:1], [""], TEXTS[3:4] * 2):
        check(processor, texts)
        check(processor, texts, 5)


def test_the_settings_of_the_moment_hold():
    processor = processor_of("cn_clip")
    check(processor, TEXTS)
    processor.tokenizer.model_max_length = 7
    check(processor, TEXTS)
    processor.tokenizer.truncation_side = "left"
    check(processor, TEXTS)
    processor.tokenizer.split_special_tokens = True
    check(processor, TEXTS)
    processor.tokenizer.model_max_length = int(1e30)
    check(processor, TEXTS)


def test_a_processor_with_other_steps_is_called(monkeypatch):
    processor = processor_of("cn_clip")
    processor.tokenizer.model_input_names = ["input_ids", "attention_mask", "special_tokens_mask"]
    assert tokens_of(processor).__name__ == "by_processor"
    check(processor, TEXTS)
    check(processor, TEXTS, 5)


def test_the_first_cut_is_logged_once(caplog):
    processor = processor_of("cn_clip")
    with caplog.at_level(logging.WARNING):
        tokens_of(processor)(["猫" * 10], None)
        assert not caplog.messages
        tokens_of(processor)(["猫" * 11, "猫"], None)
        tokens_of(processor)(["猫" * 11], None)
    (said,) = caplog.messages
    assert said.startswith("1 of 2 texts have more than 12 tokens") and "context_length=N" in said


def test_padding_is_put_on_the_side_that_is_asked_for():
    ids, mask = tokens.padded([[1, 2, 3], [4], []], lambda: 9, left=True)
    assert ids.tolist() == [[1, 2, 3], [9, 9, 4], [9, 9, 9]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1], [0, 0, 0]]
    ids, mask = tokens.padded([[1, 2], [4]], lambda: 9, left=False)
    assert ids.tolist() == [[1, 2], [4, 9]] and mask.tolist() == [[1, 1], [1, 0]]
