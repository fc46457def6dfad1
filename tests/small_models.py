"""Small models of every composition of towers, pooling and projection, and inputs for them; weights seeded by key."""

import accelerate
import pytest
import torch
from packaging.version import parse

from hf_zhclip import ZhCLIPConfig, ZhCLIPModel

from tests.weights import seeded_state_dict

WHOLE_ON_DISK = pytest.mark.skipif(
    parse(accelerate.__version__) < parse("1.15"), reason="accelerate before 1.15 refuses to put a whole model on disk"
)

LAYER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
TEXT = {
    "bert": LAYER | {"vocab_size": 50, "max_position_embeddings": 20},
    # Positions start at pad_token_id + 1 = 2: 22 make 20.
    "xlm-roberta": LAYER | {"vocab_size": 50, "max_position_embeddings": 22, "pad_token_id": 1, "type_vocab_size": 1},
    "distilbert": {"vocab_size": 50, "max_position_embeddings": 20, "dim": 32, "hidden_dim": 64}
    | {"n_layers": 2, "n_heads": 4},
    "clip_text_model": LAYER
    | {"vocab_size": 50, "max_position_embeddings": 20, "bos_token_id": 2, "eos_token_id": 49, "pad_token_id": 0},
}
VISION = {
    "clip_vision_model": LAYER | {"image_size": 64, "patch_size": 16},
    "hf_zhclip_resnet": {
        "layers": [1, 2, 1, 1],
        "width": 8,
        "image_size": 64,
        "num_attention_heads": 8,
        "output_dim": 16,
    },
}
# name -> text tower, its pooling and projection; vision tower, its pooling and projection
VARIANTS = {
    "cn_clip": ("bert", "cls", "linear", "clip_vision_model", "pooler", "linear"),
    "cn_clip_rn50": ("bert", "cls", "linear", "hf_zhclip_resnet", "pooler", "none"),
    "bert_clip": ("bert", "pooler", "linear", "clip_vision_model", "pooler", "linear"),
    "taiyi": ("bert", "pooler", "linear_bias", "clip_vision_model", "pooler", "linear"),
    "taiyi_large": ("bert", "pooler", "none", "clip_vision_model", "pooler", "none"),
    "prd2": ("bert", "cls", "linear_bias", "clip_vision_model", "cls", "linear_bias"),
    "mclip": ("xlm-roberta", "mean", "linear_bias", "clip_vision_model", "pooler", "linear"),
    "open_clip": ("xlm-roberta", "pooler", "mlp", "clip_vision_model", "pooler", "mlp"),
    "multilingual": ("distilbert", "mean", "linear", "clip_vision_model", "pooler", "linear"),
    "wukong": ("clip_text_model", "eos", "linear", "clip_vision_model", "pooler", "linear"),
    "openai_rn50": ("clip_text_model", "eos", "linear", "hf_zhclip_resnet", "pooler", "none"),
}


def build(variant: str, **changes) -> ZhCLIPModel:
    text, text_pooling, text_projection, vision, vision_pooling, visual_projection = VARIANTS[variant]
    config = ZhCLIPConfig(
        text_config={"model_type": text} | TEXT[text],
        vision_config={"model_type": vision} | VISION[vision],
        projection_dim=32 if text_projection == "none" else 16,
        text_pooling=text_pooling,
        text_projection_type=text_projection,
        vision_pooling=vision_pooling,
        visual_projection_type=visual_projection,
        **changes,
    )
    return seeded(ZhCLIPModel(config))


def seeded(model):
    model.load_state_dict(seeded_state_dict({key: value.shape for key, value in model.state_dict().items()}))
    return model.eval()


def texts(model: ZhCLIPModel) -> torch.Tensor:
    pad = model.config.text_config.pad_token_id
    return torch.tensor([[2, 5, 6, 7, 8, 49], [2, 9, 49, pad, pad, pad], [2, 10, 11, 49, pad, pad]])


def images(count: int = 3, size: int = 64) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(3))


def both(model: ZhCLIPModel) -> dict[str, torch.Tensor]:
    return {"input_ids": texts(model), "pixel_values": images()}
