"""Run R2D2's own code once, keep what it gives in recorded/r2d2.json, and its keys in tests/keys.

It exists only as a repository. In an environment of its own, from this repository's root:

    python3.11 -m venv ENV
    ENV/bin/pip install "transformers==4.27.4" "torch==2.13.0" "torchvision==0.28.0" "numpy<2" pillow
    git clone https://github.com/yuxie11/R2D2 CHECKOUT
    ENV/bin/python -m tests.parity.record_r2d2 CHECKOUT

The models, their loading, their tokenizer and their image transform are upstream's (`models.prd2`, `models.r2d2`,
`prd2_inference_demo`); the weights are those of tests/weights.py under the keys and shapes of upstream's models. The
short ones are as wide as upstream's code demands and a few layers deep: it reads the other sizes from `checkpoints/`.
"""

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.parity.record_clip_chinese import TEXTS as SAMPLES
from tests.parity.record_clip_chinese import git, rounded
from tests.parity.record_keys import FOLDER, _compact
from tests.pictures import seeded_pictures
from tests.weights import fingerprint, seeded_state_dict

RECORDED = Path(__file__).parent / "recorded" / "r2d2.json"
VOCAB = Path(__file__).parents[2] / "conversion" / "vocab.txt"
REQUIRED = "transformers==4.15.0, torch==1.11.0"
REASON = "neither has a wheel for Python 3.11; the keys are those of transformers before 4.31, buffers included"
EMBEDDED = 6, 3
# What fast tokenizers class otherwise: ideographs that their table lacks, and what Unicode has had since version 8.
YOUNG = "\U0002b820\U0002b91f\U0002b920 一\u061d一 a\u07fdb a\u0898b \u0890c \u2e52d \U0001f9d1 \U0001e92ee"
TEXTS = (*SAMPLES, "很长的句子要被截断" * 20, YOUNG)

FACTS = ("num_attention_heads", "hidden_act", "layer_norm_eps")
SHORT_TEXT = {
    "hidden_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 192,
    "max_position_embeddings": 80,
}
SHORT_VISION = {"num_hidden_layers": 2, "intermediate_size": 128}
# name -> (what upstream calls it, its arguments, whether it is as large as the published one)
MODELS = {
    "prd2_short": ("prd2", {"embed_dim": 32}, False),
    "r2d2_short": ("r2d2", {"vit_type": "base", "embed_dim": 32}, False),
    "r2d2-base": ("r2d2", {"vit_type": "base"}, True),
    "prd2": ("prd2", {}, True),
}
KEYS = {
    "prd2": ("prd2", {}, "PRD2 ViT-L-14@chinese-roberta-wwm-ext"),
    "r2d2": ("r2d2", {"vit_type": "large"}, "R2D2 ViT-L-14@chinese-roberta-wwm-ext"),
    "r2d2-base": ("r2d2", {"vit_type": "base"}, "R2D2 ViT-B-16@chinese-roberta-wwm-ext"),
}


def main() -> None:
    checkout = Path(sys.argv[1]).resolve()
    sys.path.insert(0, str(checkout))
    commit = git(checkout, "rev-parse", "HEAD")
    os.chdir(checkout)  # upstream reads its configs relative to it
    for name, (kind, arguments, architecture) in KEYS.items():
        write_keys(name, empty(kind, arguments), architecture, commit)
    record: dict[str, Any] = {
        "upstream": "https://github.com/yuxie11/R2D2",
        "commit": commit,
        "versions": versions(),
        "required": REQUIRED,
        "required_not_used": REASON,
        "recipe": "tests/weights.py seeded_state_dict of each model's shapes; tests/pictures.py",
        "vocab_sha256": hashlib.sha256(VOCAB.read_bytes()).hexdigest(),
        "upstream_vocab_sha256": hashlib.sha256(Path("checkpoints/hfl_roberta/vocab.txt").read_bytes()).hexdigest(),
        "texts": TEXTS,
        **processed(empty("prd2", {})),
    }
    with tempfile.TemporaryDirectory() as folder:
        record["models"] = {}
        for name, (kind, arguments, full) in MODELS.items():
            os.chdir(checkout if full else short_checkout(checkout, Path(folder) / name, kind))
            record["models"][name] = run(Path(folder) / "weights.pth", name, kind, arguments, full)
            write(record)


def upstream(kind: str) -> Callable[..., Any]:
    from models.prd2 import prd2
    from models.r2d2 import r2d2

    return {"prd2": prd2, "r2d2": r2d2}[kind]


