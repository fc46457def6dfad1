"""Retrieval in both directions: features -> predictions -> recall."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..data.split import some
from ..errors import InputError
from .files import Features, Side, Texts
from .nearest import nearest
from .recall import DEPTH, RANKS, Answers, Id, Recall, recall, turned

NAMES: Mapping[Side, str] = {"text": "text_to_image", "image": "image_to_text"}
"""The direction in which texts, or pictures, are the queries."""

Predictions = Mapping[Side, Mapping[Id, Sequence[Id]]]
"""For each direction and query, the ids that were found, the best first."""


@dataclass(frozen=True)
class Retrieval:
    """Recall by direction, in percent; a direction without predictions is missing."""

    of: Mapping[Side, Recall]

    def to_json(self) -> dict[str, dict[str, float]]:
        """Percent and the number of queries, as `zhclip evaluate --json` prints them."""
        return {NAMES[side]: {**found.to_json(), "queries": found.queries} for side, found in self.of.items()}

    def text(self) -> str:
        """A table of both directions."""
        heads = [f"{'R@' + str(rank):>7}" for rank in RANKS]
        lines = [f"{'':15}{''.join(heads)}{'mean':>8}{'queries':>10}"]
        for side, found in self.of.items():
            values = "".join(f"{value:7.2f}" for value in (found.r1, found.r5, found.r10))
            lines.append(f"{NAMES[side].replace('_', ' '):15}{values}{found.mean_recall:8.2f}{found.queries:10,}")
        return "\n".join(lines)


def predict(texts: Features, images: Features, split: Texts) -> dict[Side, dict[Id, list[Id]]]:
    """The ten nearest of each text and of each picture, in both directions.

    Raises:
        InputError: a text or a picture of the split has no feature, or the two kinds differ in length.
    """
    check(texts, images, split)
    return {"text": nearest_ids(texts, images), "image": nearest_ids(images, texts)}


def nearest_ids(queries: Features, pool: Features) -> dict[Id, list[Id]]:
    """By query, the ids of its ten nearest vectors in the pool (the whole pool if it is smaller), the best first."""
    found = nearest(queries.vectors, pool.vectors, min(DEPTH, len(pool.ids))).tolist()
    return {query: [pool.ids[row] for row in rows] for query, rows in zip(queries.ids, found, strict=True)}


def score(
    predicted: Predictions,
    split: Texts,
    *,
    as_cn_clip: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> Retrieval:
    """Scores predictions against the pictures that a split's texts name.

    Args:
        as_cn_clip: counts a text without pictures as a miss, as cn_clip does; else the text is left out and told.
        tell: called with one line about what was left out.

    Raises:
        InputError: a query has no prediction, or no text names a picture.
    """
    check_split(split)
    answers = answers_of(split)
    for side, found in predicted.items():
        _check_known(f"{side}_id", answers[side], found, "prediction")
    scored = {side: recall(found, answers[side], as_cn_clip=as_cn_clip) for side, found in predicted.items()}
    if left := sum(not right for right in split.images.values()):
        tell(f"{left} texts name no picture: {'they count as misses, as in cn_clip' if as_cn_clip else 'left out'}.")
    return Retrieval(scored)


def answers_of(split: Texts) -> dict[Side, Answers]:
    """For each direction, the right ids of each query."""
    return {"text": split.images, "image": turned(split.images)}


def tell_small_pool(texts: int, images: int, tell: Callable[[str], None]) -> None:
    """Says that a pool of less than ten makes recall at 10 meaningless; cn_clip refuses to score it."""
    if min(texts, images) < DEPTH:
        tell(f"The pool is small ({images} pictures, {texts} texts): recall at {DEPTH} says little there.")


def tell_equal_texts(split: Texts, tell: Callable[[str], None]) -> None:
    """Says how many texts are equal to a text with other pictures; as in cn_clip, these pictures are wrong answers."""
    of_caption: dict[str, list[frozenset[Id]]] = {}
    for text, images in split.images.items():
        of_caption.setdefault(split.texts[text], []).append(frozenset(images))
    equal = sum(len(each) for each in of_caption.values() if len(set(each)) > 1)
    if equal:
        tell(
            f"{equal} of {len(split.images)} texts are equal to a text with other pictures, which count as wrong "
            "answers, as in cn_clip: recall is lower than among different texts."
        )


def tell_few_predictions(predicted: Predictions, tell: Callable[[str], None]) -> None:
    """Says that queries with fewer than ten predictions are scored; cn_clip refuses to score them."""
    if few := sum(len(found) < DEPTH for each in predicted.values() for found in each.values()):
        tell(f"{few} queries have fewer than {DEPTH} predictions: recall at {DEPTH} says little there.")


def tell_unknown_predictions(predicted: Predictions, split: Texts, tell: Callable[[str], None]) -> None:
    """Says that ids that the split's texts do not know are predicted: they may belong to another split."""
    known = {"text": {each for ids in split.images.values() for each in ids}, "image": split.texts.keys()}
    for side, found in predicted.items():
        if unknown := list(dict.fromkeys(each for ids in found.values() for each in ids if each not in known[side])):
            what = (
                "pictures are predicted that no text names"
                if side == "text"
                else "texts are predicted that do not exist"
            )
            tell(
                f"{len(unknown)} {what}: {some(unknown)}. They count as misses, as in cn_clip. If they belong to "
                "another split, take both files from the same split."
            )


def check_split(split: Texts) -> None:
    """Refuses a blind split.

    Raises:
        InputError: no text names a picture.
    """
    if not any(split.images.values()):
        raise InputError(
            "No text names a picture: this is a blind test split, which cannot be scored. Use the validation split."
        )


def check(texts: Features, images: Features, split: Texts) -> None:
    """Refuses features that do not belong to the split, before anything is computed.

    Raises:
        InputError: see `predict`.
    """
    check_split(split)
    if texts.vectors.shape[1] != images.vectors.shape[1]:
        raise InputError(
            f"The texts' features have {texts.vectors.shape[1]} numbers and the pictures' {images.vectors.shape[1]}. "
            "Compute both with the same model."
        )
    _check_known("text_id", split.images, texts.ids, "feature")
    _check_known("image_id", (each for ids in split.images.values() for each in ids), images.ids, "feature")


def _check_known(field: str, wanted: Iterable[Id], there: Iterable[Id], what: str) -> None:
    known = set(there)
    if missing := list(dict.fromkeys(each for each in wanted if each not in known)):
        some = ", ".join(map(str, missing[:5])) + (" …" if len(missing) > 5 else "")
        raise InputError(f"{len(missing)} ids have no {what}: {field} {some}. Take both files from the same split.")
