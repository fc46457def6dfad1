"""What a recording of a peer's training and its test share: the sizes, the batches, and what is kept of weights.

The recording runs in an environment of the peer, without hf_zhclip.
"""

import importlib.metadata
import json
import platform
import re
import subprocess
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tests.weights import fingerprint

RECORDED = Path(__file__).parent / "recorded"
COUNT, SIZE = 4, 6
"""Batches, and the pairs of each; a batch is a step."""

TEXT = {
    **{"vocab_size": 21128, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
    **{"intermediate_size": 64, "max_position_embeddings": 96, "hidden_act": "gelu", "layer_norm_eps": 1e-12},
    **{"pad_token_id": 0, "type_vocab_size": 2, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
}
VISION = {
    **{"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256},
    **{"image_size": 64, "patch_size": 16, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
}
EMBED = 48
DIRECTIONS = 3

Batch = tuple[torch.Tensor, torch.Tensor]
"""Pictures in float64, and token ids that are padded on the right."""


def batches(length: int) -> list[Batch]:
    """Random pictures, and texts of different lengths, padded to `length`.

    The numbers come from the uniform generator, which gives the same bits on every machine.
    """
    generator = torch.Generator().manual_seed(11)
    found = []
    for _ in range(COUNT):
        texts = torch.randint(1000, 20000, (SIZE, length), generator=generator)
        texts[:, 0] = 101
        for row, end in zip(texts, torch.randint(3, 13, (SIZE,), generator=generator).tolist(), strict=True):
            row[end - 1] = 102
            row[end:] = 0
        pictures = torch.rand(SIZE, 3, 64, 64, generator=generator, dtype=torch.float64)
        found.append((pictures.sub_(0.5).mul_(3), texts))
    return found


def kept(tensors: Mapping[str, torch.Tensor]) -> dict[str, list[float]]:
    """By key, a tensor's inner products with random directions: a difference anywhere in the tensor changes them."""
    return {key: (_directions(key, each.shape) @ each.double().flatten()).tolist() for key, each in tensors.items()}


def _directions(key: str, shape: torch.Size) -> torch.Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
    return torch.rand(DIRECTIONS, shape.numel(), generator=generator, dtype=torch.float64) - 0.5


def changes(before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: after[key].double() - each.double() for key, each in before.items()}


def upstream(checkout: Path, address: str, file: str) -> dict[str, Any]:
    """Where the peer's code comes from."""
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    commit = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    return {"upstream": address, "commit": commit, "file": file}


def versions(*packages: str) -> dict[str, str]:
    """What the peer's code ran on."""
    names = ("torch", *packages)
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}


def started_from(before: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """The shapes of the weights before the training, and their hash; position ids are no weights."""
    weights = {key: each.float() for key, each in before.items() if not key.endswith("position_ids")}
    return {
        "shapes": {key: list(each.shape) for key, each in weights.items()},
        "weights_sha256": fingerprint(weights),
    }


def write(name: str, record: Mapping[str, Any]) -> None:
    """Indented, but each list of numbers on one line."""
    text = re.sub(
        r"\[\s+([-\d\s.,e]+?)\s+\]", lambda match: f"[{' '.join(match[1].split())}]", json.dumps(record, indent=1)
    )
    RECORDED.mkdir(exist_ok=True)
    (RECORDED / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def read(name: str) -> dict[str, Any]:
    return json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))
