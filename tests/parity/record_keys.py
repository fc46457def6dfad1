"""Writes tests/keys/<name>.json: keys and shapes of published checkpoints, from the originals' own classes on meta.

Run where the originals' packages are installed (the environment of `make parity`):
python -m tests.parity.record_keys [NAME ...]; without names all of them.

One file is one published checkpoint at full size. tests/conversion/detection/test_keys.py takes every file that is
there, so that a new one needs no line in a test. Its fields:

    format        the name of the source in `SOURCES`
    architecture  the upstream's word: the class that config.json names under `architectures`, or the size
    made_by       the package and its version (or the repository and its commit) whose class made the keys
    config        the JSON that lies beside the weights, with every field that `describe` needs; {} where none lies
                  there, so that the sizes have to be published ones; `architectures` is taken from above
    keys          key -> shape of every tensor in the file, also of those that are dropped

and where they are needed:

    vision        of a text part: the name of the file here, without .json, that it was published to be paired with
    beside        files by which the folder is known, name -> its JSON, or null where the name alone counts
                  ("modules.json", "open_clip_config.json"); config.json is not among them
    ask           true where neither keys nor files decide, so that detection has to ask for --format

Weights of the same model from other files have the prefixes that reading gives them ("2_Dense.", "head.").
"""

import importlib.metadata
import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

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
    "taiyi-102m": (BASE, 512, "hf_clip-vit-base-patch32"),
    "taiyi-326m": (LARGE, 768, "hf_clip-vit-large-patch14"),
    "taiyi-102m-vit-l": (BASE, None, "hf_clip-vit-large-patch14"),
    "taiyi-326m-vit-h": (LARGE, None, "hf_clip-vit-huge-patch14"),
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


Record = dict[str, Any]


def _cn_clip(structure: str) -> Record:
    import cn_clip.clip.model as peer

    configs = Path(peer.__file__).parent / "model_configs"
    arguments: dict[str, Any] = {}
    for part in structure.split("@"):
        arguments |= json.loads((configs / f"{part}.json").read_text(encoding="utf-8"))
    if isinstance(arguments["vision_layers"], str):
        arguments["vision_layers"] = json.loads(arguments["vision_layers"])
    return record("cn_clip", peer.CLIP(**arguments), structure)


def _taiyi(sizes: dict, labels: int | None, vision: str) -> Record:
    if labels is None:
        config = transformers.BertConfig(**sizes, **CHINESE)
        return record("taiyi", transformers.BertModel(config), config=config.to_dict(), vision=vision, ask=True)
    config = transformers.BertConfig(**sizes, **CHINESE, num_labels=labels)
    small = {key: value for key, value in config.to_dict().items() if key not in ("id2label", "label2id")}
    return record("taiyi", transformers.BertForSequenceClassification(config), config=small, vision=vision)


def _clip(text: dict, vision: dict, width: int) -> Record:
    towers = {"text_config": {**text, **LEGACY_ENDS}, "vision_config": vision}
    towers = {side: {**fields, "projection_dim": width} for side, fields in towers.items()}
    config = transformers.CLIPConfig(**towers, projection_dim=width)
    return record("hf_clip", transformers.CLIPModel(config), config=config.to_dict())


def _chinese_clip(text: dict, vision: dict, width: int) -> Record:
    towers = {"text_config": {**text, **CHINESE}, "vision_config": vision}
    config = transformers.ChineseCLIPConfig(**towers, projection_dim=width)
    return record("chinese_clip", transformers.ChineseCLIPModel(config), config=config.to_dict())


def _bert_clip() -> Record:
    """CLIP-Chinese's classes are recorded elsewhere; VisionTextDualEncoderModel has the same keys (and maths)."""
    text = transformers.BertConfig(**BASE, **CHINESE)
    vision = transformers.CLIPVisionConfig(**BASE, patch_size=32)
    config = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(vision, text, projection_dim=512)
    stated = {"model_type": "clip", "text_config": text.to_dict(), "vision_config": vision.to_dict()}
    return record("bert_clip", transformers.VisionTextDualEncoderModel(config), "BertCLIPModel", stated)


def _taiyi_finetune() -> Record:
    """Fengshen's LightningModule (examples/clip_finetune) holds a whole CLIPModel and Taiyi-102M's classifier."""
    clip = _clip(*CLIP["hf_clip-vit-base-patch32"])
    text = _taiyi(*TAIYI["taiyi-102m"])
    parts = {"clip_model.": clip, "text_encoder.": text}
    keys = {prefix + key: shape for prefix, part in parts.items() for key, shape in part["keys"].items()}
    return {
        **{"format": "taiyi_finetune", "architecture": "CLIPLightning", "made_by": clip["made_by"], "config": {}},
        "keys": dict(sorted(keys.items())),
    }


