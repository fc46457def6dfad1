import json
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch

from hf_zhclip.conversion import convert
from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.repos.prepared import check_tokenizer, spare_rows
from hf_zhclip.conversion.tokenizers.vocabularies import default_vocab

from tests import checkpoints as c
from tests.weights import seeded_state_dict


@dataclass
class Tokenizer:
    """What the checks ask of a tokenizer: its words with their ids, and how it pads."""

    ids: dict[str, int]
    padding_side: str = "right"
    pad_token_id: int = 0
    inputs: dict[str, list[int]] = field(default_factory=lambda: {"input_ids": [1, 2], "token_type_ids": [0, 0]})

    def __len__(self):
        return len(self.ids)

    def __call__(self, text):
        return self.inputs

    def get_vocab(self):
        return self.ids


def words(count, **gaps):
    return Tokenizer({**{f"word{number}": number for number in range(count)}, **gaps})


def model(rows):
    text = SimpleNamespace(vocab_size=rows, pad_token_id=0)
    return SimpleNamespace(text_config=text, is_text_causal=False, text_pooling="cls")


@pytest.mark.parametrize(
    ("count", "rows", "multiple"),
    # 30522 are the words of English BERT, 50265 those of RoBERTa; 21128 is a multiple of 8 already.
    [(30522, 30528, 8), (50265, 50272, 8), (21128, 21136, 16), (21128, 21184, 64), (21128, 21248, 128), (97, 128, 32)],
)
def test_rows_up_to_a_multiple_of_8_to_128_are_padding_and_are_told(count, rows, multiple):
    tokenizer, config = words(count), model(rows)
    check_tokenizer(tokenizer, config)
    (told,) = spare_rows(tokenizer, config)
    assert f"{rows} rows" in told.en and f"{count} words" in told.en and f"multiple of {multiple}." in told.en
    assert f"{rows} 行" in told.zh and f"{count} 个词" in told.zh and f"补齐到 {multiple} 的倍数" in told.zh


@pytest.mark.parametrize(("count", "rows"), [(3000, 21128), (21128, 21130), (21128, 21144), (21128, 21376), (8, 24)])
def test_a_vocabulary_with_too_few_words_is_refused(count, rows):
    message = rf"The tokenizer has words up to id {count - 1}, but the model has {rows} rows.*--tokenizer PATH"
    with pytest.raises(InputError, match=message):
        check_tokenizer(words(count), model(rows))


def test_a_vocabulary_with_gaps_reaches_as_far_as_its_highest_id():
    tokenizer = words(100, last=249999)
    check_tokenizer(tokenizer, model(250000))
    assert spare_rows(tokenizer, model(250000)) == ()


def test_as_many_words_as_rows_are_nothing_to_tell_of():
    assert spare_rows(words(21128), model(21128)) == ()


def padded(folder, rows):
    """A cn_clip file whose embedding has more rows than the vocabulary has words."""
    shapes = c.cn_clip.cn_clip_vit() | {"bert.embeddings.word_embeddings.weight": (rows, c.common.HIDDEN)}
    torch.save(seeded_state_dict(shapes), folder / "x.pt")
    place = folder / "words.txt"
    place.write_text("".join(f"{word}\n" for word in default_vocab()), encoding="utf-8")
    return folder / "x.pt", {"tokenizer": place, "config": c.cn_clip.cn_clip_config(folder / "facts.json")}


@pytest.mark.usefixtures("written_card")
def test_padded_rows_are_said_on_the_terminal_in_the_report_and_on_the_card(tmp_path):
    source, options = padded(tmp_path, 21136)
    lines = []

    report = convert(source, tmp_path / "OUT", progress=lines.append, **options)

    assert report.passed
    (told,) = [limit for limit in report.conversion["limits"] if "补齐到 16 的倍数" in limit.zh]
    assert "padding up to a multiple of 16" in told.en and told.en in lines
    written = json.loads((tmp_path / "OUT/conversion_report.json").read_text(encoding="utf-8"))
    assert {"en": told.en, "zh": told.zh} in written["conversion"]["limits"]
    card = (tmp_path / "OUT/README.md").read_text(encoding="utf-8")
    assert told.en in card and told.zh in card


def test_a_vocabulary_that_was_cut_is_refused_and_the_whole_one_is_the_way_out(tmp_path):
    source, options = padded(tmp_path, 21128)
    (tmp_path / "cut.txt").write_text("".join(f"{word}\n" for word in default_vocab()[:3000]), encoding="utf-8")

    with pytest.raises(InputError, match=r"words up to id 2999, but the model has 21128 rows.*--tokenizer PATH"):
        convert(source, tmp_path / "OUT", **{**options, "tokenizer": tmp_path / "cut.txt"})
    assert not (tmp_path / "OUT").exists()

    assert convert(source, tmp_path / "OUT", **options).passed
