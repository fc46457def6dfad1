"""What a checkpoint must hold before transformers reads it: a training's folder may come from a stranger.

The pickles are read by `hf_zhclip.conversion`'s inert reader, which this module alone of the package imports, when a
training goes on from a checkpoint.
"""

import dataclasses
import errno
import math
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from transformers.trainer_callback import TrainerState

from ..budget import check_regular
from ..errors import InputError, is_memory
from ..json_files import FETCH, Field, brief, check_fields, read_json
from ..paths import resolved

STATE = "trainer_state.json"

_COUNT = Field((int,), needed=False)
_NUMBER = Field((float,), needed=False)
_SWITCH = Field((bool,), needed=False)
STATE_FIELDS = {
    "global_step": Field((int,)),
    **dict.fromkeys(("max_steps", "num_train_epochs", "num_input_tokens_seen"), _COUNT),
    **dict.fromkeys(("epoch", "logging_steps", "eval_steps", "save_steps", "total_flos"), _NUMBER),
    **dict.fromkeys(("is_local_process_zero", "is_world_process_zero", "is_hyper_param_search"), _SWITCH),
    "train_batch_size": Field((int, NoneType), needed=False),
    "best_global_step": Field((int, NoneType), needed=False),
    "best_metric": Field((float, NoneType), needed=False),
    "best_model_checkpoint": Field((str, NoneType), needed=False),
    "trial_name": Field((str, NoneType), needed=False),
    "trial_params": Field((dict, NoneType), needed=False),
    "log_history": Field((list,), needed=False),
    "stateful_callbacks": Field((dict,), needed=False),
}
"""The kinds of the fields of transformers' TrainerState, which takes any value."""

RHYTHMS = ("logging_steps", "eval_steps", "save_steps")
"""Numbers of steps by which transformers divides."""

FULL, INDEX, OF_ADAPTER = "model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors"

NO_PICKLES_OF_WEIGHTS = ("pytorch_model.bin", "pytorch_model.bin.index.json", "adapter_model.bin")
"""Files that transformers would read where they lie; no training writes them any more."""

UNREAD = "training_args.bin"
"""The file of a checkpoint that no training reads."""

PICKLED = (".pt", ".pth", ".bin")

OF_PARAMETER = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "square_avg", "grad_avg", "acc_delta"}
"""What optimizers keep for each number of a parameter."""

MOST_STEPS = 2**53
"""The greatest number of steps that a float64 counts."""

OF_ADAM = {"step", "exp_avg", "exp_avg_sq"}

UNLOADABLE = (
    *(pickle.UnpicklingError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, EOFError),
    *(OverflowError, AssertionError, SafetensorError),
)
"""What torch and transformers raise of a state that they cannot take."""


class CheckpointError(InputError):
    """The last checkpoint of a training holds what no training goes on from."""

    def __init__(self, found: object, checkpoint: Path):
        # Nobody can fetch the state of a training again.
        super().__init__(f"{str(found).removesuffix(f' {FETCH}')} {way_without(checkpoint)}")


def checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints of a training, the newest last; Trainer writes the state's file at the end."""
    found = []
    for place in folder.glob("checkpoint-*"):
        step = place.name.removeprefix("checkpoint-")
        if step.isdecimal() and (place / STATE).is_file():
            try:
                read_json(place / STATE)
            except InputError:
                continue  # cut off by a full disk
            found.append((int(step), place))
    return [place for _, place in sorted(found)]


def way_without(checkpoint: Path) -> str:
    """What can be done where the last checkpoint is of no use."""
    before = [each for each in checkpoints(checkpoint.parent) if _step(each) < _step(checkpoint)]
    way = f"goes on from {before[-1]}" if before else "is then left out, and the training begins again"
    return f"Remove the folder {checkpoint}: --resume {way}."


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))