def _bert_from_clip() -> Record:
    """bert-from-clip-chinese-1M: the text tower of a BertCLIP, saved by itself; the buffer is of transformers 4.18."""
    config = transformers.BertConfig(**BASE, **CHINESE)
    made = record("bert_from_clip", transformers.BertModel(config), config=config.to_dict(), ask=True)
    return {**made, "keys": dict(sorted({**made["keys"], "embeddings.position_ids": [1, 512]}.items()))}


def _sentence_transformers() -> Record:
    """clip-ViT-B-32-multilingual-v1: distilbert-base-multilingual-cased, mean pooling, a Dense without bias."""
    from sentence_transformers.base.modules import Dense

    config = transformers.DistilBertConfig(vocab_size=119547)
    body = record("sentence_transformers", transformers.DistilBertModel(config))
    dense = record("sentence_transformers", Dense(768, 512, bias=False, activation_function=torch.nn.Identity()))
    modules = [
        {"type": "Transformer", "max_seq_length": 128, "do_lower_case": False},
        {"type": "Pooling", "word_embedding_dimension": 768, "pooling_mode_mean_tokens": True},
        {"type": "Dense", "in_features": 768, "out_features": 512, "bias": False, "activation_function": IDENTITY},
    ]
    return {
        **body,
        "made_by": f"{body['made_by']}, {dense['made_by']}",
        "config": {**config.to_dict(), "modules": modules},
        "vision": "hf_clip-vit-base-patch32",
        "beside": {"modules.json": None},
        "keys": {**{f"2_Dense.{key}": shape for key, shape in dense["keys"].items()}, **body["keys"]},
    }


def _multilingual_clip(base: dict, name: str, width: int, vision: str) -> Record:
    """multilingual-clip's class on the model that it would download."""
    import multilingual_clip.pt_multilingual_clip as peer

    config = transformers.AutoConfig.for_model(**base)
    body = transformers.AutoModel.from_config(config)
    with patch.object(transformers.AutoModel, "from_pretrained", lambda name: body):
        sizes = {"transformerDimSize": config.hidden_size, "imageDimSize": width}
        model = peer.MultilingualCLIP(peer.MultilingualCLIP.config_class(modelBase=name, **sizes))
    stated = {"modelBase": name, "transformerDimensions": config.hidden_size, "numDims": width, "base_config": base}
    return record("multilingual_clip", model, config={"model_type": "M-CLIP", **stated}, vision=vision)


def _multilingual_clip_legacy(base: dict, width: int, vision: str) -> Record:
    """A model of transformers, and the pickled head that legacy_multilingual_clip.py reads beside it."""
    body = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(**base))
    made = record("multilingual_clip", body, config=base, vision=vision)
    made["keys"] |= {"head.0": [768, width], "head.1": [width]}
    return made


XLM_ROBERTA = {"model_type": "xlm-roberta", **LARGE, "vocab_size": 250002, "layer_norm_eps": 1e-5}
XLM_ROBERTA |= {"max_position_embeddings": 514, "type_vocab_size": 1, "pad_token_id": 1}
LABSE = {"model_type": "bert", **BASE, "vocab_size": 501153, "max_position_embeddings": 512, "type_vocab_size": 2}
DISTILBERT = {"model_type": "distilbert", "vocab_size": 119547, "n_heads": 12}
MULTILINGUAL_CLIP = {
    "multilingual_clip-labse-vit-l-14": (LABSE, "sentence-transformers/LaBSE", 768, "hf_clip-vit-large-patch14"),
    "multilingual_clip-xlm-r-vit-b-32": (XLM_ROBERTA, "xlm-roberta-large", 512, "hf_clip-vit-base-patch32"),
    "multilingual_clip-xlm-r-vit-l-14": (XLM_ROBERTA, "xlm-roberta-large", 768, "hf_clip-vit-large-patch14"),
    "multilingual_clip-xlm-r-vit-b-16-plus": (XLM_ROBERTA, "xlm-roberta-large", 640, "open_clip-vit-b-16-plus-240"),
}

IDENTITY = "torch.nn.modules.linear.Identity"

OPEN_CLIP = {
    "open_clip-vit-b-32": "ViT-B-32",
    "open_clip-vit-h-14": "ViT-H-14",
    "open_clip-vit-b-16-plus-240": "ViT-B-16-plus-240",
    "open_clip-rn50": "RN50",
    "open_clip-xlm-roberta-base-vit-b-32": "xlm-roberta-base-ViT-B-32",
    "open_clip-xlm-roberta-large-vit-h-14": "xlm-roberta-large-ViT-H-14",
}


