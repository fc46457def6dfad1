"""Thresholds by hand, and against every pair of pairs."""

import json
import os
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_zhclip.errors import InputError
from hf_zhclip.evaluation import threshold
from hf_zhclip.evaluation.files import Features
from hf_zhclip.evaluation.threshold import cosines_of, fit, holds_pairs, pairs_of_split, read_pairs


def test_the_best_f1_is_chosen_halfway_to_the_next_cosine():
    found = fit(torch.tensor([0.9, 0.1, 0.7, 0.5, 0.3]), torch.tensor([True, False, True, False, True]))
    # at 0.9: P 1, R 1/3; 0.7: P 1, R 2/3, F1 0.8; 0.5: P 2/3, R 2/3; 0.3: P 3/4, R 1, F1 6/7; 0.1: P 3/5, R 1, F1 3/4
    assert found.precision.tolist() == pytest.approx([1, 1, 2 / 3, 3 / 4, 3 / 5])
    assert found.recall.tolist() == pytest.approx([1 / 3, 2 / 3, 2 / 3, 1, 1])
    told = found.to_json()["threshold"]
    assert told["cosine"] == pytest.approx(0.2) and told["f1"] == pytest.approx(6 / 7)
    assert told["precision"] == pytest.approx(3 / 4) and told["recall"] == 1
    # of the 6 pairs of pairs, (0.3, 0.5) alone is wrong
    assert told["auc"] == pytest.approx(5 / 6)
    assert told["average_precision"] == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert (told["fitting_pairs"], told["other_pairs"]) == (3, 2)


def test_of_equal_f1_the_larger_cosine_is_chosen():
    # at 0.8: P 1, R 1/2, F1 2/3; at 0.2: P 1/2, R 1, F1 2/3
    found = fit(torch.tensor([0.8, 0.6, 0.4, 0.2]), torch.tensor([True, False, False, True]))
    assert found.cosine == pytest.approx(0.7)


def test_where_all_pairs_are_taken_the_smallest_cosine_is_the_threshold():
    assert fit(torch.tensor([0.5, 0.5, 0.5]), torch.tensor([True, True, False])).cosine == 0.5


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=2, max_size=30))
def test_auc_and_average_precision_are_those_of_every_pair_of_pairs(pairs):
    fitting = [value for value, fits in pairs if fits]
    other = [value for value, fits in pairs if not fits]
    if not fitting or not other:
        return
    found = fit(torch.tensor([value / 4 for value, _ in pairs]), torch.tensor([fits for _, fits in pairs]))
    wins = sum((a > b) + (a == b) / 2 for a in fitting for b in other)
    assert found.auc == pytest.approx(wins / len(fitting) / len(other))
    area = 0.0
    for value in set(fitting):
        at_least = [fits for each, fits in pairs if each >= value]
        area += sum(at_least) / len(at_least) * fitting.count(value) / len(fitting)
    assert found.average_precision == pytest.approx(area)
    taken = [fits for value, fits in pairs if value / 4 >= found.cosine]
    assert sum(taken) / len(taken) == pytest.approx(found.to_json()["threshold"]["precision"])


def test_cosines_do_not_depend_on_the_length_of_features():
    texts, images = Features([7], torch.tensor([[3.0, 4.0]])), Features([1, 2], torch.tensor([[2.0, 0.0], [0.0, 9.0]]))
    assert cosines_of([(7, 2), (7, 1)], texts, images).tolist() == pytest.approx([0.8, 0.6])


def test_pairs_that_do_not_fit_name_no_picture_of_an_equal_text():
    answers, texts = {1: [10, 10], 2: [11], 3: [12, 13]}, {1: "猫", 2: "猫", 3: "狗"}
    for seed in range(20):
        pairs, fits = pairs_of_split(answers, texts, seed)
        assert pairs[:4] == [(1, 10), (2, 11), (3, 12), (3, 13)] and fits == [True] * 4 + [False] * 4
        assert {image for text, image in pairs[4:] if text != 3} <= {12, 13}
        assert {image for text, image in pairs[4:] if text == 3} <= {10, 11}


def test_a_split_in_which_everything_fits_is_refused():
    with pytest.raises(InputError, match="no pair is left that does not fit"):
        pairs_of_split({1: [5], 2: [5]}, {1: "a", 2: "b"}, 0)


def test_other_pairs_cost_few_draws_where_each_text_names_all_pictures_but_one(monkeypatch):
    drawn = []

    class Counting(random.Random):
        def choice(self, pool):
            drawn.append(len(pool))
            return super().choice(pool)

    monkeypatch.setattr(threshold.random, "Random", Counting)
    answers = {text: [image for image in range(60) if image != text] for text in range(60)}
    pairs, fits = pairs_of_split(answers, {text: str(text) for text in range(60)}, 0)
    assert len(drawn) == 60 * 59
    assert {pair for pair, fit in zip(pairs, fits, strict=True) if not fit} == {(text, text) for text in range(60)}


@pytest.mark.parametrize(
    "line, match",
    [
        ('{"image": "x.png", "text": "a", "fits": true}', "x.png does not exist; a picture was wanted"),
        ('{"image": "a.png", "text": "a", "fits": 1}', "found fits 1"),
        ('{"image": "a.png", "text": 3, "fits": true}', "found text 3"),
        ('{"text": "a", "fits": true}', "found no image"),
        ('{"image": "a.png", "text": "a", "fits": true}', "has no pairs that do not fit"),
        ('{"image": "a.png", "text": "a", "fits": false}', "has no pairs that fit"),
        ("", "has no pairs that fit"),
        ("[1]", "a JSON object was wanted"),
        ('{"image": "a.png", "text": "a", "fits": NaN}', "cannot be used: NaN was found"),
    ],
)
def test_pairs_that_are_wrong_are_refused(line, match, tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "pairs.jsonl").write_text(line + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=match):
        read_pairs(tmp_path / "pairs.jsonl")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with a name")
def test_a_pipe_is_no_picture_of_a_pair(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "pairs.jsonl").write_text('{"image": "a.png", "text": "a", "fits": true}\n', encoding="utf-8")
    with pytest.raises(InputError, match="line 1: .*a.png is a pipe; a picture was wanted"):
        read_pairs(tmp_path / "pairs.jsonl")


def test_lines_without_fits_are_captions(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps({"image": "a.png", "text": "a"}) + "\n")
    assert not holds_pairs(str(path))
    path.write_text(path.read_text() + json.dumps({"fits": True}) + "\n")
    assert holds_pairs(str(path)) and not holds_pairs(str(tmp_path)) and not holds_pairs("user/data")
