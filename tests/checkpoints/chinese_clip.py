"""ChineseCLIPModel repos of transformers."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from tests.checkpoints import common
from tests.checkpoints.common import Original, bert, bert_folder, hf_clip_vision, position_ids
from tests.weights import seeded_state_dict


def chinese_clip() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of Hugging Face's ChineseCLIPModel."""
    return (
        hf_clip_vision()
        | bert("text_model.", pooler=False)
        | {"text_projection.weight": (common.EMBED, common.HIDDEN)}
    )


def chinese_clip_folder(folder: Path, shapes: Mapping[str, tuple[int, ...]] | None = None, **config: object) -> Path:
    """A ChineseCLIPModel repo as transformers 4.26 saved it, with the leftovers that the published ones have."""
    text = {
        **common.BERT_CONFIG,
        "model_type": "chinese_clip_text_model",
        "directionality": "bidi",
        "output_past": True,
    }
    vision = {**common.VISION_CONFIG, "model_type": "chinese_clip_vision_model", "projection_dim": common.EMBED}
    towers = {"text_config": text, "vision_config": vision, "text_config_dict": text, "vision_config_dict": vision}
    stated = {
        "model_type": "chinese_clip",
        "architectures": ["ChineseCLIPModel"],
        "projection_dim": common.EMBED,
        **towers,
    }
    bert_folder(folder, {**stated, **config})
    preprocessor = {"do_center_crop": False, "crop_size": {"height": common.SIZE, "width": common.SIZE}}
    preprocessor |= {
        "size": {"height": common.SIZE, "width": common.SIZE},
        "image_processor_type": "ChineseCLIPFeatureExtractor",
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor), encoding="utf-8")
    torch.save(seeded_state_dict(shapes or chinese_clip()) | position_ids(), folder / "pytorch_model.bin")
    return folder


ORIGINALS = {"chinese_clip": lambda folder: Original(chinese_clip_folder(folder / "chinese_clip"))}