def check_checkpoint(checkpoint: Path, model: Any, args: Any) -> None:
    """Refuses a checkpoint that is not of this training's kind, before transformers reads a file of it.

    Args:
        model: the model that trains, with its adapter; as it is before a Trainer has it.
        args: the training's TrainingArguments.

    Raises:
        CheckpointError: its state, its weights or a pickle is not what a training wrote.
    """
    sharded = bool(args.fsdp)
    try:
        best = _check_state(checkpoint, args)
        for place in (checkpoint, *([best] if best not in (None, checkpoint) else [])):
            _check_folders(place, sharded)
            _check_weights(place, model, sharded)
        for file in sorted(checkpoint.iterdir()):
            if file.suffix in PICKLED and file.name != UNREAD:
                _check_pickle(file)
        if (config := checkpoint / "config.json").exists():
            read_json(config)
    except InputError as error:
        raise CheckpointError(error, checkpoint) from error


def _check_state(checkpoint: Path, args: Any) -> Path | None:
    """Checks what transformers noted of a training; gives the checkpoint with the best weights, if it lies here."""
    file = checkpoint / STATE
    state = read_json(file)
    known = {each.name for each in dataclasses.fields(TrainerState)}
    if unknown := sorted(state.keys() - known):
        raise InputError(f"found the field {brief(unknown[0])} in {file}, which transformers' state does not have.")
    check_fields(state, STATE_FIELDS, str(file))
    if state["global_step"] != _step(checkpoint):
        raise InputError(
            f"found global_step {state['global_step']} in {file}; the {_step(checkpoint)} of its folder was wanted."
        )
    for name in RHYTHMS:
        if not state.get(name, 1) > 0:
            raise InputError(f"found {name} {state[name]} in {file}; a number above 0 was wanted.")
    batch = state.get("train_batch_size")
    most = args.train_batch_size if args.auto_find_batch_size else math.inf
    if batch is not None and not 1 <= batch <= most:
        raise InputError(f"found train_batch_size {batch} in {file}; 1 to {most} was wanted.")
    if wrong := [each for each in state.get("log_history", ()) if not isinstance(each, dict)]:
        raise InputError(f"found {brief(wrong[0])} in the log_history of {file}; objects were wanted.")
    _check_callbacks(state.get("stateful_callbacks", {}), file)
    return _best(state.get("best_model_checkpoint"), checkpoint, file)


def _check_callbacks(callbacks: Mapping[str, Any], file: Path) -> None:
    """Refuses states of callbacks that a training here does not have: transformers makes objects of them."""
    for name, each in callbacks.items():
        fits = name == "TrainerControl" and isinstance(each, dict) and not each.keys() - {"args", "attributes"}
        switches = each.get("args", {}) if fits else None
        if not isinstance(switches, dict) or (fits and each.get("attributes")):
            raise InputError(f"found {brief(name)} with {brief(each)} in the stateful_callbacks of {file}.")
        if not all(name.startswith("should_") and isinstance(value, bool) for name, value in switches.items()):
            raise InputError(f"found {brief(switches)} in the stateful_callbacks of {file}; switches were wanted.")


def _best(named: str | None, checkpoint: Path, file: Path) -> Path | None:
    """The checkpoint that had the best weights; a place elsewhere would be read as weights at the end."""
    if named is None:
        return None
    try:
        if not Path(named).is_dir():
            return None  # transformers ignores it, too
        found = resolved(named)
    except (OSError, ValueError) as error:
        raise InputError(f"found best_model_checkpoint {brief(named)} in {file}, which is no path.") from error
    if found.parent != resolved(checkpoint.parent) or not found.name.startswith("checkpoint-"):
        raise InputError(
            f"found best_model_checkpoint {brief(named)} in {file}; a checkpoint in {checkpoint.parent} was wanted."
        )
    return checkpoint.parent / found.name


