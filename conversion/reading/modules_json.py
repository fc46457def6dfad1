"""A sentence-transformers folder: the modules in its modules.json, and the content of the modules after the first.

Source: sentence-transformers, base/model.py (`_load_modules`) and the `load` of each module. modules.json lists paths
and classes; the first module is a transformers model, at the root or in its own folder.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hf_zhclip.json_files import read_any_json, read_json

from ..errors import InputError
from .containers import open_file

FILE = "modules.json"
SETTINGS = "config_sentence_transformers.json"

DENSE = "2_Dense."
"""The prefix that this package gives the keys of the Dense, the third module, whatever its folder's name."""

DENSE_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""In the order in which sentence-transformers looks for them."""

TRANSFORMER_CONFIGS = (
    "sentence_bert_config.json",
    *(
        f"sentence_{name}_config.json"
        for name in ("roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
    ),
)
"""Config files of the first module; the first existing file counts (base/modules/transformer.py, `load_config`)."""

WHOLE = (("Transformer",), ("CLIPModel",))
"""Modules of a folder that holds only a transformers model."""

TEXT = ("Transformer", "Pooling", "Dense")
"""Modules of a text tower with its projection."""


@dataclass(frozen=True)
class Module:
    """One module: its class name without the path, which moved between versions, and its folder ("" is the root)."""

    kind: str
    path: str


def listed(folder: Path) -> tuple[Module, ...]:
    """The folder's modules without a final Normalize, which `encode_*` do anyway; () without a modules.json.

    Raises:
        InputError: modules.json is damaged, or lists something unsupported.
    """
    file = folder / FILE
    if not file.is_file():
        return ()
    modules = parse(file)
    kinds = tuple(module.kind for module in modules)
    if kinds not in (*WHOLE, TEXT):
        projection = "" if "Dense" in kinds else " Without a Dense, its vectors cannot be compared with pictures."
        raise InputError(
            f"{folder} is a sentence-transformers model of the modules {', '.join(kinds) or 'none'} ({FILE}). "
            f"Supported are {', '.join(TEXT)}, or CLIPModel alone. Normalize may be the last module.{projection}"
        )
    return modules


def parse(file: Path) -> tuple[Module, ...]:
    """The modules in a modules.json without a final Normalize.

    Raises:
        InputError: modules.json is damaged, or names foreign code or a place outside of its folder.
    """
    _check_there(file)
    found = read_any_json(file)
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise InputError(f"{file} holds no list of modules; wanted a list as sentence-transformers writes it.")
    modules = [_module(each.get("type"), each.get("path"), file) for each in found]
    if modules and modules[-1].kind == "Normalize":
        modules.pop()
    return tuple(modules)


def _module(kind: Any, path: Any, file: Path) -> Module:
    if not isinstance(kind, str) or not kind.startswith("sentence_transformers."):
        raise InputError(
            f"{file} names the module {kind!r}, which is not part of sentence-transformers. Its code is not run."
        )
    if not isinstance(path, str) or Path(path).is_absolute() or ".." in Path(path).parts:
        raise InputError(f"{file} has a module at {path!r}; wanted a folder beside {FILE}.")
    return Module(kind.rsplit(".", 1)[-1], path.rstrip("/"))


def body(folder: Path) -> Path:
    """The folder of the transformers model: the first module's folder, or `folder` itself without a modules.json."""
    modules = listed(folder)
    return folder / modules[0].path if modules else folder


@dataclass(frozen=True)
class Projection:
    """The Dense's tensors, the files that were read, and under `modules` the statements of all modules."""

    tensors: Mapping[str, Any]
    files: tuple[Path, ...]
    config: Mapping[str, Any]


def projection(folder: Path) -> Projection | None:
    """The modules after the model in a text tower's folder; None if the folder is no such folder.

    Raises:
        InputError: one of its files is missing or damaged.
    """
    modules = listed(folder)
    if len(modules) != len(TEXT):
        return None
    first, pooling, dense = (folder / module.path for module in modules)
    weights = next((dense / name for name in DENSE_WEIGHTS if (dense / name).is_file()), None)
    if weights is None:
        raise InputError(
            f"{dense} holds no text projection ({' or '.join(DENSE_WEIGHTS)}). Fetch the projection, too."
        )
    settings = next((first / name for name in TRANSFORMER_CONFIGS if (first / name).is_file()), None)
    stated = [settings, pooling / "config.json", dense / "config.json"]
    configs = [{} if file is None else _object(file) for file in stated]
    config: dict[str, Any] = {"modules": [{**found, "type": kind} for kind, found in zip(TEXT, configs, strict=True)]}
    files = [weights, folder / FILE, *(file for file in stated if file is not None)]
    if (folder / SETTINGS).is_file():
        files.append(folder / SETTINGS)
        config["default_prompt_name"] = _object(folder / SETTINGS).get("default_prompt_name")
    return Projection(_tensors(weights), tuple(files), config)


def _tensors(weights: Path) -> dict[str, torch.Tensor]:
    """The tensors of a Dense's file, under keys with the prefix `DENSE`."""
    top = open_file(weights).top
    if wrong := [f"a {type(value).__name__} as {key}" for key, value in top.items() if not torch.is_tensor(value)]:
        raise InputError(f"{weights} holds {', '.join(wrong)}; a state dict of tensors was wanted.")
    return {DENSE + str(key): tensor for key, tensor in top.items()}


def _object(file: Path) -> dict[str, Any]:
    _check_there(file)
    return read_json(file)


def _check_there(file: Path) -> None:
    if not file.is_file():
        raise InputError(f"{file} does not exist, but {FILE} names its folder. Fetch the file, too.")
