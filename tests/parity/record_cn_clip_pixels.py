"""Writes recorded/cn_clip_pixels.json: hashes of what the original image pipelines make of tests/image_modes.py.

Run where cn_clip is installed (the environment of `make parity`): python -m tests.parity.record_cn_clip_pixels
"""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np

from tests.image_modes import PICTURES
from tests.parity.pipelines import PIPELINES

FILE = Path(__file__).parent / "recorded" / "cn_clip_pixels.json"
SIZE = 224


def sha256(pixels: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels, dtype="<f4").tobytes()).hexdigest()


def main() -> None:
    record = {
        "versions": {name: version(name) for name in ("cn_clip", "torchvision", "transformers", "pillow", "numpy")},
        "size": SIZE,
        "sha256": {
            order: {name: sha256(pipeline(draw(), SIZE)) for name, draw in PICTURES.items()}
            for order, pipeline in PIPELINES.items()
        },
    }
    FILE.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
