"""The installed open_clip with XLM-R as text tower, built from a local config: nothing is downloaded."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..reference import open_clip_xlm_roberta as reference
from ..reference.layers import numbered
from ..reference.pictures import CLIP
from ..witness import Facts, Offer
from .common import Tensors, built_from, computing_in, loaded
from .open_clip import arguments, installed, original_image, peer_name, pixels, without_buffers

__all__ = ["original", "original_image"]


def original(tensors: Tensors, facts: Facts) -> Offer | None:
    """The witness from CustomTextCLIP."""
    peer = installed()
    if peer is None:
        return None
    given = arguments(facts.config)
    with tempfile.TemporaryDirectory() as folder, built_from("open_clip's config", peer_name()):
        config = json.dumps(_body(tensors, given["text_cfg"].get("hf_model_config") or {}))
        (Path(folder) / "config.json").write_text(config, encoding="utf-8")
        # Some open_clip versions read only some fields of hf_model_config; the folder's config.json holds them all.
        text = {key: value for key, value in given["text_cfg"].items() if key != "hf_model_config"}
        text |= {"hf_model_name": folder, "hf_model_pretrained": False}
        model = loaded(peer.CustomTextCLIP(**{**given, "text_cfg": text}), without_buffers(tensors))
    return Offer(
        name=peer_name(),
        level="peer",
        computing_in=computing_in(model),
        encode_text=lambda ids: model.encode_text(ids, normalize=True),
        encode_image=lambda each: model.encode_image(each, normalize=True),
        pixels=pixels(peer, facts) if facts.how == CLIP else None,
        logit_scale=lambda: tensors["logit_scale"].item(),
    )


def _body(tensors: Tensors, replaced: Mapping[str, Any]) -> dict[str, Any]:
    """The body's config.json: sizes from the tensors, heads from the published widths, then the replaced fields."""
    own = reference.BODY
    words = tensors[f"{own}embeddings.word_embeddings.weight"]
    return {
        "model_type": "xlm-roberta",
        "vocab_size": len(words),
        "hidden_size": words.shape[1],
        "num_hidden_layers": len(numbered(tensors, f"{own}encoder.layer.")),
        "num_attention_heads": reference.HEADS.get(words.shape[1]),
        "intermediate_size": len(tensors[f"{own}encoder.layer.0.intermediate.dense.weight"]),
        "max_position_embeddings": len(tensors[f"{own}embeddings.position_embeddings.weight"]),
        "type_vocab_size": len(tensors[f"{own}embeddings.token_type_embeddings.weight"]),
        "hidden_act": reference.ACTIVATION,
        "layer_norm_eps": reference.EPS,
        "pad_token_id": 1,
        **replaced,
    }