def _check_folders(checkpoint: Path, sharded: bool) -> None:
    """Refuses weights that transformers would take in the place of those that a training writes."""
    for name in NO_PICKLES_OF_WEIGHTS:
        if (checkpoint / name).exists():
            raise InputError(f"found {checkpoint / name}; a training writes its weights as safetensors.")
    for folder in sorted(each for each in checkpoint.iterdir() if each.is_dir()):
        if (folder / ".metadata").exists() or folder.name.startswith(("optimizer", "pytorch_model")):
            if not sharded:
                raise InputError(
                    f"found {folder}, which a training writes under FSDP alone; this training has no fsdp."
                )
            _check_shards(folder)
        elif any(folder.glob("adapter_model.*")):
            raise InputError(f"found the adapter {folder}, which no training here writes.")


def _check_shards(folder: Path) -> None:
    from ..conversion.reading.distributed import Folder

    Folder(folder)


def _check_weights(checkpoint: Path, model: Any, sharded: bool) -> None:
    """Compares the names and the shapes of the weights with the model's, in both directions."""
    adapter = hasattr(model, "peft_config")
    wanted, name = (_of_adapter(model), OF_ADAPTER) if adapter else (model.state_dict(), FULL)
    others = (FULL, INDEX) if adapter else (OF_ADAPTER,)
    if strange := [each for each in others if (checkpoint / each).exists()]:
        raise InputError(f"found {checkpoint / strange[0]}; the weights of this training lie in {name}.")
    if (checkpoint / name).exists():
        found = _shapes(checkpoint / name)
    elif not adapter and (checkpoint / INDEX).exists():
        found = _shapes_of_shards(checkpoint)
    elif sharded:  # FSDP's own folder, whose reader asks for every weight of the model
        return
    else:
        raise InputError(f"found no {name} in {checkpoint}.")
    shared = {each.data_ptr() for key, each in wanted.items() if key in found and each.numel()}
    lacking = [key for key, each in wanted.items() if key not in found and each.data_ptr() not in shared]
    where = checkpoint / name
    if lacking:
        raise InputError(f"{where} lacks {len(lacking)} of the model's {len(wanted)} weights, such as {lacking[0]}.")
    if more := sorted(found.keys() - wanted.keys()):
        raise InputError(f"{where} holds {len(more)} weights that the model does not have, such as {brief(more[0])}.")
    for key, shape in found.items():
        if shape != (own := tuple(wanted[key].shape)):
            raise InputError(f"{where} holds {key} of shape {shape}; the model's {own} was wanted.")


def _of_adapter(model: Any) -> dict[str, torch.Tensor]:
    from peft import get_peft_model_state_dict

    return get_peft_model_state_dict(model)


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    check_regular(file, "the weights of a checkpoint")
    try:
        with safe_open(file, "pt") as content:
            return {key: tuple(content.get_slice(key).get_shape()) for key in content.keys()}  # noqa: SIM118
    except (SafetensorError, *UNLOADABLE) as error:
        raise InputError(f"{file} is damaged or cut off: {error}.") from error


def _shapes_of_shards(checkpoint: Path) -> dict[str, tuple[int, ...]]:
    """The shapes in the files that an index names; each lies in the checkpoint's own folder."""
    index = checkpoint / INDEX
    content = read_json(index)
    check_fields(content, {"weight_map": Field((dict,))}, str(index))
    found: dict[str, tuple[int, ...]] = {}
    for name in sorted(map(str, set(map(str, content["weight_map"].values())))):
        if Path(name).name != name or not name.endswith(".safetensors") or (checkpoint / name).is_symlink():
            raise InputError(f"found the file {brief(name)} in {index}; safetensors of its own folder were wanted.")
        found |= _shapes(checkpoint / name)
    if strange := sorted(found.keys() ^ content["weight_map"].keys()):
        raise InputError(f"{index} and its files differ in {brief(strange[0])}.")
    return found


def _check_pickle(file: Path) -> None:
    value = _read(file)
    if not isinstance(value, dict):
        raise InputError(f"{file} holds {brief(value)}; a dict was wanted.")
    if file.name.startswith("rng_state"):
        _check_random(value, file)


