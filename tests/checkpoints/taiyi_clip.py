"""TaiyiCLIPModel folders, as Fengshen's training saves them."""

import json
from pathlib import Path

import torch

from tests.checkpoints import bert_clip, common
from tests.checkpoints.common import Original, bert_folder, position_ids
from tests.weights import seeded_state_dict


def taiyi_clip_folder(folder: Path) -> Path:
    """A TaiyiCLIPModel folder as Fengshen's training saves it (hf_out_*)."""
    towers = {"text_config": common.BERT_CONFIG, "vision_config": common.VISION_CONFIG}
    bert_folder(
        folder, {"model_type": "clip", "architectures": ["TaiyiCLIPModel"], "projection_dim": common.EMBED, **towers}
    )
    preprocessor = {"do_center_crop": True, "crop_size": {"height": common.SIZE, "width": common.SIZE}}
    preprocessor |= {"size": {"shortest_edge": common.SIZE}, "image_processor_type": "CLIPFeatureExtractor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor), encoding="utf-8")
    torch.save(seeded_state_dict(bert_clip.bert_clip()) | position_ids(), folder / "pytorch_model.bin")
    return folder


ORIGINALS = {"taiyi_clip": lambda folder: Original(taiyi_clip_folder(folder / "taiyi_clip"))}
