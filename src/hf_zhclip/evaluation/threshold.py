"""Which cosine separates texts that fit a picture from texts that do not."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..budget import check_regular
from ..errors import InputError
from ..json_files import Field, check_fields, read_json_lines
from .files import Features, Id
from .recall import turned


@dataclass(frozen=True)
class LabelledPair:
    """A picture's path, a text, and whether they fit."""

    image: Path
    text: str
    fits: bool


def holds_pairs(place: str) -> bool:
    """Whether a place is a file of labelled pairs, which say `fits`; the lines of a file of captions do not.

    Raises:
        InputError: a line of a .jsonl is no JSON object.
    """
    path = Path(place)
    return path.suffix == ".jsonl" and path.is_file() and any("fits" in line for _, line in read_json_lines(path))


def read_pairs(path: Path) -> list[LabelledPair]:
    """Reads lines of `{"image": PATH, "text": …, "fits": true or false}`; paths start at the file's folder.

    Raises:
        InputError: a line is wrong, a picture does not exist, or all pairs have the same label.
    """
    wanted = {"image": Field((str,)), "text": Field((str,)), "fits": Field((bool,))}
    pairs = []
    for where, line in read_json_lines(path):
        check_fields(line, wanted, where)
        image = path.parent / line["image"]
        try:
            check_regular(image, "a picture")
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        pairs.append(LabelledPair(image, line["text"], line["fits"]))
    for kind, what in ((True, "fit"), (False, "do not fit")):
        if not any(pair.fits is kind for pair in pairs):
            raise InputError(f"{path} has no pairs that {what}; pairs of both kinds were wanted.")
    return pairs


@dataclass(frozen=True)
class Threshold:
    """Cosines of pairs, `(n,)`, sorted with the largest first, and whether each pair fits.

    `precision` and `recall` have a value for each distinct cosine `at`: of taking all pairs with at least that cosine.
    """

    cosines: torch.Tensor
    fits: torch.Tensor
    at: torch.Tensor
    precision: torch.Tensor
    recall: torch.Tensor

    @property
    def f1(self) -> torch.Tensor:
        return 2 * self.precision * self.recall / (self.precision + self.recall).clamp(min=1e-12)

    @property
    def best(self) -> int:
        """The place of the largest F1; of equal ones, the largest cosine."""
        return int(self.f1.argmax())

    @property
    def cosine(self) -> float:
        """The chosen point: halfway to the next smaller cosine, so that rounding moves no pair across it."""
        below = self.at[self.best + 1] if self.best + 1 < len(self.at) else self.at[self.best]
        return float((self.at[self.best] + below) / 2)

    @property
    def auc(self) -> float:
        """The area under the ROC curve: how often a pair that fits has a larger cosine than another; a tie is half."""
        ranks = _mean_ranks(self.cosines)
        positive, negative = int(self.fits.sum()), int((~self.fits).sum())
        return float((ranks[self.fits].sum() - positive * (positive + 1) / 2) / (positive * negative))

    @property
    def average_precision(self) -> float:
        steps = self.recall.diff(prepend=torch.zeros(1, dtype=torch.float64))
        return float((steps * self.precision).sum())

    def text(self) -> str:
        """The chosen threshold and what it gives."""
        values = self.to_json()["threshold"]
        names = {"auc": "AUC", "f1": "F1", "average_precision": "average precision"}
        lines = [f"{names.get(name, name):18}{value:8.4f}" for name, value in list(values.items())[:6]]
        pairs = f"{values['fitting_pairs']:,} pairs that fit, {values['other_pairs']:,} that do not"
        return "\n".join([*lines, f"{pairs}. A cosine is no probability; this threshold holds for data like these."])

    def to_json(self) -> dict[str, Any]:
        """As `zhclip evaluate --threshold --json` prints it; cosines and shares, none in percent."""
        return {
            "threshold": {
                "cosine": self.cosine,
                "precision": float(self.precision[self.best]),
                "recall": float(self.recall[self.best]),
                "f1": float(self.f1[self.best]),
                "auc": self.auc,
                "average_precision": self.average_precision,
                "fitting_pairs": int(self.fits.sum()),
                "other_pairs": int((~self.fits).sum()),
            }
        }


def fit(cosines: torch.Tensor, fits: torch.Tensor) -> Threshold:
    """Fits a threshold to pairs.

    Args:
        cosines: `(n,)`.
        fits: `(n,)`, bool; both values must occur.
    """
    cosines, order = cosines.double().sort(descending=True, stable=True)
    fits = fits[order]
    last = torch.cat([cosines[1:] != cosines[:-1], torch.ones(1, dtype=torch.bool)])  # of equal cosines
    hits = fits.double().cumsum(0)[last]
    taken = torch.arange(1, len(cosines) + 1, dtype=torch.float64)[last]
    return Threshold(cosines, fits, cosines[last], hits / taken, hits / fits.sum())


def _mean_ranks(values: torch.Tensor) -> torch.Tensor:
    """Ranks from 1 for the smallest value; equal values share their mean rank."""
    _, places, counts = values.unique(return_inverse=True, return_counts=True)
    ends = counts.cumsum(0).double()
    return (ends - (counts.double() - 1) / 2)[places]


def pairs_of_split(
    answers: Mapping[Id, Sequence[Id]], texts: Mapping[Id, str], seed: int
) -> tuple[list[tuple[Id, Id]], list[bool]]:
    """A split's own pairs of text and picture, and as many pairs of a text with a picture of other texts.

    The picture of a pair that does not fit is drawn at random. No text is paired with a picture that an equal text
    names.
    """
    of_caption: dict[str, set[Id]] = {}
    for text, images in answers.items():
        of_caption.setdefault(texts[text], set()).update(images)
    pool = list(turned(answers))
    own = [(text, image) for text, images in answers.items() for image in dict.fromkeys(images)]
    draw = random.Random(seed)
    # Where most pictures are right, a draw rarely finds another: the others are listed, once for each caption.
    listed = {
        caption: [image for image in pool if image not in right]
        for caption, right in of_caption.items()
        if 2 * len(right) > len(pool)
    }
    others = []
    for text, _ in own:
        right, candidates = of_caption[texts[text]], listed.get(texts[text], pool)
        if candidates:
            while (image := draw.choice(candidates)) in right:
                pass
            others.append((text, image))
    if not others:
        raise InputError(
            "Every text names every picture, so that no pair is left that does not fit. Give a file of labelled pairs."
        )
    return own + others, [True] * len(own) + [False] * len(others)


def cosines_of(pairs: Sequence[tuple[Id, Id]], texts: Features, images: Features) -> torch.Tensor:
    """The cosines of pairs of a text id and a picture id, `(pairs,)`."""
    row_of_text = {each: row for row, each in enumerate(texts.ids)}
    row_of_image = {each: row for row, each in enumerate(images.ids)}
    left = texts.vectors[[row_of_text[text] for text, _ in pairs]].double()
    right = images.vectors[[row_of_image[image] for _, image in pairs]].double()
    return torch.nn.functional.cosine_similarity(left, right, dim=-1)
