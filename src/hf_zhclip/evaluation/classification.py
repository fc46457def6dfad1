"""Zero-shot classification: class vectors from templates, accuracy, confusion.

Source: cn_clip/eval/zeroshot_evaluation.py. A class's vector is the mean of the normalised vectors of its templates,
normalised again. A picture's class is the one with the largest cosine.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.nn.functional import normalize

from ..budget import check_regular
from ..data.split import opened
from ..errors import InputError
from ..json_files import brief
from ..paths import folders_in
from ..steady import whole
from ..telling import shown
from .encoding import Encoder, encode_pictures
from .lists import GAP

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Those of torchvision's ImageFolder, which cn_clip's evaluation reads its pictures with."""

SCALE = 100.0
"""The factor of the cosines in cn_clip's softmax, whatever the model's own factor is."""

RANKS = (1, 5)
WORST = 10
"""The number of confusions that are told."""


@dataclass(frozen=True)
class Labelled:
    """Pictures by class: `classes` are the folders' names in order; picture i is of class `labels[i]`."""

    classes: list[str]
    paths: list[Path]
    labels: list[int]

    def pictures(self, to_rgb: bool) -> Iterator[Image.Image]:
        """Decodes the pictures one by one.

        Args:
            to_rgb: convert to RGB before anything else, as ImageFolder does.

        Raises:
            InputError: a file is no picture.
        """
        for path in self.paths:
            try:
                check_regular(path, "a picture")  # a pipe would block the reader
                picture = opened(whole(path), str(path))
            except InputError as error:
                raise InputError(f"{error} Remove it from its class folder, or replace it.") from error
            yield picture.convert("RGB") if to_rgb else picture


