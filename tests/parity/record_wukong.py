"""Run Wukong's own PyTorch code once, keep what it gives in recorded/wukong.json, and its keys in tests/keys.

It exists only as a repository. In an environment of its own, from this repository's root:

    python3.11 -m venv ENV
    ENV/bin/pip install "torch==2.13.0" "torchvision==0.28.0" "timm==1.0.31" "numpy==2.4.6" "pillow==13.0.0" \
        "setuptools<70" wheel addict yapf platformdirs "opencv-python-headless==4.11.0.86"
    MMCV_WITH_OPS=0 ENV/bin/pip install --no-deps --no-build-isolation "mmcv==1.7.2"
    git clone https://github.com/huawei-noah/Pretrained-Language-Model CHECKOUT
    ENV/bin/python -m tests.parity.record_wukong CHECKOUT

The models, their configs, their loading, their tokenizer and their image transform are upstream's (Noah_WuKong:
`model`, `configs`, `data.tokenizer`, `main`); the weights are those of tests/weights.py under the keys and shapes of
upstream's models, and `loss.logit_scale`, which its loader expects in a file and takes out.
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

from tests.parity.record_clip_chinese import TEXTS as SAMPLES
from tests.parity.record_clip_chinese import git, rounded
from tests.parity.record_keys import FOLDER, _compact
from tests.pictures import seeded_pictures
from tests.weights import fingerprint, seeded_state_dict

RECORDED = Path(__file__).parent / "recorded" / "wukong.json"
VOCAB = Path(__file__).parents[2] / "conversion" / "vocab.txt"
EMBEDDED = 6, 3
YOUNG = "\U0002b820\U0002b91f\U0002b920 一\u061d一 a\u07fdb a\u0898b \u0890c \u2e52d \U0001f9d1 \U0001e92ee"
SEPARATED = tuple(text for text in SAMPLES if "[SEP]" in text)
TEXTS = (
    *(text for text in SAMPLES if text not in SEPARATED),
    "很长的句子要被截断" * 20,
    YOUNG,
    "[mask] [PAD] ，[SEP]",
)
SPECIAL = (*SEPARATED, "开头 [SEP] 结尾", "[CLS]猫[UNK]", "a[SEP]b")
"""What upstream takes for its own tokens where it stands alone."""

SCALE = {"loss.logit_scale": ()}
PUBLISHED = {
    "wukong-vit-b-g": ("wukong_vit_b/wukong_vit_b_g.py", "Wukong ViT-B-32 (global)"),
    "wukong-vit-l-g": ("wukong_vit_l/wukong_vit_l_g.py", "Wukong ViT-L-14 (global)"),
}
SHORT_B = {
    "type": "Wukong",
    "embed_dim": 48,
    "visual": {"type": "VisionTransformer", "input_resolution": 224, "layers": 3, "width": 128, "patch_size": 32},
    "text": {
        "type": "TextTransformer",
        "context_length": 32,
        "vocab_size": 21128,
        "width": 64,
        "heads": 4,
        "layers": 3,
    },
    "is_token_wise": False,
}
# As in ViT-L the matrix behind the texts is square, so that its shape does not say which way it is to be turned.
SHORT_L = {
    **SHORT_B,
    "embed_dim": 96,
    "visual": {**SHORT_B["visual"], "layers": 2, "width": 192, "patch_size": 14},
    "text": {**SHORT_B["text"], "width": 96, "heads": 6, "layers": 2},
}


def main() -> None:
    checkout = Path(sys.argv[1]).resolve()
    commit, folder = git(checkout, "rev-parse", "HEAD"), checkout / "Noah_WuKong"
    sys.path.insert(0, str(folder))
    configs = {name: config_of(folder / "configs" / file) for name, (file, _) in PUBLISHED.items()}
    for name, (_, architecture) in PUBLISHED.items():
        write_keys(name, shapes_of(configs[name]), architecture, commit)
    record: dict[str, Any] = {
        "upstream": "https://github.com/huawei-noah/Pretrained-Language-Model (Noah_WuKong)",
        "commit": commit,
        "versions": versions(),
        "recipe": "tests/weights.py seeded_state_dict of each model's shapes; tests/pictures.py",
        "vocab_sha256": hashlib.sha256(VOCAB.read_bytes()).hexdigest(),
        "upstream_vocab_sha256": hashlib.sha256((folder / "data/tokenizer/res/vocab.txt").read_bytes()).hexdigest(),
        **processed(),
    }
    models = {"short_b": SHORT_B, "short_l": SHORT_L, "wukong-vit-b-g": configs["wukong-vit-b-g"]}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "weights.ckpt"
        record["models"] = {name: run(path, name, config) for name, config in models.items()}
    write(record)


def config_of(path: Path) -> dict[str, Any]:
    from mmcv import Config

    return dict(Config.fromfile(str(path)).model.to_dict())


def versions() -> dict[str, str]:
    names = ("mmcv", "timm", "torch", "torchvision", "numpy", "pillow")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}


def shapes_of(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of a file: the model's, and the scale of the loss."""
    from model.builder import build_model

    with torch.device("meta"):
        model = build_model({**config, "pretrained": ""})
    return {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()} | SCALE


