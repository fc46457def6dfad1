"""What sentence-transformers would compute from a repo, by the files that state its method, output and prompt.

Source: sentence-transformers, base/modules/transformer.py (`forward`: the method and the output of each modality) and
base/model.py (`default_prompt_name`). The package itself runs beside it in tests/parity.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import normalize

from hf_zhclip.json_files import Field, check_fields, read_any_json, read_json

from ..errors import InputError
from ..reading.modules_json import FILE, SETTINGS
from ..ways_out import finish_it

KINDS = (["Transformer"], ["Transformer", "Normalize"])
METHODS = {"text": "get_text_features", "image": "get_image_features"}
OUTPUT = "pooler_output"
"""The model output that holds one vector for each input."""

TRANSFORMER = "sentence_bert_config.json"
FIELDS = ("transformer_task", "modality_config", "module_output_name", "unpad_inputs")
"""The fields of that file that `convert` writes."""

CONVERT_AGAIN = finish_it("TRAINED")


@dataclass(frozen=True)
class StatedModules:
    """The model's method and output for each modality, the prompt before a text, and the last module."""

    methods: Mapping[str, tuple[str, str]]
    prompt: str
    normalizes: bool

    def vectors(self, model: Any, modality: str, **inputs: torch.Tensor) -> torch.Tensor:
        """The result of `SentenceTransformer.encode` for prepared inputs, `(n, width)`."""
        method, output = self.methods[modality]
        found = getattr(model, method)(**inputs, return_dict=True)[output]
        return normalize(found, dim=-1) if self.normalizes else found


def stated_modules(folder: Path) -> StatedModules | None:
    """What a repo's files state; None without such files.

    Raises:
        InputError: the files state no vector of this model.
    """
    if not (folder / FILE).is_file():
        return None
    kinds = [str(each.get("type")).rsplit(".", 1)[-1] for each in _modules(folder / FILE)]
    if kinds not in KINDS:
        raise InputError(
            f"{folder / FILE} lists {', '.join(kinds)}; Transformer, Normalize was wanted. {CONVERT_AGAIN}"
        )
    return StatedModules(_methods(folder / TRANSFORMER), _prompt(folder / SETTINGS), kinds[-1] == "Normalize")


def _modules(file: Path) -> list[Mapping[str, Any]]:
    found = read_any_json(file)
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise InputError(f"{file} holds no list of modules. {CONVERT_AGAIN}")
    return found


def _methods(file: Path) -> dict[str, tuple[str, str]]:
    stated = read_json(file)
    check_fields(stated, {"modality_config": Field((dict,)), "unpad_inputs": Field((bool,))}, str(file))
    if stated["unpad_inputs"]:
        raise InputError(
            f"{file} states unpad_inputs true, which may join the texts of a batch; false was wanted. {CONVERT_AGAIN}"
        )
    if more := sorted(name for name, value in stated.items() if value and name not in FIELDS):
        raise InputError(
            f"{file} states {', '.join(more)}, which may change the vector of a text; only {', '.join(FIELDS)} were "
            f"wanted. {CONVERT_AGAIN}"
        )
    modalities = stated["modality_config"]
    check_fields(modalities, dict.fromkeys(METHODS, Field((dict,))), f"modality_config in {file}")
    return {modality: _method(modality, modalities[modality], f"{modality} in {file}") for modality in METHODS}


def _method(modality: str, stated: Mapping[str, Any], where: str) -> tuple[str, str]:
    found, wanted = (stated.get("method"), stated.get("method_output_name")), (METHODS[modality], OUTPUT)
    if found != wanted:
        raise InputError(
            f"found {found[1]!r} of {found[0]!r} for {where}; wanted {wanted[1]} of {wanted[0]}. {CONVERT_AGAIN}"
        )
    return wanted


def _prompt(file: Path) -> str:
    """The text before every input text, unless the user sets another prompt."""
    stated = read_json(file) if file.is_file() else {}
    check_fields(stated, {"prompts": Field((dict,), needed=False)}, str(file))
    name = stated.get("default_prompt_name")
    if others := sorted(each for each, text in stated.get("prompts", {}).items() if text and each != name):
        raise InputError(
            f"{file} states the prompts {', '.join(others)}, which encode_query and encode_document put before a "
            f"text; no prompts were wanted. {CONVERT_AGAIN}"
        )
    if name is None:
        return ""
    check_fields(stated, {"prompts": Field((dict,))}, str(file))
    if not isinstance(prompt := stated["prompts"].get(name) if isinstance(name, str) else None, str):
        raise InputError(f"{file} names the prompt {name!r}, but does not state this prompt. {CONVERT_AGAIN}")
    return prompt
