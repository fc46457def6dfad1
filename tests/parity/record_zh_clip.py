"""Run ZH-CLIP's own code once, keep what it gives in recorded/zh_clip.json, and its keys in tests/keys.

It exists only as a repository. In an environment of its own, from this repository's root:

    python3.11 -m venv ENV
    ENV/bin/pip install "transformers==4.26.1" "torch==2.13.0" "numpy<2" pillow
    git clone https://github.com/thu-ml/zh-clip CHECKOUT
    ENV/bin/python -m tests.parity.record_zh_clip CHECKOUT

The model, its config and its processor are upstream's (`models.zhclip`), called as `inference.py` calls them; the
weights are those of tests/weights.py under the keys and shapes of upstream's model. Features are kept as
upstream gives them: not normalised.
"""

import hashlib
import importlib.metadata
import json
import platform
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from tests.parity.record_clip_chinese import TINY_TEXT, TINY_VISION, git, picture_files
from tests.parity.record_keys import CHINESE, FOLDER, LARGE, _compact
from tests.parity.record_r2d2 import TEXTS
from tests.weights import fingerprint, seeded_state_dict

RECORDED = Path(__file__).parent / "recorded" / "zh_clip.json"
VOCAB = Path(__file__).parents[2] / "conversion" / "tokenizers" / "vocab.txt"
MAX_LENGTH = 77
"""inference.py; the README's own lines cut nothing."""
EMBEDDED = 6, 3
# The towers that the README names, but for the activation of the image tower, which only the published config states.
TEXT = {"model_type": "bert", **CHINESE, **LARGE, "hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 0}
VISION = {"model_type": "clip_vision_model", **LARGE, "patch_size": 14, "image_size": 224, "hidden_act": "gelu"}
VISION |= {"layer_norm_eps": 1e-5}
FEW = {"num_hidden_layers": 2}
WIDE_VISION = {**VISION, **FEW}
CONFIGS: dict[str, dict[str, Any]] = {
    "tiny": {"hidden_size": 40, "text_config": TINY_TEXT, "vision_config": TINY_VISION},
    # A whole CLIP, of which the image tower is taken; what it leaves out is its class's default.
    "whole_clip": {
        "hidden_size": 40,
        "text_config": {**TINY_TEXT, "hidden_act": "relu", "layer_norm_eps": 1e-5},
        "vision_config": {
            "model_type": "clip",
            "vision_config": {
                name: value for name, value in TINY_VISION.items() if name not in ("hidden_act", "layer_norm_eps")
            },
        },
    },
    "wide": {"hidden_size": 768, "text_config": {**TEXT, **FEW}, "vision_config": WIDE_VISION},
}


def main() -> None:
    checkout = Path(sys.argv[1]).resolve()
    sys.path.insert(0, str(checkout))
    commit = git(checkout, "rev-parse", "HEAD")
    write_keys(commit)
    with tempfile.TemporaryDirectory() as folder:
        models = {name: run(Path(folder) / name, config) for name, config in CONFIGS.items()}
    processed = [models[name].pop("processed") for name in CONFIGS]
    if any(other != processed[0] for other in processed):
        raise SystemExit("the processor gave different ids or pixels for two models; it should not know the model")
    write(
        {
            "upstream": "https://github.com/thu-ml/zh-clip",
            "commit": commit,
            "versions": versions(),
            "recipe": "tests/weights.py seeded_state_dict of each model's shapes; tests/pictures.py; "
            "conversion/tokenizers/vocab.txt",
            "vocab_sha256": hashlib.sha256(VOCAB.read_bytes()).hexdigest(),
            "texts": TEXTS,
            **processed[0],
            "models": models,
        }
    )


def versions() -> dict[str, str]:
    names = ("transformers", "tokenizers", "torch", "numpy", "pillow")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}


