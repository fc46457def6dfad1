"""Contrastive training on transformers' Trainer, as the originals train.

The names are imported when they are first used, so that `import hf_zhclip.training` loads no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .arguments import ContrastiveArguments
    from .pairs import Collator, Pairs
    from .trainer import ContrastiveTrainer
    from .training import train

_LAZY = {
    "Collator": "pairs",
    "ContrastiveArguments": "arguments",
    "ContrastiveTrainer": "trainer",
    "Pairs": "pairs",
    "train": "training",
}

__all__ = ["Collator", "ContrastiveArguments", "ContrastiveTrainer", "Pairs", "train"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