def _open_clip(structure: str) -> Record:
    """The sizes come from open_clip's own model_configs; those of XLM-R it would fetch, so that they stand here."""
    import open_clip

    config = open_clip.get_model_config(structure)
    text = config["text_cfg"]
    stated = {"model_cfg": config, "preprocess_cfg": {"interpolation": "bicubic", "resize_mode": "shortest"}}
    if "hf_model_name" not in text:
        beside = {"open_clip_config.json": None}
        return record("open_clip", open_clip.CLIP(**config), config=stated, beside=beside)
    sizes = {"xlm-roberta-base": BASE, "xlm-roberta-large": LARGE}[text["hf_model_name"]]
    body = transformers.XLMRobertaConfig(
        **sizes, vocab_size=250002, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5
    )
    with tempfile.TemporaryDirectory() as folder:
        body.save_pretrained(folder)
        local = {**text, "hf_model_name": folder, "hf_model_pretrained": False}
        model = open_clip.CustomTextCLIP(**{**config, "text_cfg": local})
    return record("open_clip_xlm_roberta", model, config=stated)


# embed_dim, image_resolution, vision_layers, vision_width, vision_patch_size, transformer_width (openai/CLIP; those of
# the ResNets also in open_clip's model_configs).
OPENAI_CLIP = {
    "openai_clip-vit-b-32": (512, 224, 12, 768, 32, 512),
    "openai_clip-vit-b-16": (512, 224, 12, 768, 16, 512),
    "openai_clip-vit-l-14": (768, 224, 24, 1024, 14, 768),
    "openai_clip-vit-l-14-336": (768, 336, 24, 1024, 14, 768),
    "openai_clip-rn50": (1024, 224, (3, 4, 6, 3), 64, None, 512),
    "openai_clip-rn101": (512, 224, (3, 4, 23, 3), 64, None, 512),
    "openai_clip-rn50x4": (640, 288, (4, 6, 10, 6), 80, None, 640),
    "openai_clip-rn50x16": (768, 384, (6, 8, 18, 8), 96, None, 768),
    "openai_clip-rn50x64": (1024, 448, (3, 15, 36, 10), 128, None, 1024),
}


def openai_clip(name: str) -> torch.nn.Module:
    """The model of a published name, of OpenAI's own class and with the buffers that its archives add."""
    from clip.model import CLIP

    embed, size, layers, width, patch_size, text = OPENAI_CLIP[name]
    model = CLIP(embed, size, layers, width, patch_size, 77, 49408, text, text // 64, 12)
    scalars = {"input_resolution": size, "context_length": model.context_length, "vocab_size": model.vocab_size}
    for key, value in scalars.items():
        model.__dict__.pop(key, None)
        model.register_buffer(key, torch.tensor(value))
    return model


def _openai_clip(name: str) -> Record:
    return record("openai_clip", openai_clip(name), name.removeprefix("openai_clip-"))


RECORDS: dict[str, Callable[[], Record]] = {
    **{name: partial(_cn_clip, structure) for name, structure in CN_CLIP.items()},
    **{name: partial(_taiyi, *arguments) for name, arguments in TAIYI.items()},
    **{name: partial(_clip, *arguments) for name, arguments in CLIP.items()},
    **{name: partial(_chinese_clip, *arguments) for name, arguments in CHINESE_CLIP.items()},
    "bert_clip": _bert_clip,
    "bert_from_clip": _bert_from_clip,
    **{name: partial(_multilingual_clip, *arguments) for name, arguments in MULTILINGUAL_CLIP.items()},
    "multilingual_clip-m-bert-distil-40": partial(_multilingual_clip_legacy, DISTILBERT, 640, "openai_clip-rn50x4"),
    "sentence_transformers-multilingual": _sentence_transformers,
    "taiyi_finetune": _taiyi_finetune,
    **{name: partial(_open_clip, structure) for name, structure in OPEN_CLIP.items()},
    **{name: partial(_openai_clip, name) for name in OPENAI_CLIP},
}
"""What makes each file; a family adds its lines at the end."""


def record(
    format: str, model: torch.nn.Module, architecture: str = "", config: dict | None = None, **needed: Any
) -> Record:
    """What a file holds, from the upstream's model; the architecture is its class where nothing else is said.

    `needed` are the fields `vision`, `beside` and `ask`.
    """
    package = importlib.metadata.packages_distributions()[type(model).__module__.partition(".")[0]][0]
    return {
        "format": format,
        "architecture": architecture or type(model).__name__,
        "made_by": f"{package} {importlib.metadata.version(package)}",
        "config": config or {},
        **needed,
        "keys": {key: list(tensor.shape) for key, tensor in sorted(model.state_dict().items())},
    }


def main(wanted: list[str]) -> None:
    """Writes the files of these names, or all of them."""
    for name in wanted or RECORDS:
        with torch.device("meta"):
            made = RECORDS[name]()
        (FOLDER / f"{name}.json").write_text(_compact(made), encoding="utf-8")


def _compact(value: Record) -> str:
    keys = ",\n".join(f"  {json.dumps(key)}: {json.dumps(shape)}" for key, shape in value["keys"].items())
    head = json.dumps({key: each for key, each in value.items() if key != "keys"}, indent=1, sort_keys=True)
    return head.removesuffix("\n}") + ',\n "keys": {\n' + keys + "\n }\n}\n"


if __name__ == "__main__":
    main(sys.argv[1:])
