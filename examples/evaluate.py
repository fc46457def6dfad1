"""Zero-shot accuracy and retrieval recall of any dual encoder on the held-out scenes, beside chance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from PIL import Image

from hf_zhclip.examples import scenes

TOP = (1, 5, 10)  # the k of recall@k


class Encoder(Protocol):
    """What is evaluated. Both return one L2-normalised row an input, (n, projection_dim)."""

    def encode_text(self, texts: Sequence[str]) -> torch.Tensor: ...

    def encode_image(self, images: Sequence[Image.Image]) -> torch.Tensor: ...


@dataclass(frozen=True)
class Accuracy:
    """Share of pictures whose own caption scores highest; chance is one in `captions`."""

    task: str
    split: str
    pictures: int
    captions: int
    top1: float

    @property
    def chance(self) -> float:
        return 1 / self.captions


@dataclass(frozen=True)
class Recall:
    """Share of captions that find their own picture among the first k, k -> share; chance is k in `pictures`."""

    split: str
    queries: int
    pictures: int
    at: dict[int, float]

    def chance(self, k: int) -> float:
        return min(1.0, k / self.pictures)


def similarity(queries: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    """Cosines (q, c) of L2-normalised rows (q, d) and (c, d)."""
    return queries @ candidates.T


def ranks(scores: torch.Tensor, answers: Sequence[int]) -> torch.Tensor:
    """Candidates that score at least as high as the right one, per query: 0 is a hit at 1.

    A tie counts against the query, so that embeddings that are all alike reach 0 and not 100 %.

    Args:
        scores: (q, c).
        answers: q positions in the c candidates.
    """
    own = scores.gather(1, torch.tensor(list(answers), device=scores.device)[:, None])
    return (scores >= own).sum(dim=1) - 1


def hit_rate(rank: torch.Tensor, k: int) -> float:
    """Share of ranks (q,) below k."""
    return (rank < k).double().mean().item()


def zero_shot(encoder: Encoder, split: str) -> list[Accuracy]:
    """Classify the held-out pictures of one split ("seen" or "unseen") in each of the four tasks."""
    results = []
    for task in scenes.held_out_tasks(split):
        texts = encoder.encode_text([scenes.caption(facts) for facts in task.captions])
        images = encoder.encode_image([scenes.draw(scene) for scene in task.scenes])
        top1 = hit_rate(ranks(similarity(images, texts), task.answers), 1)
        results.append(Accuracy(task.name, split, len(task.scenes), len(task.captions), top1))
    return results


@dataclass(frozen=True)
class Search:
    """Cosines (n, n) of n captions with the n pictures of the gallery; picture i is the one that caption i tells."""

    gallery: tuple[tuple[scenes.Scene, str], ...]
    scores: torch.Tensor


def search(encoder: Encoder) -> Search:
    """Score each held-out caption against the held-out pictures of both splits together."""
    gallery = scenes.held_out_gallery()
    images = encoder.encode_image([scenes.draw(scene) for scene, _ in gallery])
    texts = encoder.encode_text([scenes.caption(scene.facts) for scene, _ in gallery])
    return Search(gallery, similarity(texts, images))


def retrieval(found: Search) -> list[Recall]:
    """Recall of the captions of each split, among the pictures of both."""
    rank = ranks(found.scores, range(len(found.gallery)))
    results = []
    for split in scenes.SPLITS:
        own = rank[torch.tensor([name == split for _, name in found.gallery], device=rank.device)]
        results.append(Recall(split, len(own), len(found.gallery), {k: hit_rate(own, k) for k in TOP}))
    return results