def read_labelled(folder: Path) -> Labelled:
    """Lists a folder that has a folder for each class, in the order of ImageFolder: sorted by name.

    Raises:
        InputError: there is no class folder, or one without pictures.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; a folder with a folder of pictures for each class was wanted.")
    classes = sorted(name for name in folders_in(folder) if not name.startswith("."))
    if not classes:
        raise InputError(f"{folder} holds no folders; a folder of pictures for each class was wanted.")
    paths, labels = [], []
    for label, name in enumerate(classes):
        found = list(_pictures_under(folder / name))
        if not found:
            raise InputError(
                f"{folder / name} holds no picture ({', '.join(SUFFIXES)}); each class folder needs one or more."
            )
        paths += found
        labels += [label] * len(found)
    return Labelled(classes, paths, labels)


def _order_told(classes: Sequence[str]) -> str | None:
    """A sentence where folders are numbers in another order: 10 comes before 2 by name, which a list may not mean."""
    if not all(name.isdecimal() for name in classes) or list(classes) == sorted(classes, key=int):
        return None
    return (
        f"The class folders are numbers, and are taken in the order of their names, as ImageFolder takes them: "
        f"{', '.join(classes[:4])} … Leading zeros make both orders the same."
    )


def _pictures_under(folder: Path) -> Iterator[Path]:
    for place, _, names in sorted(os.walk(folder, followlinks=True)):
        for name in sorted(names):
            if name.lower().endswith(SUFFIXES):
                yield Path(place) / name


@dataclass(frozen=True)
class Classification:
    """The cosines `(pictures, classes)` and labels `(pictures,)` of a zero-shot classification."""

    names: list[str]
    labels: torch.Tensor
    cosines: torch.Tensor

    @cached_property
    def confusion(self) -> torch.Tensor:
        """`(classes, classes)`, counts: a row for each label, a column for each class that was found."""
        count = len(self.names)
        pairs = self.labels * count + self.cosines.argmax(dim=1)
        return torch.bincount(pairs, minlength=count * count).view(count, count)

    @cached_property
    def places(self) -> torch.Tensor:
        """The place of each picture's label among the classes `(pictures,)`, from 0; equal cosines keep their order.

        cn_clip's `topk` leaves the order of equal cosines open.
        """
        own = self.cosines.gather(1, self.labels[:, None])
        earlier = torch.arange(len(self.names)) < self.labels[:, None]
        return ((self.cosines > own) | ((self.cosines == own) & earlier)).sum(dim=1)

    def top(self, k: int) -> float:
        """Percent of pictures whose class is among the `k` best; all classes if there are fewer."""
        return 100 * (self.places < k).double().mean().item()

    @property
    def mean_per_class(self) -> float:
        """The mean over the classes of each class's own accuracy, in percent."""
        counts = self.confusion.double()
        return 100 * (counts.diag() / counts.sum(dim=1)).mean().item()

    def to_json(self) -> dict[str, Any]:
        """Percent, as `zhclip evaluate --json` prints it."""
        top = {f"top{k}": self.top(k) for k in RANKS}
        return {"classification": {**top, "mean_per_class": self.mean_per_class, "pictures": len(self.labels)}}

    def text(self) -> str:
        """The accuracies, and the classes that are most often taken for each other."""
        lines = [f"top {k:<13}{self.top(k):7.2f} %" for k in RANKS]
        lines += [f"mean per class   {self.mean_per_class:7.2f} %", f"pictures         {len(self.labels):7,}"]
        if worst := self.worst():
            lines.append("most often taken for another class:")
            lines += [f"  {number:5,}  {shown(label)} -> {shown(found)}" for label, found, number in worst]
        return "\n".join(lines)

    def worst(self) -> list[tuple[str, str, int]]:
        """The most frequent confusions: label, class that was found, number of pictures."""
        wrong = self.confusion.clone().fill_diagonal_(0)
        most = wrong.flatten().topk(min(WORST, wrong.numel()))
        return [
            (self.names[place // len(self.names)], self.names[place % len(self.names)], number)
            for number, place in zip(most.values.tolist(), most.indices.tolist(), strict=True)
            if number
        ]


def classify(
    encoder: Encoder,
    labelled: Labelled,
    names: Sequence[str],
    templates: Sequence[str],
    tell: Callable[[str], None] = lambda line: None,
) -> Classification:
    """Classifies the pictures of a folder; `names[i]` is the name of the i-th class folder.

    Raises:
        InputError: there are more or fewer names than class folders, or a file is no picture.
    """
    check_names(labelled, names)
    if order := _order_told(labelled.classes):
        tell(order)
    if doubled := sorted({name for name in names if list(names).count(name) > 1}):
        tell(f"The same name stands for several classes, which then tie: {brief(doubled)}.")
    vectors = class_vectors(encoder, names, templates)
    pictures = labelled.pictures(to_rgb=encoder.as_cn_clip)
    features = encode_pictures(encoder, range(len(labelled.paths)), pictures)
    return Classification(list(names), torch.tensor(labelled.labels), features.vectors @ vectors.T)


def check_names(labelled: Labelled, names: Sequence[str]) -> None:
    """Refuses a list of names that does not fit the folders."""
    if len(names) != len(labelled.classes):
        raise InputError(
            f"found {len(names)} class names for {len(labelled.classes)} class folders "
            f"({brief(labelled.classes[0])} to {brief(labelled.classes[-1])}); a name for each folder, in the order "
            "of the folders, was wanted."
        )


def class_vectors(encoder: Encoder, names: Sequence[str], templates: Sequence[str]) -> torch.Tensor:
    """L2-normalised vectors of the classes, `(classes, dim)`."""
    texts = (template.replace(GAP, name) for name in names for template in templates)
    vectors = encoder.texts(texts).view(len(names), len(templates), -1)
    return normalize(normalize(vectors, dim=-1).mean(dim=1), dim=-1)


def elevater(
    found: Classification, repo: str, dataset: str, parameters: int, visual_parameters: int
) -> dict[str, Any]:
    """The JSON that cn_clip's evaluation writes for the ELEVATER benchmark: probabilities with six digits.

    Source: the end of cn_clip/eval/zeroshot_evaluation.py; `model_name` is the repo's instead of `CN-CLIP-…`.
    """
    probabilities = (SCALE * found.cosines).softmax(dim=-1)
    return {
        "model_name": repo,
        "dataset_name": dataset,
        "num_trainable_params": 0,
        "num_params": parameters,
        "num_visual_params": visual_parameters,
        "num_backbone_params": parameters,
        "n_shot": 0,
        "rnd_seeds": [123],
        "predictions": [[[round(value, 6) for value in row] for row in probabilities.tolist()]],
    }