def empty(kind: str, arguments: dict) -> Any:
    """The model without values, which is all that its keys and its tokenizer need."""
    with torch.device("meta"):
        return upstream(kind)(**arguments)


def versions() -> dict[str, str]:
    names = ("transformers", "tokenizers", "torch", "torchvision", "numpy", "pillow")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}


def write_keys(name: str, model: torch.nn.Module, architecture: str, commit: str) -> None:
    value = {
        "format": "prd2",
        "architecture": architecture,
        "made_by": f"R2D2 {commit[:7]}, transformers {importlib.metadata.version('transformers')}",
        "config": {},
        "keys": {key: list(tensor.shape) for key, tensor in sorted(model.state_dict().items())},
    }
    (FOLDER / f"{name}.json").write_text(_compact(value), encoding="utf-8")


def processed(model: Any) -> dict[str, Any]:
    """Ids without padding, and hashes of pixels; upstream makes each picture RGB where it opens it."""
    from prd2_inference_demo import preprocess

    tokens = model.tokenize_text(list(TEXTS))
    pictures = {name: preprocess(picture.convert("RGB"), 224) for name, picture in seeded_pictures()}
    return {
        "padded_to": tokens.input_ids.shape[1],
        "ids": [ids[mask.bool()].tolist() for ids, mask in zip(tokens.input_ids, tokens.attention_mask, strict=True)],
        "pixels_sha256": {
            name: hashlib.sha256(pixels.contiguous().numpy().tobytes()).hexdigest()
            for name, pixels in pictures.items()
        },
    }


def short_checkout(checkout: Path, folder: Path, kind: str) -> Path:
    """A folder with upstream's `checkpoints/`, in which the towers are smaller."""
    shutil.copytree(checkout / "checkpoints", folder / "checkpoints")
    vision = (
        folder / "checkpoints/r2d2_config" / ("vision_config.json" if kind == "prd2" else "vision_config_base.json")
    )
    change(vision, lambda value: {**value, "vision_config": {**value["vision_config"], **SHORT_VISION}})
    # Upstream's file also has the fields that transformers used to put in place of those above.
    change(vision, lambda value: {key: each for key, each in value.items() if key != "vision_config_dict"})
    for file in ("hfl_roberta/config.json", "r2d2_config/bert_config.json"):
        change(folder / "checkpoints" / file, lambda value: {**value, **SHORT_TEXT})
    return folder


def change(path: Path, how: Callable[[dict], dict]) -> None:
    path.write_text(json.dumps(how(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")


@torch.no_grad()
def run(path: Path, name: str, kind: str, arguments: dict, full: bool) -> dict[str, Any]:
    """Everything of one model, by upstream's own loading, processing and forward."""
    from prd2_inference_demo import preprocess

    shapes = {key: tuple(tensor.shape) for key, tensor in empty(kind, arguments).state_dict().items()}
    weights = seeded_state_dict(shapes)
    torch.save({"model": weights, "optimizer": {}, "config": {}, "epoch": 3}, path)
    model = upstream(kind)(pretrained=str(path), **arguments).eval()
    if fingerprint(model.state_dict()) != fingerprint(weights):
        raise SystemExit("the weights did not load whole; upstream's loader does not say so")
    texts, count = list(TEXTS[: EMBEDDED[0]]), EMBEDDED[1]
    pixels = torch.stack([preprocess(picture.convert("RGB"), 224) for _, picture in list(seeded_pictures())[:count]])
    text, image = model.encode_text(model.tokenize_text(texts)), model.encode_image(pixels)
    text, image = (text, image) if kind == "prd2" else (text[1], image[1])
    towers = {"text_config": model.text_encoder.config, "vision_config": model.visual_encoder.config}
    return {
        "config": {side: {fact: getattr(config, fact) for fact in FACTS} for side, config in towers.items()},
        **({"keys": name} if full else {"shapes": {key: list(shape) for key, shape in shapes.items()}}),
        "weights_sha256": fingerprint(weights),
        "temp": model.temp.item(),
        "text_embeddings": rounded(text),
        "image_embeddings": rounded(image),
        "logits_per_image": rounded(image @ text.t() / model.temp),
    }


def write(record: dict) -> None:
    """Indented, but each list of numbers on one line."""
    text = json.dumps(record, indent=1)
    text = re.sub(r"\[\s+([-\d\s.,e]+?)\s+\]", lambda match: f"[{' '.join(match[1].split())}]", text)
    RECORDED.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