def _read(file: Path) -> Any:
    from ..conversion.reading.training_state import read_training_state

    return read_training_state(file)


def _check_random(state: Mapping[str, Any], file: Path) -> None:
    """Refuses states of generators that are not of the kinds of Python's, numpy's and torch's."""
    own, arrays, numbers = (state.get(name) for name in ("python", "numpy", "cpu"))
    if not (isinstance(own, tuple) and len(own) == 3 and isinstance(own[1], tuple) and _all_words(own[1])):
        raise InputError(f"{file} holds no state of Python's random generator.")
    if not (isinstance(arrays, tuple | list) and len(arrays) == 5 and isinstance(arrays[1], np.ndarray)):
        raise InputError(f"{file} holds no state of numpy's random generator.")
    if not isinstance(numbers, torch.Tensor) or numbers.shape != torch.get_rng_state().shape:
        raise InputError(f"{file} holds no state of torch's random generator.")


def _all_words(values: Sequence[Any]) -> bool:
    return len(values) == 625 and all(type(each) is int and 0 <= each < 2**32 for each in values)


@contextmanager
def loading(checkpoint: str | None) -> Iterator[None]:
    """Says in words that torch or transformers does not take a checkpoint's state.

    Raises:
        CheckpointError: see above.
    """
    try:
        yield
    except CheckpointError:
        raise
    except (OSError, *UNLOADABLE) as error:
        if checkpoint is None or is_memory(error) or (isinstance(error, OSError) and error.errno != errno.EINVAL):
            raise  # EINVAL: of a place before the file's first byte, which a damaged zip states
        told = (
            error
            if isinstance(error, InputError)
            else f"{checkpoint} holds a state that does not fit: {error!r:.300}."
        )
        raise CheckpointError(told, Path(checkpoint)) from error


def check_optimizer(checkpoint: Path, optimizer: Any) -> None:
    """Refuses the state of another optimizer than a training's, which its steps would trust.

    Raises:
        InputError: the groups, their settings or the shapes of their tensors are not the optimizer's.
    """
    file = next((each for each in (checkpoint / "optimizer.pt", checkpoint / "optimizer.bin") if each.exists()), None)
    if file is None:
        raise InputError(f"{checkpoint} lacks its optimizer.")
    content, own = _read(file), optimizer.state_dict()["param_groups"]
    if not isinstance(content, dict) or not isinstance(content.get("state"), dict):
        raise InputError(f"{file} holds no state of an optimizer.")
    groups = content.get("param_groups")
    if not isinstance(groups, list) or len(groups) != len(own) or not all(isinstance(each, dict) for each in groups):
        raise InputError(f"{file} holds param_groups {brief(groups)}; a list of {len(own)} was wanted.")
    for group, settings in zip(groups, own, strict=True):
        needed = {name for name, value in settings.items() if not isinstance(value, bool | NoneType)}
        if lacking := sorted(needed - group.keys()):
            raise InputError(f"a group in {file} lacks {lacking[0]}.")
        if group["params"] != settings["params"]:
            raise InputError(f"a group in {file} has other parameters than the training.")
        _check_like({name: each for name, each in group.items() if name in settings}, settings, f"a group of {file}")
        if wrong := [each for each in group.get("betas") or () if each is not None and not 0 <= each <= 1]:
            raise InputError(f"a group in {file} has the beta {wrong[0]}; 0 to 1 was wanted.")
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    is_adam = isinstance(getattr(optimizer, "optimizer", optimizer), torch.optim.Adam | torch.optim.AdamW)
    for number, entry in content["state"].items():
        if type(number) is not int or not 0 <= number < len(parameters) or not isinstance(entry, dict):
            raise InputError(f"{file} holds a state of {brief(number)}, which is no parameter.")
        _check_entry(entry, parameters[number], is_adam, f"the state of parameter {number} in {file}")


