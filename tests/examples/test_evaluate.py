"""The figures of the demo, on matrices whose answers are known by hand."""

import pytest
import torch

from hf_zhclip.examples import evaluate, scenes


def test_ranks_count_the_candidates_above_the_right_one():
    scores = torch.tensor([[0.9, 0.1, 0.2], [0.5, 0.3, 0.4], [0.3, 0.2, 0.1]])
    assert evaluate.ranks(scores, [0, 2, 2]).tolist() == [0, 1, 2]


def test_a_tie_is_a_miss():
    assert evaluate.ranks(torch.zeros(2, 4), [0, 3]).tolist() == [3, 3]


@pytest.mark.parametrize("k, share", [(1, 0.25), (2, 0.5), (5, 0.75), (10, 1.0)])
def test_hit_rate_is_the_share_of_ranks_below_k(k, share):
    assert evaluate.hit_rate(torch.tensor([0, 1, 4, 9]), k) == share


def test_similarity_is_the_cosine_of_normalised_rows():
    queries = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    candidates = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.8, 0.6]])
    expected = torch.tensor([[0.0, 1.0, 0.8], [0.8, 0.6, 0.96]])
    torch.testing.assert_close(evaluate.similarity(queries, candidates), expected)


def test_chance_is_one_in_the_captions_and_k_in_the_pictures():
    assert evaluate.Accuracy("objects", "seen", 100, 50, 0.9).chance == 0.02
    recall = evaluate.Recall("seen", 10, 40, {1: 0.5})
    assert (recall.chance(1), recall.chance(10), recall.chance(50)) == (0.025, 0.25, 1.0)


class Oracle:
    """Knows each picture by its bytes and gives it the direction of its caption, or for `wrong` ones of nothing."""

    def __init__(self, wrong: frozenset[str] = frozenset()):
        pictures = [scene for split in scenes.SPLITS for task in scenes.held_out_tasks(split) for scene in task.scenes]
        self.told = {scenes.draw(scene).tobytes(): scenes.caption(scene.facts) for scene in pictures}
        self.wrong = wrong
        self.directions: dict[str, int] = {}

    def encode_text(self, texts):
        rows = torch.zeros(len(texts), 2000)
        for row, text in zip(rows, texts, strict=True):
            row[self.directions.setdefault(text, len(self.directions))] = 1.0
        return rows

    def encode_image(self, images):
        told = [self.told[image.tobytes()] for image in images]
        return self.encode_text(["nothing" if text in self.wrong else text for text in told])


def test_an_oracle_reaches_one_everywhere():
    oracle = Oracle()
    for split in scenes.SPLITS:
        assert [result.top1 for result in evaluate.zero_shot(oracle, split)] == [1.0] * 4
    for result in evaluate.retrieval(evaluate.search(oracle)):
        assert result.at == {1: 1.0, 5: 1.0, 10: 1.0}


def test_an_oracle_that_misses_one_object_loses_its_share_and_no_more():
    colour, shape = scenes.UNSEEN[0]
    missed = scenes.caption(scenes.Facts("object", ((colour, shape),)))
    by_task = {result.task: result.top1 for result in evaluate.zero_shot(Oracle(frozenset({missed})), "unseen")}
    assert by_task == {"objects": 7 / 8, "places": 1.0, "counts": 1.0, "relations": 1.0}


def test_recall_is_kept_apart_by_split():
    unseen = frozenset(scenes.caption(scene.facts) for scene, split in scenes.held_out_gallery() if split == "unseen")
    seen, other = evaluate.retrieval(evaluate.search(Oracle(unseen)))
    assert (seen.split, seen.at[10], other.split, other.at[10]) == ("seen", 1.0, "unseen", 0.0)


def test_embeddings_that_are_all_alike_reach_nothing():
    class Constant:
        def encode_text(self, texts):
            return torch.ones(len(texts), 1)

        encode_image = encode_text

    assert [result.top1 for result in evaluate.zero_shot(Constant(), "unseen")] == [0.0] * 4
