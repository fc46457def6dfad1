"""ZH-CLIP repos (thu-ml/zh-clip)."""

from pathlib import Path

import torch

from tests.checkpoints import common
from tests.checkpoints.common import Original, bert, bert_folder, hf_clip_vision, linear, write_json
from tests.weights import seeded_state_dict


def zh_clip() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of ZH-CLIP's ZhCLIPModel (thu-ml/zh-clip, models/zhclip/modeling_zhclip.py)."""
    hidden = (common.HIDDEN + common.EMBED) // 2
    image = {key: shape for key, shape in hf_clip_vision().items() if key.startswith("vision_model.")}
    projections = {
        "text_projection.0.weight": (hidden, common.HIDDEN),
        "text_projection.2.weight": (common.EMBED, hidden),
    }
    return (
        image
        | bert("text_model.", pooler=True)
        | projections
        | linear("visual_projection", common.EMBED, common.WIDTH)
    )


ZH_CLIP_CONFIG: dict[str, object] = {
    "model_type": "zhclip",
    "architectures": ["ZhCLIPModel"],
    **{"hidden_size": common.EMBED, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 3072},
    **{"hidden_act": "gelu", "layer_norm_eps": 1e-12, "num_token_types": 2, "classifier_dropout": None},
}
"""What ZH-CLIP's config.json states beside its towers."""

ZH_CLIP_PROCESSOR = "ZhCLIPProcessor"
"""A class of thu-ml/zh-clip, and one of this package."""


def zh_clip_folder(folder: Path, processor_config: bool = False, **config: object) -> Path:
    """A ZH-CLIP repo; with `processor_config` its processor is saved as transformers 5 saves processors.

    A field of `config` that is None is left out of config.json.
    """
    stated = {**ZH_CLIP_CONFIG, "text_config": common.BERT_CONFIG, "vision_config": common.VISION_CONFIG, **config}
    bert_folder(folder, {name: value for name, value in stated.items() if value is not None})
    images = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": common.SIZE},
        "crop_size": common.SIZE,
    }
    named = {"processor_class": ZH_CLIP_PROCESSOR}
    if processor_config:
        write_json(folder / "processor_config.json", {"image_processor": images, **named})
    else:
        write_json(folder / "preprocessor_config.json", {**images, **named})
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "model_max_length": 77, **named})
    torch.save(seeded_state_dict(zh_clip()), folder / "pytorch_model.bin")
    return folder


ORIGINALS = {"zh_clip": lambda folder: Original(zh_clip_folder(folder / "zh_clip"))}
