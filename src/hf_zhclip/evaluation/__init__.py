"""Retrieval, zero-shot classification and thresholds, scored as the originals score.

The names are imported when they are first used, so that `import hf_zhclip.evaluation` loads no torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .evaluating import evaluate

__all__ = ["evaluate"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import evaluating

    return getattr(evaluating, name)
