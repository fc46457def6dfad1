"""What the checkpoints of several families share: sizes, towers, configs, vocabularies, and how files are written.

Tests that need other sizes patch the constants of this module, so that the families read them as `common.HIDDEN`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from hf_zhclip.conversion.tokenizers.vocabularies import default_vocab

VOCAB = 21128
HIDDEN, INTERMEDIATE, LAYERS, POSITIONS = 32, 64, 2, 64
WIDTH, EMBED, PATCH, SIZE = 64, 48, 16, 64


@dataclass(frozen=True)
class Original:
    """A small checkpoint and what `convert` has to be told about it."""

    source: Path
    arguments: dict[str, Any] = field(default_factory=dict)


def bert(prefix: str, pooler: bool, flash: bool = False, layers: int = LAYERS) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of a BERT; in flash-attention's layout the three projections are one."""
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (VOCAB, HIDDEN),
        "embeddings.position_embeddings.weight": (POSITIONS, HIDDEN),
        "embeddings.token_type_embeddings.weight": (2, HIDDEN),
        "embeddings.LayerNorm.weight": (HIDDEN,),
        "embeddings.LayerNorm.bias": (HIDDEN,),
    }
    for layer in range(layers):
        name = f"encoder.layer.{layer}."
        if flash:
            shapes |= linear(name + "attention.self.Wqkv", 3 * HIDDEN, HIDDEN)
            shapes |= linear(name + "attention.self.out_proj", HIDDEN, HIDDEN)
        else:
            for part in ("self.query", "self.key", "self.value", "output.dense"):
                shapes |= linear(name + "attention." + part, HIDDEN, HIDDEN)
        shapes |= norm(name + "attention.output.LayerNorm", HIDDEN)
        shapes |= linear(name + "intermediate.dense", INTERMEDIATE, HIDDEN)
        shapes |= linear(name + "output.dense", HIDDEN, INTERMEDIATE)
        shapes |= norm(name + "output.LayerNorm", HIDDEN)
    if pooler:
        shapes |= linear("pooler.dense", HIDDEN, HIDDEN)
    return {prefix + key: shape for key, shape in shapes.items()}


def hf_clip_vision(embed: int = EMBED) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of Hugging Face CLIP's image tower, its projection and the scale."""
    shapes = {
        "logit_scale": (),
        "vision_model.embeddings.class_embedding": (WIDTH,),
        "vision_model.embeddings.patch_embedding.weight": (WIDTH, 3, PATCH, PATCH),
        "vision_model.embeddings.position_embedding.weight": ((SIZE // PATCH) ** 2 + 1, WIDTH),
        "visual_projection.weight": (embed, WIDTH),
        **norm("vision_model.pre_layrnorm", WIDTH),
        **norm("vision_model.post_layernorm", WIDTH),
    }
    for layer in range(LAYERS):
        name = f"vision_model.encoder.layers.{layer}."
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= linear(name + "self_attn." + part, WIDTH, WIDTH)
        shapes |= norm(name + "layer_norm1", WIDTH) | norm(name + "layer_norm2", WIDTH)
        shapes |= linear(name + "mlp.fc1", 4 * WIDTH, WIDTH) | linear(name + "mlp.fc2", WIDTH, 4 * WIDTH)
    return shapes


def bpe() -> tuple[dict[str, int], list[str]]:
    """A small vocabulary of CLIP's kind, ids and merges: every byte alone and at the end of a word, a few joints."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = [chr(byte) for byte in visible] + [chr(0x100 + number) for number in range(0x100 - len(visible))]
    merges = ["t h", "th e</w>", "c a", "ca t</w>", "d o", "do g</w>", "Ã ©</w>", "p h", "ph o", "t o</w>", "o t"]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *(merge.replace(" ", "") for merge in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return {token: number for number, token in enumerate(tokens)}, merges


def distilbert() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of a DistilBERT."""
    shapes = {
        "embeddings.word_embeddings.weight": (VOCAB, HIDDEN),
        "embeddings.position_embeddings.weight": (POSITIONS, HIDDEN),
        **norm("embeddings.LayerNorm", HIDDEN),
    }
    for layer in range(LAYERS):
        name = f"transformer.layer.{layer}."
        for part in ("q_lin", "k_lin", "v_lin", "out_lin"):
            shapes |= linear(name + "attention." + part, HIDDEN, HIDDEN)
        shapes |= norm(name + "sa_layer_norm", HIDDEN) | norm(name + "output_layer_norm", HIDDEN)
        shapes |= linear(name + "ffn.lin1", INTERMEDIATE, HIDDEN) | linear(name + "ffn.lin2", HIDDEN, INTERMEDIATE)
    return shapes


BERT_CONFIG = {
    "model_type": "bert",
    "vocab_size": VOCAB,
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": INTERMEDIATE,
    "max_position_embeddings": POSITIONS,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}

DISTILBERT_CONFIG = {
    "model_type": "distilbert",
    "vocab_size": VOCAB,
    "dim": HIDDEN,
    "n_layers": LAYERS,
    "n_heads": 4,
    "hidden_dim": INTERMEDIATE,
    "max_position_embeddings": POSITIONS,
    "activation": "gelu",
    "sinusoidal_pos_embds": False,
    "pad_token_id": 0,
}

VISION_CONFIG = {
    "model_type": "clip_vision_model",
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": 4 * WIDTH,
    "image_size": SIZE,
    "patch_size": PATCH,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}


def position_ids() -> dict[str, torch.Tensor]:
    """The buffers that transformers before 4.31 saved."""
    return {
        "text_model.embeddings.position_ids": torch.arange(POSITIONS)[None],
        "vision_model.embeddings.position_ids": torch.arange((SIZE // PATCH) ** 2 + 1)[None],
    }


def write_json(path: Path, content: object) -> None:
    """One JSON file, in a folder that may be new."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def bert_folder(folder: Path, config: Mapping[str, object]) -> None:
    """A new folder with a config.json and the vocabulary of Chinese BERTs."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "vocab.txt").write_text("".join(f"{line}\n" for line in default_vocab()), encoding="utf-8")


def linear(name: str, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    """A linear layer's keys and shapes."""
    return {name + ".weight": (rows, columns), name + ".bias": (rows,)}


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    """A LayerNorm's keys and shapes."""
    return {name + ".weight": (width,), name + ".bias": (width,)}


def batch_norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    """A BatchNorm's keys and shapes, its statistics included."""
    statistics = {name + ".running_mean": (width,), name + ".running_var": (width,), name + ".num_batches_tracked": ()}
    return norm(name, width) | statistics


def bpe_folder(folder: Path) -> Path:
    """The small vocabulary of CLIP's kind, as Hugging Face's files."""
    folder.mkdir(parents=True)
    ids, merges = bpe()
    write_json(folder / "vocab.json", ids)
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    return folder
