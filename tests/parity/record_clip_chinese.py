"""Run CLIP-Chinese's own code once and keep what it gives in recorded/clip_chinese.json.

It exists only as a repository. In an environment of its own, from this repository's root:

    python3.11 -m venv ENV
    ENV/bin/pip install "transformers==4.27.4" "torch==2.13.0" "numpy<2" pillow
    git clone https://github.com/yangjianxin1/CLIP-Chinese CHECKOUT
    ENV/bin/python -m tests.parity.record_clip_chinese CHECKOUT

The model, its config and its processing of texts and pictures are upstream's (`component.model`,
`predict_similarity`); the weights are those of tests/weights.py under the keys and shapes of upstream's model.
"""

import hashlib
import importlib.metadata
import json
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from tests.pictures import seeded_pictures
from tests.weights import fingerprint, seeded_state_dict

RECORDED = Path(__file__).parent / "recorded" / "clip_chinese.json"
VOCAB = Path(__file__).parents[2] / "conversion" / "vocab.txt"
REQUIRED = "transformers==4.18.0"
REASON = "the tokenizers that 4.18.0 needs has no wheel for Python 3.11; the one of 4.27.4 has"
EMBEDDED = 6, 3
TEXTS = (
    "一只可爱的小猫",
    "秋天跑车唯美图片桌面壁纸",
    "清澈的湖水，蓝蓝的天空，茂密的树木",
    "狗",
    "A cat 和 2 只 Dogs, 3.14!",
    "冬日里，一只老虎在雪地玩耍；雪花漫天飞舞，狂风怒号，天地之间白茫茫一片",
    "",
    "   ",
    "全角ＡＢＣ１２３ “引号” … —",
    "Crème Brûlée İstanbul ΑΣ ΟΔΟΣ",
    "遮住[MASK]的[SEP]词 [mask]",
    "x" * 100,
    "x" * 101,
    "表情\U0001f600\U0001f9d1\u200d\U0001f33e和私用\ue000字",
    "制表\t换行\n零\u0000宽\u200b\ufeff空\u3000格\u00a0",
    "\ud55c\uad6d\uc5b4 ひらがな カタカナ \U00020000\U0002b820\U0002b821",
)
TEXT = {"model_type": "bert", "vocab_size": 21128, "pad_token_id": 0, "type_vocab_size": 2, "layer_norm_eps": 1e-12}
TINY_TEXT = {
    **TEXT,
    "hidden_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 192,
    "max_position_embeddings": 160,
    "hidden_act": "gelu",
}
TINY_VISION = {
    "model_type": "clip_vision_model",
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 256,
    "image_size": 224,
    "patch_size": 32,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
BASE_TEXT = {**TEXT, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
BASE_VISION = {
    **TINY_VISION,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
}


def without(values: dict, *names: str) -> dict:
    return {name: value for name, value in values.items() if name not in names}


CONFIGS = {
    "tiny": {"text_config": TINY_TEXT, "vision_config": TINY_VISION, "projection_dim": 32},
    # What `*_config_dict` does to the fields beside it, and to those that it leaves out.
    "overridden": {
        "text_config": {**TINY_TEXT, "num_attention_heads": 8, "layer_norm_eps": 1e-5},
        "text_config_dict": without(TINY_TEXT, "layer_norm_eps", "hidden_act"),
        "vision_config": {**TINY_VISION, "num_attention_heads": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12},
        "vision_config_dict": without(TINY_VISION, "hidden_act", "layer_norm_eps"),
        "projection_dim": 32,
    },
    "base": {"text_config": BASE_TEXT, "vision_config": BASE_VISION, "projection_dim": 512},
}


def main() -> None:
    checkout = Path(sys.argv[1])
    sys.path.insert(0, str(checkout))
    record = {
        "upstream": "https://github.com/yangjianxin1/CLIP-Chinese",
        "commit": git(checkout, "rev-parse", "HEAD"),
        "versions": versions(),
        "required": REQUIRED,
        "required_not_used": REASON,
        "recipe": "tests/weights.py seeded_state_dict of each model's shapes; tests/pictures.py; "
        "conversion/tokenizers/vocab.txt",
        "vocab_sha256": hashlib.sha256(VOCAB.read_bytes()).hexdigest(),
        "texts": TEXTS,
    }
    with tempfile.TemporaryDirectory() as folder:
        models = {name: run(Path(folder) / name, {"model_type": "clip", **CONFIGS[name]}) for name in CONFIGS}
    processed = [models[name].pop("processed") for name in CONFIGS]
    if any(other != processed[0] for other in processed):
        raise SystemExit("the processor gave different ids or pixels for two models; it should not know the model")
    write({**record, **processed[0], "models": models})


def git(checkout: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", checkout, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def versions() -> dict[str, str]:
    names = ("transformers", "tokenizers", "torch", "numpy", "pillow")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}


@torch.no_grad()
def run(folder: Path, config: dict) -> dict:
    """Everything of one model, by upstream's own loading, processing and forward."""
    from predict_similarity import load_model_and_processor, process_data

    weights = make_repository(folder, config)
    model, processor = load_model_and_processor(str(folder))
    model.eval()
    pictures = picture_files(folder)
    inputs = process_data(list(TEXTS[: EMBEDDED[0]]), list(pictures.values())[: EMBEDDED[1]], processor)
    out = model(**inputs)
    return {
        "config": config,
        "shapes": {key: list(tensor.shape) for key, tensor in weights.items()},
        "weights_sha256": fingerprint(weights),
        "logit_scale": model.logit_scale.item(),
        "text_embeddings": rounded(out.text_embeds),
        "image_embeddings": rounded(out.image_embeds),
        "processed": {
            "ids": [process_data([text], None, processor)["input_ids"][0].tolist() for text in TEXTS],
            "pixels_sha256": {
                name: hashlib.sha256(pixels_of(process_data(None, [file], processor))).hexdigest()
                for name, file in pictures.items()
            },
        },
    }


def make_repository(folder: Path, config: dict) -> dict[str, torch.Tensor]:
    """A repo as upstream publishes them, with seeded weights, which are returned."""
    from component.model import BertCLIPModel
    from transformers import BertTokenizerFast, CLIPFeatureExtractor, CLIPProcessor

    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    model = BertCLIPModel(BertCLIPModel.config_class.from_pretrained(folder))
    weights = seeded_state_dict({key: tuple(tensor.shape) for key, tensor in model.state_dict().items()})
    torch.save(weights, folder / "pytorch_model.bin")
    CLIPProcessor.tokenizer_class = "BertTokenizerFast"
    tokenizer = BertTokenizerFast(str(VOCAB))
    CLIPProcessor(feature_extractor=CLIPFeatureExtractor(), tokenizer=tokenizer).save_pretrained(folder)
    info = BertCLIPModel.from_pretrained(folder, output_loading_info=True)[1]
    if any(info.values()):
        raise SystemExit(f"the weights did not load whole: {info}")
    return weights


def picture_files(folder: Path) -> dict[str, Path]:
    """TIFF where PNG has no such mode; neither loses anything. transformers 4.27 takes one row for one channel."""
    files = {}
    for name, picture in seeded_pictures():
        if picture.height == 1:
            continue
        files[name] = folder / f"{name}.{'tif' if picture.mode == 'CMYK' else 'png'}"
        picture.save(files[name])
    return files


def pixels_of(inputs: dict) -> bytes:
    return inputs["pixel_values"][0].contiguous().numpy().tobytes()


def rounded(embeddings: torch.Tensor) -> list[list[float]]:
    """Eight decimals: a thousandth of the bound."""
    return [[round(value, 8) for value in row] for row in embeddings.tolist()]


def write(record: dict) -> None:
    """Indented, but each list of numbers on one line."""
    text = json.dumps(record, indent=1)
    text = re.sub(r"\[\s+([-\d\s.,e]+?)\s+\]", lambda match: f"[{' '.join(match[1].split())}]", text)
    RECORDED.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