def write_keys(commit: str) -> None:
    from models.zhclip import ZhCLIPConfig, ZhCLIPModel

    config = ZhCLIPConfig(dict(TEXT), dict(VISION), hidden_size=768)
    with torch.device("meta"):
        model = ZhCLIPModel(config)
    towers = {"text_config": TEXT, "vision_config": VISION}
    value = {
        "format": "zh_clip",
        "architecture": "ZhCLIPModel",
        "made_by": f"zh-clip {commit[:7]}, transformers {importlib.metadata.version('transformers')}",
        "config": {"model_type": "zhclip", "hidden_size": 768, **towers},
        "keys": {key: list(tensor.shape) for key, tensor in sorted(model.state_dict().items())},
    }
    (FOLDER / "zh_clip.json").write_text(_compact(value), encoding="utf-8")


@torch.no_grad()
def run(folder: Path, config: dict) -> dict[str, Any]:
    """Everything of one model, by upstream's own loading, processing and forward."""
    from models.zhclip import ZhCLIPModel, ZhCLIPProcessor

    weights = make_repository(folder, config)
    model = ZhCLIPModel.from_pretrained(folder).eval()
    processor = ZhCLIPProcessor.from_pretrained(folder)
    pictures = {name: Image.open(file) for name, file in picture_files(folder).items()}
    pixels = {name: processor.image_processor(picture, return_tensors="pt") for name, picture in pictures.items()}
    first = torch.cat([each["pixel_values"] for each in list(pixels.values())[: EMBEDDED[1]]])
    text = model.get_text_features(**tokens(processor, list(TEXTS[: EMBEDDED[0]])))
    image = model.get_image_features(pixel_values=first)
    return {
        "config": {"model_type": "zhclip", "architectures": ["ZhCLIPModel"], **config},
        "shapes": {key: list(tensor.shape) for key, tensor in weights.items()},
        "weights_sha256": fingerprint(weights),
        "text_features": rounded(text),
        "image_features": rounded(image),
        "probabilities": rounded((image @ text.T).softmax(dim=-1)),
        "processed": {
            "ids": [tokens(processor, [text])["input_ids"][0].tolist() for text in TEXTS],
            "pixels_sha256": {
                name: hashlib.sha256(each["pixel_values"][0].contiguous().numpy().tobytes()).hexdigest()
                for name, each in pixels.items()
            },
        },
    }


def tokens(processor: Any, texts: list[str]) -> Any:
    """As inference.py calls the tokenizer."""
    return processor.tokenizer(texts, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")


def make_repository(folder: Path, config: dict) -> dict[str, torch.Tensor]:
    """A repo as upstream's classes save it, with seeded weights, which are returned."""
    from models.zhclip import ZhCLIPConfig, ZhCLIPModel, ZhCLIPProcessor
    from transformers import BertTokenizer, CLIPImageProcessor

    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "zhclip", **config}), encoding="utf-8")
    model = ZhCLIPModel(ZhCLIPConfig.from_pretrained(folder))
    weights = seeded_state_dict({key: tuple(tensor.shape) for key, tensor in model.state_dict().items()})
    torch.save(weights, folder / "pytorch_model.bin")
    ZhCLIPProcessor(CLIPImageProcessor(), BertTokenizer(str(VOCAB))).save_pretrained(folder)
    info = ZhCLIPModel.from_pretrained(folder, output_loading_info=True)[1]
    if any(info.values()):
        raise SystemExit(f"the weights did not load whole: {info}")
    return weights


def rounded(rows: torch.Tensor) -> list[list[float]]:
    """Eight significant digits, which hold a float32."""
    return [[float(f"{value:.8g}") for value in row] for row in rows.tolist()]


def write(record: dict) -> None:
    """Indented, but each list of numbers on one line."""
    text = json.dumps(record, indent=1)
    text = re.sub(r"\[\s+([-\d\s.,e]+?)\s+\]", lambda match: f"[{' '.join(match[1].split())}]", text)
    RECORDED.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
