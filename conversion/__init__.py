"""Conversion of original checkpoints; each command of `zhclip` is a function of the same name here."""

import importlib

if __name__ == "conversion":
    raise ImportError(
        "Import hf_zhclip.conversion (`pip install -e .` maps it): as `conversion` it would exist twice."
    )

# Where a public name is defined; it is imported when it is first used.
_LAZY = {
    "InputError": "errors",
    "MappingError": "errors",
    "ParityError": "errors",
    "Report": "report",
    "UnknownFormat": "errors",
    "WorkError": "errors",
    "ZhclipError": "errors",
    "convert": "pipeline",
    "inspect": "inspection",
    "load": "loading",
    "verify": "verification",
}

__all__ = sorted(_LAZY)


def __getattr__(name: str):
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
