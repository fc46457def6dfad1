"""Writes tests/keys/<name>.json: keys and shapes of published checkpoints, from the originals' own classes on meta.

Run where cn_clip is installed (the environment of `make parity`): python -m tests.parity.record_keys
"""

import importlib.metadata
import json
from pathlib import Path

import torch
import transformers

FOLDER = Path(__file__).parents[1] / "keys"

CN_CLIP = {
    "cn_clip-vit-b-16": "ViT-B-16@RoBERTa-wwm-ext-base-chinese",
    "cn_clip-vit-b-32": "ViT-B-32@RoBERTa-wwm-ext-base-chinese",
    "cn_clip-vit-l-14": "ViT-L-14@RoBERTa-wwm-ext-base-chinese",
    "cn_clip-vit-l-14-336": "ViT-L-14-336@RoBERTa-wwm-ext-base-chinese",
    "cn_clip-vit-h-14": "ViT-H-14@RoBERTa-wwm-ext-large-chinese",
    "cn_clip-rn50": "RN50@RBT3-chinese",
}

BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
HUGE = {"hidden_size": 1280, "num_hidden_layers": 32, "num_attention_heads": 16, "intermediate_size": 5120}
CHINESE = {"vocab_size": 21128, "max_position_embeddings": 512, "type_vocab_size": 2}

TAIYI = {
    "taiyi-102m": (BASE, 512),
    "taiyi-326m": (LARGE, 768),
    "taiyi-102m-vit-l": (BASE, None),
    "taiyi-326m-vit-h": (LARGE, None),
}
TEXT_512 = {"hidden_size": 512, "num_hidden_layers": 12, "num_attention_heads": 8, "intermediate_size": 2048}
TEXT_768 = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
TEXT_1024 = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
LEGACY_ENDS = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}  # as these repos state them
ERF = {"hidden_act": "gelu"}
CLIP = {
    "hf_clip-vit-base-patch32": (TEXT_512, {**BASE, "patch_size": 32}, 512),
    "hf_clip-vit-base-patch16": (TEXT_512, {**BASE, "patch_size": 16}, 512),
    "hf_clip-vit-large-patch14": (TEXT_768, {**LARGE, "patch_size": 14}, 768),
    "hf_clip-vit-large-patch14-336": (TEXT_768, {**LARGE, "patch_size": 14, "image_size": 336}, 768),
    "hf_clip-vit-huge-patch14": ({**TEXT_1024, **ERF}, {**HUGE, "patch_size": 14, **ERF}, 1024),
}

CHINESE_CLIP = {
    "chinese_clip-vit-base-patch16": (BASE, {**BASE, "patch_size": 16}, 512),
    "chinese_clip-vit-large-patch14": (BASE, {**LARGE, "patch_size": 14}, 768),
    "chinese_clip-vit-large-patch14-336px": (BASE, {**LARGE, "patch_size": 14, "image_size": 336}, 768),
    "chinese_clip-vit-huge-patch14": (LARGE, {**HUGE, "patch_size": 14}, 1024),
}


def main() -> None:
    with torch.device("meta"):
        for name, structure in CN_CLIP.items():
            _write(name, "cn_clip", _cn_clip(structure), structure, {})
        for name, (sizes, labels) in TAIYI.items():
            _write(name, "taiyi", *_taiyi({**sizes, **CHINESE}, labels))
        for name, (text, vision, width) in CLIP.items():
            _write(name, "hf_clip", *_clip({**text, **LEGACY_ENDS}, vision, width))
        for name, (text, vision, width) in CHINESE_CLIP.items():
            _write(name, "chinese_clip", *_chinese_clip({**text, **CHINESE}, vision, width))
        _write("bert_clip", "bert_clip", *_bert_clip())


def _cn_clip(structure: str) -> torch.nn.Module:
    import cn_clip.clip.model as peer

    configs = Path(peer.__file__).parent / "model_configs"
    arguments = {}
    for part in structure.split("@"):
        arguments |= json.loads((configs / f"{part}.json").read_text(encoding="utf-8"))
    if isinstance(arguments["vision_layers"], str):
        arguments["vision_layers"] = json.loads(arguments["vision_layers"])
    return peer.CLIP(**arguments)


def _taiyi(fields: dict, labels: int | None) -> tuple[torch.nn.Module, str, dict]:
    if labels is None:
        config = transformers.BertConfig(**fields)
        return transformers.BertModel(config), "BertModel", config.to_dict()
    config = transformers.BertConfig(**fields, num_labels=labels)
    small = {key: value for key, value in config.to_dict().items() if key not in ("id2label", "label2id")}
    return transformers.BertForSequenceClassification(config), "BertForSequenceClassification", small


def _clip(text: dict, vision: dict, width: int) -> tuple[torch.nn.Module, str, dict]:
    towers = {"text_config": text, "vision_config": vision}
    towers = {side: {**fields, "projection_dim": width} for side, fields in towers.items()}
    config = transformers.CLIPConfig(**towers, projection_dim=width)
    return transformers.CLIPModel(config), "CLIPModel", config.to_dict()


def _chinese_clip(text: dict, vision: dict, width: int) -> tuple[torch.nn.Module, str, dict]:
    config = transformers.ChineseCLIPConfig(text_config=text, vision_config=vision, projection_dim=width)
    return transformers.ChineseCLIPModel(config), "ChineseCLIPModel", config.to_dict()


def _bert_clip() -> tuple[torch.nn.Module, str, dict]:
    """CLIP-Chinese's classes are recorded elsewhere; VisionTextDualEncoderModel has the same keys (and maths)."""
    text = transformers.BertConfig(**BASE, **CHINESE)
    vision = transformers.CLIPVisionConfig(**BASE, patch_size=32)
    config = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(vision, text, projection_dim=512)
    stated = {"model_type": "clip", "text_config": text.to_dict(), "vision_config": vision.to_dict()}
    return transformers.VisionTextDualEncoderModel(config), "BertCLIPModel", stated


def _write(name: str, format: str, model: torch.nn.Module, architecture: str, config: dict) -> None:
    package = "cn_clip" if format == "cn_clip" else "transformers"
    value = {
        "format": format,
        "architecture": architecture,
        "made_by": f"{package} {importlib.metadata.version(package)}",
        "config": config,
        "keys": {key: list(tensor.shape) for key, tensor in sorted(model.state_dict().items())},
    }
    (FOLDER / f"{name}.json").write_text(_compact(value), encoding="utf-8")


def _compact(value: dict) -> str:
    keys = ",\n".join(f"  {json.dumps(key)}: {json.dumps(shape)}" for key, shape in value["keys"].items())
    head = json.dumps({key: each for key, each in value.items() if key != "keys"}, indent=1, sort_keys=True)
    return head.removesuffix("\n}") + ',\n "keys": {\n' + keys + "\n }\n}\n"


if __name__ == "__main__":
    main()
