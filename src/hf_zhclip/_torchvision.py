"""Hides a torchvision from transformers if it is installed but cannot be imported."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator


def hide_broken_torchvision() -> None:
    """Makes a torchvision whose import fails look as if it were not installed.

    transformers asks only whether torchvision is installed. A torchvision that was built for another torch ("operator
    torchvision::nms does not exist") then breaks nearly every import. hf_zhclip needs no torchvision. The function
    does nothing if torchvision is absent, works, or is imported already.
    """
    if "torchvision" in sys.modules:
        return
    spec = importlib.util.find_spec("torchvision")
    if spec is None or _operators_load(spec.submodule_search_locations or ()):
        return
    try:
        importlib.import_module("torchvision")
    except (ImportError, OSError, RuntimeError, AttributeError):
        _hide()


def _operators_load(folders) -> bool:
    """Whether the compiled operators load: a check of milliseconds, where importing torchvision takes a second."""
    import torch

    if hasattr(torch.ops.torchvision, "nms"):
        return True
    try:
        for library in _libraries(folders):
            torch.ops.load_library(library)
    except OSError:
        return False
    return hasattr(torch.ops.torchvision, "nms")


def _libraries(folders) -> Iterator[str]:
    for folder in folders:
        for name in os.listdir(folder):
            if name.startswith("_C.") and name.endswith((".so", ".pyd")):
                yield os.path.join(folder, name)


def _hide() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    sys.modules["torchvision"] = None  # type: ignore[assignment]
    # If transformers was imported first, it has cached "installed". It has imported no module that uses torchvision.
    utils = sys.modules.get("transformers.utils.import_utils")
    for name in ("is_torchvision_available", "is_torchvision_v2_available", "is_torchvision_greater_or_equal"):
        forget = getattr(getattr(utils, name, None), "cache_clear", None)
        if forget is not None:
            forget()
