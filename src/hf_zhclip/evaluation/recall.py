"""Recall at 1, 5 and 10 by cn_clip's rules.

Source: cn_clip/eval/evaluation.py and evaluation_tr.py. A query is found at k if any of its answers is among the first
k predictions. The mean recall is the mean of the three values.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from ..data.split import Id

RANKS = (1, 5, 10)
DEPTH = max(RANKS)


@dataclass(frozen=True)
class Recall:
    """Recall in percent, over `queries` queries.

    `unanswered` counts queries without any answer: a blind test split has only such queries. They count as misses if
    they are among the `queries`.
    """

    r1: float
    r5: float
    r10: float
    queries: int
    unanswered: int

    @property
    def mean_recall(self) -> float:
        return (self.r1 + self.r5 + self.r10) / len(RANKS)

    def to_json(self) -> dict[str, float]:
        """The four values, as `zhclip evaluate --json` prints them."""
        return {"r1": self.r1, "r5": self.r5, "r10": self.r10, "mean_recall": self.mean_recall}

    def to_cn_clip(self) -> dict[str, Any]:
        """The JSON that cn_clip's `evaluation.py` writes."""
        return {
            "success": True,
            "score": self.mean_recall,
            "scoreJson": {"score": self.mean_recall, **self.to_json()},
        }


Answers = Mapping[Id, Sequence[Id]]
"""By query, the right ids."""


def recall(predicted: Mapping[Id, Sequence[Id]], answers: Answers, *, as_cn_clip: bool = False) -> Recall:
    """Scores the predictions of all queries that have answers.

    Args:
        predicted: by query, the ids of the pool, the best first; at least the first ten, or the whole pool.
        answers: by query, the right ids.
        as_cn_clip: counts a query without answers as a miss, as cn_clip does.

    Raises:
        KeyError: a query of `answers` has no prediction.
        ValueError: no query is left to score.
    """
    unanswered = sum(not right for right in answers.values())
    scored = {query: right for query, right in answers.items() if right or as_cn_clip}
    if not scored:
        raise ValueError("there is no query with an answer")
    places = [_place(predicted[query], set(right)) for query, right in scored.items()]
    r1, r5, r10 = (100 * sum(place < rank for place in places) / len(scored) for rank in RANKS)
    return Recall(r1, r5, r10, len(scored), unanswered)


def _place(predicted: Sequence[Id], right: Set[Id]) -> int:
    """The first place of a right id, from 0; DEPTH if there is none among the first ten."""
    return next((place for place, each in enumerate(predicted[:DEPTH]) if each in right), DEPTH)


def turned(answers: Answers) -> dict[Id, list[Id]]:
    """The answers of the other direction, in the order in which they are first named.

    Source: cn_clip/eval/transform_ir_annotation_to_tr.py. A picture that no text names is no query.
    """
    back: dict[Id, list[Id]] = {}
    for query, right in answers.items():
        for each in right:
            back.setdefault(each, []).append(query)
    return back