def write_keys(name: str, shapes: dict[str, tuple[int, ...]], architecture: str, commit: str) -> None:
    value = {
        "format": "wukong",
        "architecture": architecture,
        "made_by": f"Noah_WuKong {commit[:7]}, mmcv {importlib.metadata.version('mmcv')}",
        "config": {},
        "keys": {key: list(shape) for key, shape in sorted(shapes.items())},
    }
    (FOLDER / f"{name}.json").write_text(_compact(value), encoding="utf-8")


def processed() -> dict[str, Any]:
    """Ids without padding, and hashes of pixels, each picture in its own mode."""
    from data.tokenizer import SimpleTokenizer
    from main import img_transform

    tokens, special = (SimpleTokenizer().tokenize(list(texts)) for texts in (TEXTS, SPECIAL))
    pixels = {name: img_transform(224)(picture) for name, picture in seeded_pictures()}
    return {
        "texts": TEXTS,
        "ids": [row[row != 0].tolist() for row in tokens],
        "special_texts": SPECIAL,
        "special_ids": [row[row != 0].tolist() for row in special],
        "padded_to": tokens.shape[1],
        "pixels_sha256": {
            name: hashlib.sha256(each.contiguous().numpy().tobytes()).hexdigest() for name, each in pixels.items()
        },
    }


@torch.no_grad()
def run(path: Path, name: str, config: dict[str, Any]) -> dict[str, Any]:
    """Everything of one model, by upstream's own loading, processing and forward."""
    from data.tokenizer import SimpleTokenizer
    from main import img_transform
    from model.builder import build_model

    shapes = shapes_of(config)
    weights = seeded_state_dict(shapes)
    torch.save({"state_dict": weights}, path)
    model = build_model({**config, "pretrained": str(path)}).eval()
    if fingerprint({**model.state_dict(), **{key: weights[key] for key in SCALE}}) != fingerprint(weights):
        raise SystemExit("the weights did not load whole")
    texts, count = list(TEXTS[: EMBEDDED[0]]), EMBEDDED[1]
    ids = SimpleTokenizer().tokenize(texts)
    pixels = torch.stack([img_transform(224)(picture) for _, picture in list(seeded_pictures())[:count]])
    return {
        "config": {key: value for key, value in config.items() if key != "pretrained"},
        **({"keys": name} if name in PUBLISHED else {"shapes": {key: list(shape) for key, shape in shapes.items()}}),
        "weights_sha256": fingerprint(weights),
        "logit_scale": weights["loss.logit_scale"].item(),
        "text_embeddings": rounded(model.process_text_features(model.encode_text(ids), ids)),
        "image_embeddings": rounded(model.process_img_features(model.encode_image(pixels))),
    }


def write(record: dict) -> None:
    """Indented, but each list of numbers on one line."""
    text = json.dumps(record, indent=1)
    text = re.sub(r"\[\s+([-\d\s.,e]+?)\s+\]", lambda match: f"[{' '.join(match[1].split())}]", text)
    RECORDED.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
