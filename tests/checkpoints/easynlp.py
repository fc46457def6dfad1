"""What EasyNLP's CLIPApp saves."""

from pathlib import Path

import torch

from tests.checkpoints import cn_clip, common, modelscope
from tests.checkpoints.common import Original, bert_folder
from tests.weights import seeded_state_dict


def easynlp_folder(folder: Path, **stated: object) -> Path:
    """What EasyNLP's CLIPApp saves of cn_clip's model: its class has no field for the width of a head."""
    fields = {
        key: value for key, value in modelscope.MODELSCOPE_VISION.items() if key != "vision_head_width"
    } | modelscope.MODELSCOPE_TEXT
    bert_folder(folder, {"model_type": "chinese_clip", **fields, **stated})
    state_dict = seeded_state_dict(cn_clip.cn_clip_vit(pooler=True))
    state_dict["bert.embeddings.position_ids"] = torch.arange(common.POSITIONS)[None]
    torch.save({f"chinese_clip.{key}": value for key, value in state_dict.items()}, folder / "pytorch_model.bin")
    return folder


ORIGINALS = {"easynlp": lambda folder: Original(easynlp_folder(folder / "easynlp"))}
