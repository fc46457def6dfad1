"""cn_clip's own CLIP in float32, as in its evaluation (without rounding to float16)."""

import importlib
import importlib.metadata
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import normalize

from ...words import Words
from ..reference import openai_vision
from ..reference.layers import numbered
from ..reference.pictures import CLIP
from ..witness import Facts, Offer
from .common import Tensors, built_from, computing_in, loaded

PACKAGE = "cn_clip"
LEFT_OUT = "bert.pooler.", "bert.embeddings.position_ids"
"""Keys that cn_clip's class does not have."""

RESNET_WIDENING = 32
TRAINING = {
    "text_attention_probs_dropout_prob": 0.1,
    "text_hidden_dropout_prob": 0.1,
    "text_initializer_range": 0.02,
}
FACTS = ("vision_head_width", "text_num_attention_heads", "text_hidden_act", *TRAINING)
"""Fields that the tensors do not show."""

KNOWN_BY = (
    ("vision_width", "vision_layers", "vision_patch_size"),
    ("text_hidden_size", "text_num_hidden_layers", "text_intermediate_size"),
)
"""The fields that mark a file of its model_configs as an image tower's or a text tower's."""


def original(tensors: Tensors, facts: Facts) -> Offer | None:
    """The witness from the installed cn_clip."""
    try:
        peer = importlib.import_module("cn_clip.clip.model")
        utils = importlib.import_module("cn_clip.clip.utils")
    except (ImportError, RuntimeError):  # torchvision raises RuntimeError if it does not match torch
        return None
    with built_from("what is stated", Words.same(PACKAGE)):
        model = loaded(peer.CLIP(**_arguments(tensors, facts.config)), _state_dict(peer, tensors))
    tokenizer = _tokenizer(facts.vocab)

    def token_ids(texts: Sequence[str]) -> list[list[int]]:
        pieces = [tokenizer.convert_tokens_to_ids(tokenizer.tokenize(text)) for text in texts]
        ends = tokenizer.vocab["[CLS]"], tokenizer.vocab["[SEP]"]
        return [[ends[0], *ids[: facts.context_length - 2], ends[1]] for ids in pieces]

    return Offer(
        name=Words.same(f"cn_clip {importlib.metadata.version('cn_clip')}"),
        level="peer",
        computing_in=computing_in(model),
        encode_text=lambda ids: normalize(model.encode_text(ids), dim=-1),
        encode_image=lambda pixels: normalize(model.encode_image(pixels), dim=-1),
        token_ids=token_ids,
        pixels=utils.image_transform(facts.image_size) if facts.how == CLIP else None,
        logit_scale=lambda: tensors["logit_scale"].item(),
    )


def _arguments(tensors: Tensors, stated: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of its CLIP: from its own model_configs if the sizes are published, else from the user."""
    sizes = _sizes(tensors)
    published = {
        key: config[key] for config in _model_configs() if _is_of(config, sizes) for key in FACTS if key in config
    }
    given = {key: value for key, value in stated.items() if value is not None and key in FACTS}
    return {**TRAINING, **published, **sizes, **given}


def _sizes(tensors: Tensors) -> dict[str, Any]:
    """The sizes of both towers from the tensors, under the names of its model_configs."""
    words = tensors["bert.embeddings.word_embeddings.weight"]
    inner = "bert.encoder.layer.0.intermediate.dense.weight"
    return {
        "embed_dim": tensors["text_projection"].shape[1],
        **(_resnet(tensors) if openai_vision.is_resnet(tensors) else _vit(tensors)),
        "image_resolution": openai_vision.image_size(tensors),
        "vocab_size": len(words),
        "text_hidden_size": words.shape[1],
        "text_num_hidden_layers": len(numbered(tensors, "bert.encoder.layer.")),
        "text_intermediate_size": len(tensors[inner]),
        "text_max_position_embeddings": len(tensors["bert.embeddings.position_embeddings.weight"]),
        "text_type_vocab_size": len(tensors["bert.embeddings.token_type_embeddings.weight"]),
    }


def _vit(tensors: Tensors) -> dict[str, Any]:
    kernel = tensors["visual.conv1.weight"]
    layers = len(numbered(tensors, "visual.transformer.resblocks."))
    return {"vision_width": len(kernel), "vision_layers": layers, "vision_patch_size": kernel.shape[-1]}


def _resnet(tensors: Tensors) -> dict[str, Any]:
    width = tensors["visual.attnpool.positional_embedding"].shape[1] // RESNET_WIDENING
    layers = [len(numbered(tensors, f"visual.layer{number}.")) for number in (1, 2, 3, 4)]
    return {"vision_width": width, "vision_layers": layers, "vision_patch_size": None}


def _model_configs() -> Iterator[dict[str, Any]]:
    for file in (resources.files("cn_clip.clip") / "model_configs").iterdir():
        if file.name.endswith(".json"):
            config = json.loads(file.read_text("utf-8"))
            if isinstance(layers := config.get("vision_layers"), str):
                config["vision_layers"] = json.loads(layers)
            yield config


def _is_of(config: Mapping[str, Any], sizes: Mapping[str, Any]) -> bool:
    """Whether a file of its model_configs describes a tower of these sizes."""
    return any(
        all(key in config and config[key] == sizes[key] for key in fields)
        for fields in KNOWN_BY
        if fields[0] in config
    )


def _state_dict(peer: Any, tensors: Tensors) -> dict[str, torch.Tensor]:
    state_dict = {key: tensor for key, tensor in tensors.items() if not key.startswith(LEFT_OUT)}
    if any(".Wqkv." in key for key in state_dict):
        # Upstream's converter needs keys with DDP's prefix (cn_clip/clip/model.py, convert_state_dict).
        state_dict = peer.convert_state_dict({f"module.{key}": tensor for key, tensor in state_dict.items()})
        state_dict = {key.removeprefix("module."): tensor for key, tensor in state_dict.items()}
    return state_dict


def _tokenizer(vocab: Sequence[str]) -> Any:
    tokenizers = importlib.import_module("cn_clip.clip.bert_tokenizer")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.txt"
        path.write_text("".join(f"{line}\n" for line in vocab), encoding="utf-8")
        return tokenizers.FullTokenizer(vocab_file=str(path))
