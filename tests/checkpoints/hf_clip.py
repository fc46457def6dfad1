"""CLIPModel repos of transformers."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file

from tests.checkpoints import common
from tests.checkpoints.common import Original, bpe, hf_clip_vision, linear, norm
from tests.weights import seeded_state_dict


def hf_clip(embed: int = common.EMBED) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of Hugging Face's CLIPModel, its causal text tower included."""
    shapes = {
        "text_model.embeddings.token_embedding.weight": (len(bpe()[0]), common.HIDDEN),
        "text_model.embeddings.position_embedding.weight": (common.POSITIONS, common.HIDDEN),
        "text_projection.weight": (embed, common.HIDDEN),
        **norm("text_model.final_layer_norm", common.HIDDEN),
    }
    for layer in range(common.LAYERS):
        name = f"text_model.encoder.layers.{layer}."
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= linear(name + "self_attn." + part, common.HIDDEN, common.HIDDEN)
        shapes |= norm(name + "layer_norm1", common.HIDDEN) | norm(name + "layer_norm2", common.HIDDEN)
        shapes |= linear(name + "mlp.fc1", common.INTERMEDIATE, common.HIDDEN) | linear(
            name + "mlp.fc2", common.HIDDEN, common.INTERMEDIATE
        )
    return hf_clip_vision(embed) | shapes


CLIP_TEXT_CONFIG = {
    "model_type": "clip_text_model",
    "vocab_size": len(bpe()[0]),
    "hidden_size": common.HIDDEN,
    "num_hidden_layers": common.LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": common.INTERMEDIATE,
    "max_position_embeddings": common.POSITIONS,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 1,
}
"""With the ids that OpenAI's repos state, which are not those of their tokenizer."""


def clip_folder(
    folder: Path, text: Mapping[str, object] | None = None, embed: int = common.EMBED, **vision: object
) -> Path:
    """A Hugging Face CLIPModel repo with both towers; `text` and `vision` replace fields of their configs."""
    clip_vision_folder(folder, **vision)
    stated = {"text_config": {**CLIP_TEXT_CONFIG, **(text or {})}, "vision_config": {**common.VISION_CONFIG, **vision}}
    config = {"model_type": "clip", "architectures": ["CLIPModel"], "projection_dim": embed, **stated}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    ids, merges = bpe()
    (folder / "vocab.json").write_text(json.dumps(ids), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    settings = {"tokenizer_class": "CLIPTokenizer", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    save_file(seeded_state_dict(hf_clip(embed)), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def clip_vision_folder(folder: Path, **vision: object) -> Path:
    """A Hugging Face folder of CLIP's image tower, its projection and the scale."""
    folder.mkdir(parents=True)
    config = {
        "model_type": "clip",
        "architectures": ["CLIPModel"],
        "vision_config": {**common.VISION_CONFIG, **vision},
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(seeded_state_dict(hf_clip_vision()), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


ORIGINALS = {"hf_clip": lambda folder: Original(clip_folder(folder / "clip"))}
