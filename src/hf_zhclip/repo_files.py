"""The files of a converted repo, checked before transformers reads them: such a repo may be a stranger's, too.

transformers reads JSON without limits, follows an index out of the folder, loads adapters and pickles that lie beside
the weights, and fetches kernels that a config names. `check_files` refuses what no converted repo holds.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .budget import MOST_KEYS, MOST_ROWS, MOST_SIDE, check_regular
from .configuration_zhclip import KERNELS
from .errors import InputError
from .json_files import Field, brief, check_each, check_fields, is_kind, read_any_json
from .tokenizer_files import check_added_tokens, check_lengths, check_steps

AGAIN = "Convert the original again, or take the repo from a place that you trust."

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"

FOREIGN = {
    "adapter_config.json": "an adapter, which transformers would load with it",
    "pytorch_model.bin": "weights in a pickle",
    "pytorch_model.bin.index.json": "weights in pickles",
}
"""Files that no converted repo holds, and that transformers would read."""

FIELDS = ("quantization_config", *KERNELS, "transformers_weights", "fusion_config", "distributed_config")
"""Fields of config.json that make transformers import, fetch or read something else; a converted repo states none."""

DTYPES = ("float32", "float16", "bfloat16", "float64")

TOKENIZER = {"model": Field((dict,)), "added_tokens": Field((list,), needed=False)}
ADDED = {"content": Field((str,)), "id": Field((int,))}


def check_files(folder: Path) -> None:
    """Checks the files of a converted repo that transformers reads.

    Raises:
        InputError: a file is none of a converted repo's, or would cost more than the budget allows.
    """
    for name, what in FOREIGN.items():
        # A pickle beside safetensors is never read.
        if (folder / name).exists() and not (name.startswith("pytorch") and (folder / WEIGHTS).exists()):
            raise InputError(f"{folder} holds {name}: {what}; a converted repo holds none. {AGAIN}")
    found = {path.name: read_any_json(path) for path in sorted(folder.glob("*.json")) if _is_read(path.name)}
    _check_config(found.get("config.json", {}), folder)
    _check_weights(folder, found.get(INDEX))
    _check_tokenizer(folder / "tokenizer.json", found.get("tokenizer.json"))
    check_added_tokens(folder)
    for name in ("processor_config.json", "preprocessor_config.json"):
        _check_pictures(folder / name, found.get(name))


def check_tokenizer(file: Path) -> None:
    """Checks a tokenizer.json that lies in no repo, as an ONNX export's.

    Raises:
        InputError: see `check_files`.
    """
    _check_tokenizer(file, read_any_json(file))


def _is_read(name: str) -> bool:
    """Whether transformers reads a JSON file of this name; others are read where they are needed."""
    return name.startswith(("config", "token", "process", "preprocess", "added", "special", "vocab", "model.safe"))


def _check_config(config: Any, folder: Path) -> None:
    file = folder / "config.json"
    towers = {name: Field((dict, type(None)), needed=False) for name in ("text_config", "vision_config")}
    check_fields(config, towers, str(file))
    for where, part in (("", config), *((f"{name}.", config.get(name) or {}) for name in towers)):
        if stated := [name for name in FIELDS if part.get(name) is not None]:
            raise InputError(
                f"{file} states {where}{stated[0]}, which makes transformers load something else; a converted repo "
                f"does not state it. {AGAIN}"
            )
        for name in ("output_hidden_states", "output_attentions"):
            if not isinstance(part.get(name), bool | None):
                raise InputError(f"{file} states {where}{name} {brief(part[name])}; wanted true or false. {AGAIN}")
        for name in ("dtype", "torch_dtype"):
            if part.get(name) is not None and part[name] not in DTYPES:
                raise InputError(
                    f"{file} states {where}{name} {brief(part[name])}; wanted {', '.join(DTYPES)}. {AGAIN}"
                )


def _check_weights(folder: Path, index: Any) -> None:
    if index is None:
        check_regular(folder / WEIGHTS, "the weight file of a converted repo")
        return
    check_fields(index, {"weight_map": Field((dict,))}, str(folder / INDEX))
    places: Mapping[str, Any] = index["weight_map"]
    if len(places) > MOST_KEYS:
        raise InputError(f"{folder / INDEX} names {len(places):,} tensors; at most {MOST_KEYS:,} were wanted.")
    for name in {str(place) for place in places.values()}:
        if Path(name).name != name:
            raise InputError(
                f"{folder / INDEX} names {brief(name)}; names of files in the index's own folder were wanted. {AGAIN}"
            )
        check_regular(folder / name, "a shard of the weights")


def _check_tokenizer(file: Path, content: Any) -> None:
    if content is None:
        return
    check_fields(content, TOKENIZER, str(file))
    check_each(content.get("added_tokens", ()), ADDED, f"{file}, added_tokens")
    vocabulary = content["model"].get("vocab")
    ids = list(vocabulary.values()) if isinstance(vocabulary, dict) else []
    ids += [token["id"] for token in content.get("added_tokens", ())]
    if wrong := [each for each in ids if not is_kind(each, (int,)) or not 0 <= each < MOST_ROWS]:
        raise InputError(f"found the id {brief(wrong[0])} in {file}; wanted a whole number from 0 to {MOST_ROWS - 1}.")
    check_lengths(vocabulary if isinstance(vocabulary, dict) else _pieces(vocabulary), file)
    check_steps(content, file)


def _pieces(vocabulary: Any) -> Iterator[Any]:
    """The pieces of a unigram model."""
    for each in vocabulary if isinstance(vocabulary, list) else ():
        yield each[0] if isinstance(each, list) and each else None


def _check_pictures(file: Path, content: Any) -> None:
    if content is None:
        return
    check_fields(content, {"image_processor": Field((dict, type(None)), needed=False)}, str(file))
    settings = content.get("image_processor") or content
    for name in ("size", "crop_size"):
        size = settings.get(name)
        sides = list(size.values()) if isinstance(size, dict) else [] if size is None else [size]
        if wrong := [each for each in sides if not is_kind(each, (int,)) or not 0 < each <= MOST_SIDE]:
            raise InputError(f"found {name} {brief(wrong[0])} in {file}; wanted 1 to {MOST_SIDE} pixels.")