def _check_entry(entry: Mapping[Any, Any], parameter: torch.Tensor, is_adam: bool, where: str) -> None:
    """Refuses what an optimizer keeps of a parameter where it has another shape or lacks a part."""
    if is_adam and entry and (lacking := sorted(OF_ADAM - entry.keys())):
        raise InputError(f"{where} lacks {lacking[0]}.")
    for name, value in entry.items():
        is_tensor = isinstance(value, torch.Tensor)
        if is_tensor and (value.layout != torch.strided or value.is_quantized or value.is_meta):
            raise InputError(f"{where} has {brief(name)} in another form than plain numbers.")
        if is_tensor and not _is_spread(value):
            raise InputError(f"{where} has {brief(name)} whose numbers share their places.")
        if name == "step":
            is_number = value.numel() == 1 if is_tensor else type(value) in (int, float)
            fits = is_number and 0 <= float(value) < MOST_STEPS
        elif name in OF_PARAMETER:
            fits = value.shape == parameter.shape if is_tensor else value is None and not is_adam
        else:
            fits = not is_tensor or value.numel() <= max(parameter.numel(), 1)
        if not fits:
            shown = f"of shape {tuple(value.shape)}" if is_tensor else brief(value)
            raise InputError(f"{where} has {brief(name)} {shown}; the parameter has shape {tuple(parameter.shape)}.")


def _is_spread(value: torch.Tensor) -> bool:
    """Whether each number of a tensor has a place of its own, so that a step may write into it."""
    least = 1
    for stride, size in sorted(zip(value.stride(), value.shape, strict=True)):
        if size > 1 and stride < least:
            return False
        least = max(least, stride * size)
    return True


def check_schedule(checkpoint: Path, schedule: Any) -> None:
    """Refuses the state of another schedule than a training's: its fields become the schedule's, whatever they are.

    Raises:
        InputError: a field is of another kind, or would hide a function of the schedule.
    """
    file = checkpoint / "scheduler.pt"
    content = _read(file)
    if not isinstance(content, dict):
        raise InputError(f"{file} holds {brief(content)}; a schedule was wanted.")
    own = schedule.state_dict()
    for name in content.keys() - own.keys():  # another release of torch may note more
        if not isinstance(name, str) or hasattr(schedule, name):
            raise InputError(f"found the field {brief(name)} in {file}, which a schedule does not note.")
    if own.keys() & {"last_epoch", "base_lrs"} - content.keys():
        raise InputError(f"{file} lacks last_epoch or base_lrs.")
    _check_like({name: each for name, each in content.items() if name in own}, own, str(file))


def _check_like(found: Any, own: Any, where: str) -> None:
    """Refuses a value of another kind, or of another length, than the training's own value at this place."""
    if own is None and not isinstance(found, dict | list):
        return
    if isinstance(own, dict):
        fits = isinstance(found, dict) and not found.keys() - own.keys()
        inner = [(found[name], own[name]) for name in found] if fits else []
    elif isinstance(own, list | tuple):
        fits = isinstance(found, list | tuple) and len(found) == len(own)
        inner = list(zip(found, own, strict=True)) if fits else []
    else:
        fits, inner = _is_like(found, own), []
    if not fits:
        raise InputError(f"found {brief(found)} in {where}; a value like {brief(own)} was wanted.")
    for each, wanted in inner:
        _check_like(each, wanted, where)


def _is_like(found: Any, own: Any) -> bool:
    if isinstance(own, torch.Tensor) or isinstance(found, torch.Tensor):
        numbers = [each for each in (found, own) if not isinstance(each, bool)]
        return all(isinstance(each, int | float) or getattr(each, "shape", None) == () for each in numbers)
    if isinstance(own, bool) or isinstance(found, bool):
        return type(found) is type(own) or (own is False and found is None)
    if isinstance(own, int | float) and isinstance(found, int | float):
        return math.isfinite(found) or not math.isfinite(own)
    return type(found) is type(own)
