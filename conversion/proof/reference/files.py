"""A source's raw JSON files: which file states the model, and how long a text may be.

A module of this package takes `files`, which maps each file's path relative to the weights' folder to its JSON, and
`stated`, the user's JSON. No other code has changed them.
"""

import posixpath
from collections.abc import Mapping
from typing import Any

Files = Mapping[str, Any]
Json = Mapping[str, Any]

UNLIMITED = 10**6
"""transformers writes a model_max_length of 1e30 for no limit."""


def config_json(files: Files, stated: Json) -> Json:
    """The config.json beside the weights, else the JSON that the user stated instead."""
    return files.get("config.json") or stated


def stated_alone(files: Files, stated: Json) -> Json:
    """What the user stated, for formats without any config beside the weights."""
    return stated


def text_limit(files: Files, otherwise: int) -> int:
    """The model_max_length of tokenizer_config.json, or `otherwise` without a limit."""
    stated = files.get("tokenizer_config.json", {}).get("model_max_length")
    return stated if isinstance(stated, int) and stated < UNLIMITED else otherwise


def image_processor(files: Files) -> Json | None:
    """The fields of the image processor, where transformers looks for them; None if no file states them."""
    nested = files.get("processor_config.json", {}).get("image_processor")
    return nested if isinstance(nested, Mapping) else files.get("preprocessor_config.json")


def named(files: Files, name: str) -> tuple[str, Any] | None:
    """The folder, relative to the weights, and the JSON of a file with this name; None if there is no such file."""
    return next(((posixpath.dirname(path), content) for path, content in files.items() if _ends(path, name)), None)


def _ends(path: str, name: str) -> bool:
    return posixpath.basename(path) == name
