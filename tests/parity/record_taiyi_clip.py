"""Run Fengshen's own TaiyiCLIPModel once and keep what it gives in recorded/taiyi_clip.json.

It exists only as a repository. In an environment of its own, from this repository's root:

    python3.11 -m venv ENV
    ENV/bin/pip install "transformers==4.27.4" "torch==2.13.0" "numpy<2" pillow
    git clone https://github.com/IDEA-CCNL/Fengshenbang-LM CHECKOUT
    ENV/bin/python -m tests.parity.record_taiyi_clip CHECKOUT

The model, its config and its processor are upstream's (`fengshen/models/clip`), and the features are those that
`fengshen/examples/pretrain_taiyi_clip/pretrain.py` trains; the weights are those of tests/weights.py under the keys
and shapes of upstream's model.
"""

import hashlib
import json
import re
import sys
import tempfile
from pathlib import Path

import torch

from tests.parity.record_clip_chinese import (
    EMBEDDED,
    TEXT,
    TEXTS,
    TINY_TEXT,
    TINY_VISION,
    VOCAB,
    git,
    picture_files,
    rounded,
    versions,
)
from tests.weights import fingerprint, seeded_state_dict

RECORDED = Path(__file__).parent / "recorded" / "taiyi_clip.json"
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
CONFIGS = {
    "tiny": {"text_config": TINY_TEXT, "vision_config": TINY_VISION, "projection_dim": 32},
    "base": {"text_config": {**TEXT, **BASE}, "vision_config": {**TINY_VISION, **BASE}, "projection_dim": 512},
}


def main() -> None:
    checkout = Path(sys.argv[1])
    # The folder alone: fengshen's own __init__ imports models that need more packages.
    sys.path.insert(0, str(checkout / "fengshen" / "models"))
    record = {
        "upstream": "https://github.com/IDEA-CCNL/Fengshenbang-LM",
        "commit": git(checkout, "rev-parse", "HEAD"),
        "versions": versions(),
        "recipe": "tests/weights.py seeded_state_dict of each model's shapes; tests/pictures.py; "
        "conversion/tokenizers/vocab.txt",
        "vocab_sha256": hashlib.sha256(VOCAB.read_bytes()).hexdigest(),
        "texts": TEXTS,
    }
    with tempfile.TemporaryDirectory() as folder:
        models = {name: run(Path(folder) / name, config) for name, config in CONFIGS.items()}
    processed = [models[name].pop("processed") for name in CONFIGS]
    if any(other != processed[0] for other in processed):
        raise SystemExit("the processor gave different ids or pixels for two models; it should not know the model")
    write({**record, **processed[0], "models": models})


@torch.no_grad()
def run(folder: Path, config: dict) -> dict:
    """Everything of one model, by upstream's own loading, processing and features."""
    from clip import TaiyiCLIPModel, TaiyiCLIPProcessor
    from PIL import Image

    weights = make_repository(folder, config)
    model = TaiyiCLIPModel.from_pretrained(folder).eval()
    processor = TaiyiCLIPProcessor.from_pretrained(folder)
    pictures = {name: Image.open(file) for name, file in picture_files(folder).items()}
    pixels = {name: processor(images=[each], return_tensors="pt")["pixel_values"] for name, each in pictures.items()}
    texts = processor(text=list(TEXTS[: EMBEDDED[0]]), padding=True, return_tensors="pt")
    images = torch.cat(list(pixels.values())[: EMBEDDED[1]])
    return {
        "config": json.loads((folder / "config.json").read_text(encoding="utf-8")),
        "preprocessor_config": json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8")),
        "tokenizer_config": json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")),
        "shapes": {key: list(tensor.shape) for key, tensor in weights.items()},
        "weights_sha256": fingerprint(weights),
        "logit_scale": model.logit_scale.item(),
        "text_embeddings": rounded(normalized(model.get_text_features(**texts))),
        "forward_text_embeddings": rounded(model(**texts, pixel_values=images).text_embeds),
        "image_embeddings": rounded(normalized(model.get_image_features(pixel_values=images))),
        "processed": {
            "ids": [processor(text=[text])["input_ids"][0] for text in TEXTS],
            "pixels_sha256": {
                name: hashlib.sha256(each[0].contiguous().numpy().tobytes()).hexdigest()
                for name, each in pixels.items()
            },
        },
    }


def make_repository(folder: Path, config: dict) -> dict[str, torch.Tensor]:
    """A folder as the training saves it (pretrain.py, on_save_checkpoint), with seeded weights, which are returned."""
    from clip import TaiyiCLIPModel, TaiyiCLIPProcessor
    from transformers import BertTokenizerFast, CLIPFeatureExtractor

    model = TaiyiCLIPModel(TaiyiCLIPModel.config_class(**config))
    weights = seeded_state_dict({key: tuple(tensor.shape) for key, tensor in model.state_dict().items()})
    model.load_state_dict(weights)
    model.save_pretrained(folder)
    processor = TaiyiCLIPProcessor(CLIPFeatureExtractor(), BertTokenizerFast(str(VOCAB)))
    processor.save_pretrained(folder)
    return weights


def normalized(features: torch.Tensor) -> torch.Tensor:
    """As pretrain.py, forward."""
    return features / features.norm(p=2, dim=-1, keepdim=True)


def write(record: dict) -> None:
    """Indented, but each list of numbers on one line."""
    text = json.dumps(record, indent=1)
    text = re.sub(r"\[\s+([-\d\s.,e]+?)\s+\]", lambda match: f"[{' '.join(match[1].split())}]", text)
    RECORDED.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
