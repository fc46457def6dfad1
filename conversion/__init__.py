"""Conversion of original checkpoints; each command of `zhclip` is a function of the same name here."""

import importlib

if __name__ == "conversion":
    raise ImportError(
        "Import hf_zhclip.conversion (`pip install -e .` maps it): as `conversion` it would exist twice."
    )

# Where a public name is defined; it is imported when it is first used.
_LAZY = {
    "Entry": "reading.catalogue",
    "Exported": "exports.exporting",
    "InputError": "errors",
    "MappingError": "errors",
    "ParityError": "errors",
    "Pushed": "publishing.pushed",
    "Report": "repos.report",
    "UnknownFormat": "errors",
    "WorkError": "errors",
    "ZhclipError": "errors",
    "card": "publishing.cards",
    "convert": "pipeline",
    "export": "exports.exporting",
    "inspect": "inspection",
    "list": "reading.catalogue",
    "load": "loading",
    "push": "publishing.publish",
    "verify": "proof.verification",
}

# `list` is there for those who ask for it by name; `import *` must not put it over Python's own.
__all__ = sorted(_LAZY.keys() - {"list"})


def __getattr__(name: str):
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
