"""Retrieval in both directions: features or predictions -> recall."""

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import InputError
from .files import OTHER, Features, Side, Texts
from .nearest import nearest
from .recall import DEPTH, Answers, Recall, recall, turned

NAMES = {"text": "text_to_image", "image": "image_to_text"}


@dataclass(frozen=True)
class Retrieval:
    """Recall in both directions."""

    text_to_image: Recall
    image_to_text: Recall

    def to_json(self) -> dict[str, dict[str, float]]:
        """Percent, as `zhclip evaluate --json` prints it."""
        return {name: getattr(self, name).to_json() for name in NAMES.values()}


def predictions(queries: Features, pool: Features) -> dict[int, list[int]]:
    """By query, the ids of its ten nearest vectors in the pool (the whole pool if it is smaller), the best first."""
    found = nearest(queries.vectors, pool.vectors, min(DEPTH, len(pool.ids))).tolist()
    return {query: [pool.ids[row] for row in rows] for query, rows in zip(queries.ids, found, strict=True)}


def retrieval(
    texts: Features,
    images: Features,
    split: Texts,
    *,
    as_cn_clip: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> Retrieval:
    """Scores features against a split's texts and the pictures that belong to them.

    Args:
        as_cn_clip: counts a text without pictures as a miss, as cn_clip does; else it is left out and told.
        tell: called with one line about everything that was left out.

    Raises:
        InputError: a text or a picture has no feature, or no text of the split names a picture.
    """
    check(texts, images, split)
    sides: dict[Side, Features] = {"text": texts, "image": images}
    answers: dict[Side, Answers] = {"text": split.images, "image": turned(split.images)}
    if len(images.ids) < DEPTH or len(texts.ids) < DEPTH:
        tell(f"The pool is small ({len(images.ids)} pictures, {len(texts.ids)} texts): recall at 10 says little.")
    scored = {
        NAMES[side]: recall(
            predictions(_only(sides[side], answers[side]), sides[OTHER[side]]), answers[side], as_cn_clip=as_cn_clip
        )
        for side in sides
    }
    if left := scored["text_to_image"].unanswered:
        tell(f"{left} texts name no picture: {'they count as misses, as in cn_clip' if as_cn_clip else 'left out'}.")
    return Retrieval(**scored)


def check(texts: Features, images: Features, split: Texts) -> None:
    """Refuses features that do not belong to the split, before anything is computed.

    Raises:
        InputError: see `retrieval`.
    """
    if texts.vectors.shape[1] != images.vectors.shape[1]:
        raise InputError(
            f"The texts' features have {texts.vectors.shape[1]} numbers and the pictures' {images.vectors.shape[1]}. "
            "Compute both with the same model."
        )
    if not any(split.images.values()):
        raise InputError(
            "No text names a picture: this is a blind test split, which cannot be scored. Use the validation split."
        )
    _check_known("text_id", split.images, texts, "a feature")
    _check_known("image_id", (each for ids in split.images.values() for each in ids), images, "a feature")


def _check_known(field, wanted, features: Features, what: str) -> None:
    known = set(features.ids)
    if missing := sorted({each for each in wanted if each not in known}):
        some = ", ".join(map(str, missing[:5])) + (" …" if len(missing) > 5 else "")
        raise InputError(f"{len(missing)} ids have no {what}: {field} {some}. Take both files from the same split.")


def _only(features: Features, answers: Answers) -> Features:
    """The features of those ids that are queries."""
    rows = [row for row, each in enumerate(features.ids) if each in answers]
    return Features([features.ids[row] for row in rows], features.vectors[rows])
