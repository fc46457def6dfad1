"""OpenAI's own package."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.functional import normalize, pad

from ...words import Words
from ..reference.pictures import CLIP
from ..witness import Facts, Offer
from .common import Tensors, built_from, computing_in

NAME = Words("OpenAI's clip", "OpenAI 的 clip")
SCALARS = ("input_resolution", "context_length", "vocab_size")
"""Buffers in the archives beside the weights."""


def original(tensors: Tensors, facts: Facts) -> Offer | None:
    """The witness from the package clip, if it is installed."""
    try:
        from clip import clip as peer
        from clip.model import build_model
    except (ImportError, RuntimeError):  # torchvision raises RuntimeError if it does not match torch
        return None
    weights = {key: tensor.float() for key, tensor in tensors.items() if key not in SCALARS}
    with built_from("the shapes", NAME):
        # build_model rounds weights to 16 bits. OpenAI's archives have 16 bits; other weights are restored here.
        model = build_model(dict(weights)).float()
        model.load_state_dict(weights, strict=True)

    def encode_text(ids: torch.Tensor) -> torch.Tensor:
        # The package accepts only texts of the full length.
        padded = pad(ids, (0, model.context_length - ids.shape[1]))
        return normalize(model.encode_text(padded), dim=-1)

    return Offer(
        name=NAME,
        level="peer",
        computing_in=computing_in(model),
        encode_text=encode_text,
        encode_image=lambda pixels: normalize(model.encode_image(pixels), dim=-1),
        token_ids=_ids(peer, facts),
        pixels=peer._transform(facts.image_size) if facts.how == CLIP else None,
        logit_scale=lambda: tensors["logit_scale"].item(),
    )


def _ids(peer: Any, facts: Facts) -> Callable[[Sequence[str]], list[list[int]]] | None:
    """The package's `tokenize`; None if the vocabulary is not the package's own."""
    if [tuple(pair) for pair in facts.vocab.merges] != list(peer._tokenizer.bpe_ranks):
        return None

    def token_ids(texts: Sequence[str]) -> list[list[int]]:
        rows = peer.tokenize(list(texts), facts.context_length, truncate=True).tolist()
        return [row[: row.index(max(row)) + 1] for row in rows]

    return token_ids
