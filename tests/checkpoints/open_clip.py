"""Repos of open_clip: with OpenAI's text tower, and with XLM-R."""

from collections.abc import Mapping
from pathlib import Path

import torch

from tests import unigram
from tests.checkpoints import cn_clip, common
from tests.checkpoints.common import Original, bert, bpe, linear, norm, write_json
from tests.weights import seeded_state_dict


def open_clip_text(prefix: str = "") -> dict[str, tuple[int, ...]]:
    """Keys and shapes of OpenAI's causal text transformer, as open_clip has it; `prefix` is CustomTextCLIP's."""
    shapes = {
        "positional_embedding": (common.POSITIONS, common.HIDDEN),
        "text_projection": (common.HIDDEN, common.EMBED),
        "token_embedding.weight": (len(bpe()[0]), common.HIDDEN),
        **norm("ln_final", common.HIDDEN),
    }
    for layer in range(common.LAYERS):
        name = f"transformer.resblocks.{layer}."
        shapes |= {
            name + "attn.in_proj_weight": (3 * common.HIDDEN, common.HIDDEN),
            name + "attn.in_proj_bias": (3 * common.HIDDEN,),
        }
        shapes |= linear(name + "attn.out_proj", common.HIDDEN, common.HIDDEN)
        shapes |= norm(name + "ln_1", common.HIDDEN) | norm(name + "ln_2", common.HIDDEN)
        shapes |= linear(name + "mlp.c_fc", 4 * common.HIDDEN, common.HIDDEN) | linear(
            name + "mlp.c_proj", common.HIDDEN, 4 * common.HIDDEN
        )
    return {prefix + key: shape for key, shape in shapes.items()}


def open_clip(prefix: str = "", resnet: bool = False) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of open_clip's CLIP, or with `text.` of its CustomTextCLIP."""
    whole = cn_clip.cn_clip_resnet() if resnet else cn_clip.cn_clip_vit()
    image = {key: shape for key, shape in whole.items() if key.startswith("visual.")}
    return image | open_clip_text(prefix) | {"logit_scale": ()}


def open_clip_xlm_roberta(words: int, projection: str = "mlp", pooler: bool = False) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of open_clip's CustomTextCLIP with XLM-R of Hugging Face as its text tower."""
    image = {key: shape for key, shape in open_clip().items() if key.startswith("visual.")}
    text = bert("", pooler)
    text |= {
        "embeddings.word_embeddings.weight": (words, common.HIDDEN),
        "embeddings.token_type_embeddings.weight": (1, common.HIDDEN),
    }
    inner = (common.HIDDEN + common.EMBED) // 2
    ends = {
        "mlp": {"text.proj.0.weight": (inner, common.HIDDEN), "text.proj.2.weight": (common.EMBED, inner)},
        "linear": {"text.proj.weight": (common.EMBED, common.HIDDEN)},
    }
    return (
        image
        | {f"text.transformer.{key}": shape for key, shape in text.items()}
        | ends[projection]
        | {"logit_scale": ()}
    )


OPEN_CLIP_VISION = {
    "image_size": common.SIZE,
    "layers": common.LAYERS,
    "width": common.WIDTH,
    "patch_size": common.PATCH,
    "head_width": 16,
}

OPEN_CLIP_RESNET = {"image_size": common.SIZE, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None}

OPEN_CLIP_TEXT = {
    "context_length": common.POSITIONS,
    "vocab_size": len(bpe()[0]),
    "width": common.HIDDEN,
    "heads": 4,
    "layers": common.LAYERS,
}

OPEN_CLIP_XLM_ROBERTA = {
    "hf_model_name": "xlm-roberta-base",
    "hf_tokenizer_name": "xlm-roberta-base",
    "hf_pooler_type": "mean_pooler",
    "context_length": 40,
}

OPEN_CLIP_XLM_ROBERTA_BODY = {
    "hidden_size": common.HIDDEN,
    "num_hidden_layers": common.LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": common.INTERMEDIATE,
    "max_position_embeddings": common.POSITIONS,
}

OPEN_CLIP_PICTURES = {
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


def open_clip_config(text: Mapping[str, object], vision: Mapping[str, object], **model: object) -> dict[str, object]:
    """An open_clip_config.json."""
    towers = {"vision_cfg": dict(vision), "text_cfg": dict(text)}
    return {"model_cfg": {"embed_dim": common.EMBED, **towers, **model}, "preprocess_cfg": OPEN_CLIP_PICTURES}


def open_clip_folder(folder: Path, prefix: str = "", **model: object) -> Path:
    """A repo of open_clip as its push_to_hf_hub writes it, with a small vocabulary; `model` replaces fields."""
    config = open_clip_config(OPEN_CLIP_TEXT, OPEN_CLIP_VISION, **model)
    save_open_clip(folder, config, seeded_state_dict(open_clip(prefix)))
    ids, merges = bpe()
    write_json(folder / "vocab.json", ids)
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    return folder


def open_clip_xlm_roberta_folder(folder: Path, **text: object) -> Path:
    """A repo of open_clip with XLM-R as its text tower, its position buffer and its tokenizer; `text` replaces."""
    words = len(unigram.pieces())
    body = {**OPEN_CLIP_XLM_ROBERTA_BODY, "vocab_size": words}
    config = open_clip_config({**OPEN_CLIP_XLM_ROBERTA, "hf_model_config": body, **text}, OPEN_CLIP_VISION)
    state_dict = seeded_state_dict(open_clip_xlm_roberta(words))
    state_dict["text.transformer.embeddings.position_ids"] = torch.arange(common.POSITIONS)[None]
    save_open_clip(folder, config, state_dict)
    unigram.tokenizer_file(folder / "tokenizer.json")
    return folder


def save_open_clip(folder: Path, config: Mapping[str, object], state_dict: Mapping[str, torch.Tensor]) -> None:
    """The weights and the config of a repo of open_clip."""
    folder.mkdir(parents=True)
    write_json(folder / "open_clip_config.json", config)
    torch.save(dict(state_dict), folder / "open_clip_pytorch_model.bin")


ORIGINALS = {
    "open_clip": lambda folder: Original(open_clip_folder(folder / "open_clip")),
    "open_clip_xlm_roberta": lambda folder: Original(open_clip_xlm_roberta_folder(folder / "open_clip")),
}
