"""Recall by hand."""

import pytest

from hf_zhclip.evaluation.recall import recall, turned

TEN = list(range(100, 110))


def test_any_hit_among_the_first_k_counts():
    answers = {1: [100], 2: [104, 999], 3: [105], 4: [109, 500], 5: [999]}
    found = recall(dict.fromkeys(answers, TEN), answers)
    assert (found.r1, found.r5, found.r10) == (20, 40, 80)
    assert found.mean_recall == pytest.approx(140 / 3)
    assert found.to_json() == {"r1": 20, "r5": 40, "r10": 80, "mean_recall": pytest.approx(140 / 3)}


def test_what_stands_behind_the_tenth_prediction_does_not_count():
    assert recall({1: [*TEN, 7]}, {1: [7]}).r10 == 0


@pytest.mark.parametrize("as_cn_clip, r1, queries", [(False, 100, 1), (True, 50, 2)])
def test_a_query_without_answers_is_left_out_or_a_miss(as_cn_clip, r1, queries):
    found = recall({1: TEN, 2: TEN}, {1: [100], 2: []}, as_cn_clip=as_cn_clip)
    assert (found.r1, found.queries, found.unanswered) == (r1, queries, 1)


def test_the_answers_are_turned_in_the_order_in_which_they_are_named():
    back = turned({5: [9, 8], 4: [8], 3: []})
    assert back == {9: [5], 8: [5, 4]} and list(back) == [9, 8]
