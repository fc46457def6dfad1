"""The raw JSON files of a source: which of them states the model, and how long a text may be.

A module of this package takes `files`, each file's JSON under its name as seen from the folder of the weights, and
`stated`, the JSON that the user gave. Nothing else has read them before.
"""

import posixpath
from collections.abc import Mapping
from typing import Any

Files = Mapping[str, Any]
Json = Mapping[str, Any]

UNLIMITED = 10**6
"""transformers writes a model_max_length of 1e30 where there is no limit."""


def config_json(files: Files, stated: Json) -> Json:
    """The config.json beside the weights, else what the user stated in its place."""
    return files.get("config.json") or stated


def stated_alone(files: Files, stated: Json) -> Json:
    """What the user stated: of these formats no file beside the weights says anything."""
    return stated


def text_limit(files: Files, otherwise: int) -> int:
    """The model_max_length of tokenizer_config.json, or `otherwise` where it states none."""
    stated = files.get("tokenizer_config.json", {}).get("model_max_length")
    return stated if isinstance(stated, int) and stated < UNLIMITED else otherwise


def named(files: Files, name: str) -> tuple[str, Any] | None:
    """The folder of a file of this name, as it is seen from the weights, and its JSON; None where there is none."""
    return next(((posixpath.dirname(path), content) for path, content in files.items() if _ends(path, name)), None)


def _ends(path: str, name: str) -> bool:
    return posixpath.basename(path) == name
