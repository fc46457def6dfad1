"""Folders of ModelScope's CLIP."""

import json
from pathlib import Path

import torch

from hf_zhclip.conversion.tokenizers.vocabularies import default_vocab

from tests.checkpoints import cn_clip, common
from tests.checkpoints.common import Original
from tests.weights import seeded_state_dict

MODELSCOPE_VISION = {
    "embed_dim": common.EMBED,
    "image_resolution": common.SIZE,
    "vision_layers": common.LAYERS,
    "vision_width": common.WIDTH,
    "vision_patch_size": common.PATCH,
    "vision_head_width": 16,
}

MODELSCOPE_TEXT = {
    "vocab_size": common.VOCAB,
    "text_attention_probs_dropout_prob": 0.1,
    "text_hidden_act": "gelu",
    "text_hidden_dropout_prob": 0.1,
    "text_hidden_size": common.HIDDEN,
    "text_initializer_range": 0.02,
    "text_intermediate_size": common.INTERMEDIATE,
    "text_max_position_embeddings": common.POSITIONS,
    "text_num_attention_heads": 4,
    "text_num_hidden_layers": common.LAYERS,
    "text_type_vocab_size": 2,
}


def modelscope_folder(folder: Path, prefix: str = "", nested: bool = True, **stated: object) -> Path:
    """A folder of ModelScope's CLIP, or a fine-tune's under `clip_model.`; `stated` replaces fields of its JSON."""
    folder.mkdir(parents=True)
    files = {
        "configuration.json": {"framework": "pytorch", "task": "multi-modal-embedding", "model": {"type": "clip"}},
        "vision_model_config.json": {key: stated.get(key, value) for key, value in MODELSCOPE_VISION.items()},
        "text_model_config.json": {key: stated.get(key, value) for key, value in MODELSCOPE_TEXT.items()},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    (folder / "vocab.txt").write_text("".join(f"{line}\n" for line in default_vocab()), encoding="utf-8")
    state_dict = {prefix + key: value for key, value in seeded_state_dict(cn_clip.cn_clip_vit(pooler=True)).items()}
    torch.save({"state_dict": state_dict} if nested else state_dict, folder / "pytorch_model.bin")
    return folder


ORIGINALS = {"modelscope": lambda folder: Original(modelscope_folder(folder / "modelscope"))}
