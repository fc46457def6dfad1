"""Conversion of original checkpoints; each command of `zhclip` is a function of the same name here."""

import importlib

if __name__ == "conversion":
    raise ImportError(
        "Import hf_zhclip.conversion (`pip install -e .` maps it): as `conversion` it would exist twice."
    )

# The module that defines each public name; it is imported when the name is first used.
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

# `import *` must not hide Python's own `list`, so that `list` is given only to a caller who asks for it by name.
__all__ = sorted(_LAZY.keys() - {"list"})


def __getattr__(name: str):
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
