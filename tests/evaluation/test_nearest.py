"""The nearest vectors against a plain sort of float64 scores."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_zhclip.evaluation import nearest as module
from hf_zhclip.evaluation.nearest import nearest


def sorted_by_score(queries, pool, k):
    """Row numbers by scores of float64 that are rounded to float32; Python's sort keeps the order of equal scores."""
    found = []
    for query in queries.double():
        scores = [float((vector * query).sum().float()) for vector in pool.double()]
        found.append(sorted(range(len(pool)), key=lambda row, scores=scores: -scores[row])[:k])
    return found


@st.composite
def problems(draw):
    """Few distinct whole numbers, so that most scores tie, and most vectors stand more than once."""
    dim, pool, queries = draw(st.integers(1, 4)), draw(st.integers(1, 60)), draw(st.integers(1, 5))
    seed, largest = draw(st.integers(0, 10**6)), draw(st.integers(1, 3))
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randint(-largest, largest + 1, (n, dim), generator=generator).float() for n in (queries, pool)]
    return *made, draw(st.integers(1, pool)), draw(st.integers(1, 9))


@settings(max_examples=150, deadline=None)
@given(problems())
def test_ties_and_duplicates_keep_the_order_of_the_pool_whatever_the_blocks_are(problem):
    queries, pool, k, block = problem
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "POOL_BLOCK", block)
        patch.setattr(module, "QUERY_BLOCK", 2)
        patch.setattr(module, "MOST_SCORES", 40 * block)
        assert nearest(queries, pool, k).tolist() == sorted_by_score(queries, pool, k)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 80), st.sampled_from([0, 1e-7, 1e-3, 1.0]))
def test_near_duplicates_are_ordered_as_in_float64(seed, size, spread):
    generator = torch.Generator().manual_seed(seed)
    pool = torch.randn(1, 64, generator=generator) + spread * torch.randn(size, 64, generator=generator)
    queries = torch.randn(3, 64, generator=generator)
    scores = (pool.double() @ queries.double().T).T.float()
    wanted = scores.sort(descending=True, stable=True).indices[:, : min(10, size)]
    assert torch.equal(nearest(queries, pool, min(10, size)), wanted)


def test_many_equal_vectors_at_the_end_of_a_large_pool_do_not_hide_the_first():
    pool = torch.zeros(40_000, 2)
    pool[100:] = torch.tensor([1.0, 1.0])
    assert nearest(torch.ones(1, 2), pool, 3).tolist() == [[100, 101, 102]]


def test_scores_that_overflow_float32_are_compared_in_the_order_of_the_pool():
    pool = torch.full((50, 2), 1e30)
    pool[7] = torch.tensor([1e30, -1e30])
    assert nearest(torch.full((1, 2), 1e30), pool, 10).tolist() == [[0, 1, 2, 3, 4, 5, 6, 8, 9, 10]]


def test_no_query_gives_no_row():
    assert nearest(torch.empty(0, 4), torch.ones(3, 4), 2).shape == (0, 2)
