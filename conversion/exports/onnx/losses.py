"""What a lower precision loses on the user's own texts and pictures: cosines to the repo's vectors, and neighbours."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from PIL import Image

from hf_zhclip.data.reading import read_splits
from hf_zhclip.data.split import Pictures
from hf_zhclip.evaluation.encoding import counted
from hf_zhclip.evaluation.nearest import nearest
from hf_zhclip.inference.embedder import batches

from ...errors import InputError
from ...repos.repo import Repo
from .towers import Tower, Vectors

LEAST_ITEMS = 200
"""The texts, and the pictures, that a loss is measured on at least."""

NEIGHBOURS = 10

BATCH = 32
"""The texts or pictures of a batch: `zhclip_onnx.py`'s own number. Dynamic int8 has one range for a batch."""


@dataclass(frozen=True)
class Data:
    """The user's texts, each once, and pictures, which are decoded a batch at a time."""

    place: str
    texts: Sequence[str]
    pictures: Sequence[Pictures]

    def counts(self) -> dict[str, int]:
        """The number of items, by tower."""
        return {"text": len(self.texts), "image": sum(map(len, self.pictures))}

    def inputs(self, tower: Tower, repo: Repo) -> Iterator[dict[str, torch.Tensor]]:
        """A tower's inputs as the repo's processor gives them, a batch after the other."""
        items: Any = (
            self.texts if tower.name == "text" else (picture for _, picture in itertools.chain(*self.pictures))
        )
        for batch in batches(counted(f"Reading {self.place}", items, self.counts()[tower.name]), BATCH):
            yield PREPARED[tower.name](repo, batch)


def _texts(repo: Repo, texts: list[str]) -> dict[str, torch.Tensor]:
    encoded = repo.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    return {name: encoded[name] for name in ("input_ids", "attention_mask")}


def _pictures(repo: Repo, pictures: list[Image.Image]) -> dict[str, torch.Tensor]:
    return {"pixel_values": repo.processor.image_processor(pictures, return_tensors="pt")["pixel_values"]}


PREPARED: Mapping[str, Callable[[Repo, list[Any]], dict[str, torch.Tensor]]] = {"text": _texts, "image": _pictures}
"""By tower, what turns a batch into inputs."""


def read_data(place: str, repo: Repo, option: str, least: int = 1) -> Data:
    """Reads all splits of a place that `hf_zhclip.data` reads.

    Raises:
        InputError: the place holds no data, or fewer than `least` texts or pictures for a tower that the repo has.
    """
    splits = read_splits(place)
    texts = list(dict.fromkeys(text.text for split in splits for text in split.texts))
    data = Data(place, texts, [split.pictures for split in splits])
    counts = data.counts()
    if counts["text"] < least or counts["image"] < least and not repo.is_text_alone:
        raise InputError(
            f"{option} {place} holds {counts['text']} different texts and {counts['image']} pictures; at least "
            f"{least} of each were wanted. Name a folder with more."
        )
    return data


@dataclass(frozen=True)
class Pair:
    """A tower's vectors of the same inputs: `(n, dim)` from the repo in float32, and from the graph."""

    wanted: torch.Tensor
    found: torch.Tensor


@torch.no_grad()
def compare(module: Vectors, tower: Tower, repo: Repo, run: Callable[..., torch.Tensor], data: Data) -> Pair:
    """Embeds the data twice, a batch at a time.

    Args:
        run: the graph: tensors by name -> vectors.
    """
    module = module.float()
    pairs = [(module(*inputs.values()), run(inputs)) for inputs in data.inputs(tower, repo)]
    wanted, found = zip(*pairs, strict=True)
    return Pair(torch.cat(wanted), torch.cat(found))


@dataclass(frozen=True)
class Cosines:
    """A tower's cosines to the repo's own vectors in float32."""

    tower: str
    items: int
    smallest: float
    mean: float


@dataclass(frozen=True)
class Loss:
    """What the user's data lost.

    Attributes:
        agreement: the mean share of a text's nearest pictures that stay among its nearest; None for a tower alone.
    """

    towers: tuple[Cosines, ...]
    neighbours: int
    agreement: float | None

    def to_json(self) -> dict[str, Any]:
        """A value that `json` can write."""
        return asdict(self)

    @property
    def smallest(self) -> float:
        """The smallest cosine."""
        return min(each.smallest for each in self.towers)

    def text(self) -> str:
        """The figures as a part of a sentence."""
        cosines = " and ".join(f"{each.smallest:.6f} ({each.tower}, mean {each.mean:.6f})" for each in self.towers)
        if self.agreement is None:
            return f"the smallest cosine is {cosines}"
        return f"the smallest cosine is {cosines}, and {self.agreement:.4f} of the {NEIGHBOURS} nearest pictures agree"


def loss(pairs: Mapping[str, Pair]) -> Loss:
    """The loss of the vectors of each tower, by its name."""
    towers = tuple(_cosines(name, pair) for name, pair in pairs.items())
    agreement = _agreement(pairs["text"], pairs["image"]) if "image" in pairs else None
    return Loss(towers, NEIGHBOURS, agreement)


def _cosines(tower: str, pair: Pair) -> Cosines:
    cosines = torch.nn.functional.cosine_similarity(pair.wanted.double(), pair.found.double())
    return Cosines(tower, len(cosines), float(cosines.min()), float(cosines.mean()))


def _agreement(texts: Pair, pictures: Pair) -> float:
    wanted = nearest(texts.wanted, pictures.wanted, NEIGHBOURS)
    found = nearest(texts.found, pictures.found, NEIGHBOURS)
    return float((wanted.unsqueeze(2) == found.unsqueeze(1)).any(2).double().mean())
