"""Recall over a whole split while a model trains."""

from ..data import Split
from ..evaluation.encoding import Encoder, encode_pictures, encode_texts
from ..evaluation.files import Texts
from ..evaluation.retrieval import Retrieval, predict, score


def recall_of_split(encoder: Encoder, split: Split) -> Retrieval:
    """Recall in both directions; every text and picture of the split is in the pool.

    Raises:
        InputError: the split is blind, or a picture is broken.
    """
    given = Texts({text.id: text.text for text in split.texts}, {text.id: text.image_ids for text in split.texts})
    texts = encode_texts(encoder, list(given.texts), list(given.texts.values()))
    pictures = encode_pictures(encoder, split.image_ids, (picture for _, picture in split.pictures))
    return score(predict(texts, pictures, given), given)
