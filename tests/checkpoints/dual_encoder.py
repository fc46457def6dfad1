"""VisionTextDualEncoderModel repos of transformers."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file

from tests.checkpoints import bert_clip, common
from tests.checkpoints.common import bert_folder
from tests.weights import seeded_state_dict


def dual_encoder() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of a VisionTextDualEncoderModel as transformers 4 saves it: BertCLIP's, but for a name."""
    return {
        re.sub(r"^vision_model\.", "vision_model.vision_model.", key): shape
        for key, shape in bert_clip.bert_clip().items()
    }


def dual_encoder_folder(folder: Path, shapes: Mapping[str, tuple[int, ...]], **text: object) -> Path:
    """A VisionTextDualEncoderModel repo of transformers, with the files of its processor."""
    towers = {"text_config": {**common.BERT_CONFIG, **text}, "vision_config": common.VISION_CONFIG}
    named = {"model_type": "vision-text-dual-encoder", "architectures": ["VisionTextDualEncoderModel"]}
    bert_folder(folder, {**named, "projection_dim": common.EMBED, "logit_scale_init_value": 2.6592, **towers})
    images = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": common.SIZE},
        "crop_size": common.SIZE,
    }
    processor = {"image_processor": images, "processor_class": "VisionTextDualEncoderProcessor"}
    (folder / "processor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    limit = {"tokenizer_class": "BertTokenizer", "model_max_length": 20}
    (folder / "tokenizer_config.json").write_text(json.dumps(limit), encoding="utf-8")
    save_file(seeded_state_dict(shapes), folder / "model.safetensors")
    return folder
