"""What training left around a state dict -> the state dict: nests, prefixes and averages, removed and named."""

import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from hf_zhclip.budget import MOST_NAME_LENGTH, MOST_TENSORS

from ..errors import InputError
from .pickles import some

NESTED = ("state_dict", "model", "model_state_dict", "app")
"""Top-level keys under which training scripts keep the weights; `app` is from torch's distributed checkpoints."""

AVERAGES = (
    "state_dict_ema",
    "model_ema",
    "ema",
    "ema_state_dict",
    "params_ema",
    "ema_model",
    "ema_params",
    "ema_weights",
    "shadow_params",
    "shadow",
)
"""Top-level keys under which training scripts keep a moving average beside the weights."""

AVERAGE_PREFIXES = ("ema.", "model_ema.", "ema_model.")
"""Prefixes of an average inside one state dict, if a LightningModule holds both sets of weights."""

ANYWHERE = ("_orig_mod.", "_forward_module.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""Prefixes that wrappers of a submodule also leave in the middle of a key."""

COUNTER = "n_averaged"
"""The key that torch.optim.swa_utils.AveragedModel adds; it also puts `module.` before the other keys."""

TRAINER_STATE = "trainer_state.json"
"""The file that marks a folder as one step of transformers' Trainer."""

SHOWN_RIVALS = 3
"""How many other sets of weights a message names."""

MOST_PATH = 200
"""The characters of a path of keys that messages show, and of its last key."""

LIGHTNING = "pytorch-lightning_version"

SWAPPED = ("current_model_state", "state_dict", "averaging_state")
"""Where Lightning's callback WeightAveraging keeps the raw weights, its average and its state.

The average takes the place of the weights (`on_save_checkpoint`, lightning/pytorch/callbacks/weight_averaging.py).
"""

ATTRIBUTES = ("model.", "net.")
"""Names that a LightningModule gives its trained model, if it holds nothing else."""

DEEPSPEED = ("ds_version", "ds_config", "param_shapes")

FROZEN = "frozen_param_fragments"
"""Where DeepSpeed keeps a copy of the frozen weights, beside the whole model."""

WRAPPERS = {
    "module.": "DistributedDataParallel or DataParallel",
    "_orig_mod.": "torch.compile",
    "_forward_module.": "Lightning with DeepSpeed",
    "_fsdp_wrapped_module.": "FSDP",
    "_checkpoint_wrapped_module.": "activation checkpointing",
    COUNTER: "AveragedModel: the weights are an average (SWA or EMA)",
    TRAINER_STATE: "a checkpoint of transformers' Trainer",
    LIGHTNING: "a checkpoint of Lightning",
    DEEPSPEED[
        0
    ]: "a DeepSpeed checkpoint of ZeRO-1 or ZeRO-2: the weights that DeepSpeed computes with. If these have "
    "16 bits, DeepSpeed's zero_to_fp32.py makes float32 weights from the optimizer's states",
    **{name: "a moving average (EMA) of the weights" for name in (*AVERAGES, *AVERAGE_PREFIXES)},
    SWAPPED[1]: "the average (EMA or SWA) of Lightning's WeightAveraging, which keeps the raw weights beside it",
    **{name: "the attribute of a LightningModule" for name in ATTRIBUTES},
}
"""The names in `Checkpoint.wrappers`, and what each of them is."""

OWN_SCRIPT = (
    "Run DeepSpeed's own `python zero_to_fp32.py . OUT` in the folder that holds the file `latest`, one level above "
    "the step's folder. Then convert OUT."
)

LOCAL_SHARDS = (
    "local shards of FSDP. Only a training with the same number of processes can read them. Resume the training and "
    "save with fsdp_state_dict_type FULL_STATE_DICT or SHARDED_STATE_DICT. Both are converted as they are; "
    "`accelerate merge-weights FOLDER OUT` can also merge the folder of SHARDED_STATE_DICT."
)


@dataclass(frozen=True)
class Average:
    """A second set of weights, a moving average of the first; `name` is its place, which `wrappers` also names."""

    name: str
    tensors: Mapping[str, torch.Tensor]
    wrappers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unwrapped:
    """Tensors under the upstream's keys, the removed wrappers, and the training's other values."""

    tensors: Mapping[str, torch.Tensor]
    wrappers: tuple[str, ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    average: Average | None = None


def unwrap(top: Mapping[Any, Any], path: Path) -> Unwrapped:
    """Finds the state dict in a file's content, and removes the wrappers' prefixes from its keys.

    Raises:
        InputError: there is no state dict or more than one, only some keys have a prefix, or two keys are equal
            without their prefixes.
    """
    nest = _unnest(top, path)
    lightning = LIGHTNING in nest.wrappers
    inside = _strip(nest.tensors, path, lightning)
    outside = nest.average and _strip_average(nest.average.name, nest.average.tensors, inside.tensors, path, lightning)
    averages = [average for average in (outside, inside.average) if average]
    if len(averages) > 1:
        raise InputError(_several([average.name for average in averages], path))
    average = averages[0] if averages else None
    return Unwrapped(
        inside.tensors,
        (*nest.wrappers, *inside.wrappers),
        {**nest.training, **inside.training},
        average and replace(average, wrappers=(*nest.wrappers, average.name, *average.wrappers)),
    )


# Nests


def _unnest(top: Mapping[Any, Any], path: Path) -> Unwrapped:
    """The state dict, the average beside it, and the other values found on the way; prefixes still remain."""
    levels: list[tuple[str, dict[str, Any]]] = []
    wrappers: list[str] = []
    averages: dict[str, Any] = {}
    name = ""
    while True:
        wrappers += [LIGHTNING] if LIGHTNING in top else []
        dicts = [key for key in NESTED if isinstance(top.get(key), dict)]
        nested = [key for key in dicts if _is_nest(top[key])] or dicts  # `model` may be a dict of settings
        beside = [key for key in AVERAGES if _is_nest(top.get(key))]
        if any(key in top for key in DEEPSPEED):
            _refuse_parts(top, path)
            nested = ["module"]
            wrappers.append(DEEPSPEED[0])
        elif SWAPPED[2] in top and all(_is_nest(top.get(key)) for key in SWAPPED[:2]):
            nested, beside = [SWAPPED[0]], [SWAPPED[1], *beside]
        if len(nested) + len(averages) == 0 and len(beside) == 1:  # only an average: there is no choice to make
            nested, beside = beside, []
            wrappers += nested
        if len(nested) > 1:
            raise InputError(_several(nested, path))
        averages |= {key: top[key] for key in beside}
        if not nested:
            break
        rest = {str(key): value for key, value in top.items() if key not in (nested[0], *beside)}
        levels.append((name, rest))
        top, name = top[nested[0]], _join(name, nested[0])
    if len(averages) > 1:
        raise InputError(_several(averages, path))
    tensors = _named_tensors(top, path)
    for place, rest in levels:
        if rivals := _rivals(name, tensors, place, rest):
            raise InputError(_several((name, *rivals), path))
    average = [Average(key, _unnest_average(key, values, path)) for key, values in averages.items()]
    training = {key: scalar(value) for _, rest in levels for key, value in rest.items()}
    return Unwrapped(tensors, tuple(wrappers), training, average[0] if average else None)


def _unnest_average(name: str, values: Mapping[Any, Any], path: Path) -> Mapping[str, torch.Tensor]:
    found = _unnest(values, path)
    if found.average:
        raise InputError(_several((name, f"{name}.{found.average.name}"), path))
    return found.tensors


def _is_nest(value: Any) -> bool:
    """Whether the value holds tensors by name, directly or one level deeper."""
    return isinstance(value, dict) and any(
        isinstance(each, torch.Tensor) or (key in NESTED and isinstance(each, dict)) for key, each in value.items()
    )


def _rivals(name: str, tensors: Mapping[str, torch.Tensor], place: str, rest: Mapping[str, Any]) -> list[str]:
    """Places of other possible weights of the same model, in the `rest` at `place` around the weights under `name`.

    These are a dict with mostly the same names, and anything with tensors under the name of an average, or loose
    around an average alone. An optimizer's states do not count: their keys are numbers, or they lie one level deeper.
    """
    keys = _names(tensors)
    found: list[str] = []
    alone = any(step in AVERAGES for step in name.split("."))
    known: dict[int, bool] = {}
    for where, values in _containers(place, rest):
        if len(found) == SHOWN_RIVALS:  # each further place would be compared with all of them
            break
        last = where.rpartition(".")[2]
        if last == FROZEN or any(where.startswith(f"{each}.") for each in found):
            continue
        names = _names(values)
        if values is rest:
            averaged = alone and len(names) > 0
        else:
            averaged = last in AVERAGES and _holds_weights(values, known)
        if averaged or 2 * len(keys & names) > min(len(keys), len(names)):
            loose = next((str(key) for key, value in values.items() if _is_weight(value)), "")
            found.append(_join(place, loose) if values is rest else where)
    return found


def _containers(place: str, value: Any) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Every dict, list and tuple in a value, outer first, each once, because a pickled value may contain itself."""
    todo, seen = deque([(place, value)]), set()
    while todo:
        place, value = todo.popleft()
        if id(value) in seen or not isinstance(value, (dict, list, tuple)):
            continue
        seen.add(id(value))
        values = value if isinstance(value, dict) else dict(enumerate(value))
        yield place, values
        todo.extend((_join(place, str(key)), each) for key, each in values.items())


def _holds_weights(value: Any, known: dict[int, bool]) -> bool:
    """Whether a container holds a weight at any depth; `known` says it of containers that were looked at."""
    if not isinstance(value, (dict, list, tuple)):
        return False
    if id(value) not in known:
        known[id(value)] = False
        inner = list(value.values()) if isinstance(value, dict) else value
        known[id(value)] = any(map(_is_weight, inner)) or any(_holds_weights(each, known) for each in inner)
    return known[id(value)]


def _join(place: str, key: str) -> str:
    """The path of a key; long names are cut, because a path repeats the names of all levels."""
    return f"{place[:MOST_PATH]}.{key[:MOST_PATH]}" if place else key[:MOST_PATH]


def _is_weight(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.dim() > 0


def _names(values: Mapping[Any, Any]) -> set[str]:
    """The names of the weights without wrappers' prefixes and dots, so that raw names and averages' names compare."""
    return {_bare(str(key)).replace(".", "") for key, value in values.items() if _is_weight(value)}


def _bare(key: str) -> str:
    key = key[:MOST_NAME_LENGTH]
    prefixes = ("module.", *ANYWHERE, *AVERAGE_PREFIXES, *ATTRIBUTES)
    while prefix := next((each for each in prefixes if key.startswith(each)), None):
        key = key.removeprefix(prefix)
    return key


def _several(names: Iterable[str], path: Path) -> str:
    return f"{path} holds weights under {' and '.join(names)}: save only the set of weights that you want."


def _refuse_parts(top: Mapping[Any, Any], path: Path) -> None:
    """Refuses DeepSpeed files that do not hold the whole model."""
    module = top.get("module")
    if not isinstance(module, dict) or not module:
        raise InputError(
            f"{path} is a part of a DeepSpeed checkpoint: it holds the optimizer's states but no weights. {OWN_SCRIPT}"
        )
    if (parts := top.get("mp_world_size", 1)) != 1:
        raise InputError(
            f"{path} is one of {parts} parts of a DeepSpeed model that was divided among {parts} devices (tensor "
            "parallelism). Save the model on a single device with model.save_16bit_model(...), and convert the saved "
            "file."
        )
    empty = [key for key, value in module.items() if isinstance(value, torch.Tensor) and value.numel() == 0]
    if empty:
        raise InputError(
            f"{path} is a part of a DeepSpeed ZeRO-3 checkpoint: it holds empty placeholders in place of weights "
            f"({some(empty)}). {OWN_SCRIPT}"
        )


def _named_tensors(values: Mapping[Any, Any], path: Path) -> dict[str, torch.Tensor]:
    if numbered := [f"{key!r} ({type(key).__name__})" for key in values if not isinstance(key, str)]:
        raise InputError(f"{path} holds no state dict: its keys are {some(numbered)}; names of tensors were wanted.")
    if len(values) > MOST_TENSORS:
        raise InputError(
            f"{path} holds {len(values):,} tensors; at most {MOST_TENSORS:,} were wanted, and the largest known "
            "model has 1,300."
        )
    if long := next((key for key in values if len(key) > MOST_NAME_LENGTH), None):
        raise InputError(
            f"{path} holds a tensor whose name has {len(long):,} characters ({long[:60]} …); at most "
            f"{MOST_NAME_LENGTH:,} were wanted."
        )
    wrong = {key: type(value).__name__ for key, value in values.items() if not isinstance(value, torch.Tensor)}
    if wrong or not values:
        found = some(f"{key} ({kind})" for key, kind in wrong.items()) or "nothing"
        raise InputError(f"{path} holds no state dict: beside tensors there is {found}; tensors alone were wanted.")
    return dict(values)


def scalar(value: Any) -> int | float | str:
    """The value if it is a plain number or a word, a numpy scalar as a plain value; dots for anything larger."""
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (int, float, str)) else "…"


# Prefixes


def _strip(tensors: Mapping[str, torch.Tensor], path: Path, lightning: bool) -> Unwrapped:
    """Removes one prefix after the other from all keys, and separates an average that stands beside the weights."""
    wrappers: list[str] = []
    training: dict[str, Any] = {}
    average: tuple[str, Mapping[str, torch.Tensor]] | None = None
    while True:
        if (prefix := _average_prefix(tensors)) and average is None:
            own = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            average = prefix, own
            tensors = {key: value for key, value in tensors.items() if not key.startswith(prefix)}
        elif _is_averaged(tensors):
            counter = tensors[COUNTER]
            training[COUNTER] = "…" if counter.is_meta else scalar(counter.tolist())
            tensors = {key.removeprefix("module."): value for key, value in tensors.items() if key != COUNTER}
            wrappers.append(COUNTER)
        elif wrapper := _wrapper(tensors, path, lightning):
            tensors = {key.removeprefix(wrapper): value for key, value in tensors.items()}
            wrappers.append(wrapper)
        else:
            break
    if flat := [key for key in tensors if key.split(".")[-1].strip("_") == "flat_param"]:
        raise InputError(f"{path} holds {LOCAL_SHARDS} (Seen: {some(flat)}.)")
    tensors, inner = _strip_inside(tensors, path, wrappers)
    return Unwrapped(
        tensors,
        (*wrappers, *inner),
        training,
        _strip_average(*average, tensors, path, lightning) if average else None,
    )


def _average_prefix(keys: Iterable[str]) -> str | None:
    """The prefix under which some of the keys, but not all, are an average of the others."""
    keys = list(keys)
    return next(
        (p for p in AVERAGE_PREFIXES if 0 < sum(key.startswith(p) for key in keys) < len(keys)),
        None,
    )


def _is_averaged(keys: Mapping[str, torch.Tensor]) -> bool:
    return COUNTER in keys and all(key.startswith("module.") for key in keys if key != COUNTER)


def _wrapper(keys: Mapping[str, torch.Tensor], path: Path, lightning: bool) -> str | None:
    """The prefix to remove next."""
    if attribute := next((p for p in (*AVERAGE_PREFIXES, *ATTRIBUTES * lightning) if _all(keys, p)), None):
        return attribute
    found = next((p for p in ("module.", *ANYWHERE) if any(key.startswith(p) for key in keys)), None)
    if found and (bare := [key for key in keys if not key.startswith(found)]):
        raise InputError(
            f"{path}: some keys begin with {found!r} and some do not, so the file is a mixture of two state dicts. "
            f"Keys without {found!r}: {some(bare)}. Save one model's state dict alone."
        )
    return found


def _all(keys: Iterable[str], prefix: str) -> bool:
    return all(key.startswith(prefix) for key in keys)


def _strip_inside(
    tensors: Mapping[str, torch.Tensor], path: Path, before: Iterable[str]
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Removes submodule wrappers' prefixes in the middle of keys."""
    keys, removed = list(tensors), []
    for prefix in ANYWHERE:
        if any(f".{prefix}" in key for key in keys):
            keys = [".".join(word for word in key.split(".") if f"{word}." != prefix) for key in keys]
            removed.append(prefix)
    if twice := sorted(key for key, count in Counter(keys).items() if count > 1):
        prefixes = ", ".join((*before, *removed))
        raise InputError(f"{path}: without the prefixes {prefixes} these keys collide: {some(twice)}.")
    return dict(zip(keys, tensors.values(), strict=True)), removed


def _strip_average(
    name: str, values: Mapping[str, torch.Tensor], raw: Mapping[str, torch.Tensor], path: Path, lightning: bool
) -> Average:
    if "num_updates" in values:
        return Average(name, _dotted(values, raw, path))
    own = _strip(values, path, lightning)
    if own.average:
        raise InputError(_several((name, f"{name}.{own.average.name}"), path))
    return Average(name, own.tensors, own.wrappers)


def _dotted(
    values: Mapping[str, torch.Tensor], raw: Mapping[str, torch.Tensor], path: Path
) -> dict[str, torch.Tensor]:
    """Gives the raw weights' keys to an average whose names have lost their dots.

    Such a class (`LitEma` of CompVis/latent-diffusion, ldm/modules/ema.py) averages only trained weights. Its
    `copy_to` leaves untrained weights and buffers as they are in the model.
    """
    keys = {key.replace(".", ""): key for key in raw}
    averaged = {name: value for name, value in values.items() if name not in ("decay", "num_updates")}
    alike = [key for key in raw if keys[key.replace(".", "")] != key]
    if unknown := sorted(averaged.keys() - keys.keys()) + alike:
        raise InputError(
            f"{path} holds an average without dots in its keys, and for some keys the weight is not clear: "
            f"{some(unknown)}. Save one set of weights alone."
        )
    return {**raw, **{keys[name]: value for name, value in averaged.items()}}
