"""Recall over a whole split while a model trains."""

from ..data import Split
from ..evaluation.encoding import Encoder, encode_split, texts_of
from ..evaluation.retrieval import Retrieval, predict, score


def recall_of_split(encoder: Encoder, data: Split) -> Retrieval:
    """Recall in both directions; every text and picture of the split is in the pool.

    Raises:
        InputError: the split is blind, or a picture is broken.
    """
    split = texts_of(data)
    return score(predict(*encode_split(encoder, data), split), split)
