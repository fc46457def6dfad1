"""The installed open_clip, built from the open_clip_config.json."""

import importlib
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import torch
from torch.nn.functional import normalize, pad

from ...words import Words
from ..reference.pictures import CLIP
from ..witness import Facts, Offer
from .common import Tensors, built_from, computing_in, loaded


def original(tensors: Tensors, facts: Facts) -> Offer | None:
    """The witness from open_clip's CLIP or CustomTextCLIP."""
    peer = installed()
    if peer is None:
        return None
    build = peer.CustomTextCLIP if "text.positional_embedding" in tensors else peer.CLIP
    with built_from("open_clip's config", peer_name()):
        model = loaded(build(**arguments(facts.config)), without_buffers(tensors))

    def encode_text(ids: torch.Tensor) -> torch.Tensor:
        # open_clip's CLIP accepts only texts of the full length.
        return model.encode_text(pad(ids, (0, model.context_length - ids.shape[1])), normalize=True)

    return Offer(
        name=peer_name(),
        level="peer",
        computing_in=computing_in(model),
        encode_text=encode_text,
        encode_image=lambda each: model.encode_image(each, normalize=True),
        token_ids=_ids(peer, facts),
        pixels=pixels(peer, facts) if facts.how == CLIP else None,
        logit_scale=lambda: tensors["logit_scale"].item(),
    )


def original_image(tensors: Tensors, facts: Facts) -> Offer | None:
    """The witness of an image part: open_clip's image tower alone."""
    peer = installed()
    if peer is None:
        return None
    model = facts.config["model_cfg"]
    build = importlib.import_module(f"{peer.__name__}.model")._build_vision_tower
    own = {key.removeprefix("visual."): value for key, value in tensors.items() if key.startswith("visual.")}
    with built_from("open_clip's config", peer_name()):
        visual = loaded(build(model["embed_dim"], dict(model["vision_cfg"]), bool(model.get("quick_gelu"))), own)
    return Offer(
        name=peer_name(),
        level="peer",
        computing_in=computing_in(visual),
        encode_image=lambda each: normalize(visual(each), dim=-1),
        logit_scale=lambda: tensors["logit_scale"].item(),
    )


def installed() -> ModuleType | None:
    """open_clip, if it is installed and can be imported."""
    try:
        return importlib.import_module("open_clip")
    except (ImportError, RuntimeError):  # torchvision raises RuntimeError if it does not match torch
        return None


def peer_name() -> Words:
    return Words.same(f"open_clip {importlib.metadata.version('open_clip_torch')}")


def arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that open_clip's classes take from a model_cfg."""
    model = config["model_cfg"]
    return {key: model[key] for key in ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu") if key in model}


def without_buffers(tensors: Tensors) -> dict[str, torch.Tensor]:
    """The tensors without the buffers that older versions saved and current versions refuse."""
    return {key: value for key, value in tensors.items() if not key.endswith(("attn_mask", "embeddings.position_ids"))}


def pixels(peer: ModuleType, facts: Facts) -> Callable:
    """open_clip's own preparation of a picture at inference."""
    stated = facts.config["preprocess_cfg"]
    pictures = {key: value for key, value in stated.items() if key not in ("size", "mode")}
    transform = importlib.import_module(f"{peer.__name__}.transform").image_transform
    return transform(facts.image_size, is_train=False, **pictures)


def _ids(peer: Any, facts: Facts) -> Any:
    """SimpleTokenizer; None if the vocabulary is not the one in open_clip."""
    tokenizer = peer.SimpleTokenizer(context_length=facts.context_length)
    if [tuple(pair) for pair in facts.vocab.merges] != list(tokenizer.bpe_ranks):
        return None
    end = tokenizer.eot_token_id

    def token_ids(texts: Sequence[str]) -> list[list[int]]:
        return [row[: row.index(end) + 1] for row in tokenizer(list(texts)).tolist()]

    return token_ids
