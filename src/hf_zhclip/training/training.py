"""`train`: a repo and data -> a folder with the trained weights."""

import argparse
import dataclasses
import errno
import functools
import hashlib
import json
import math
import shlex
import shutil
import struct
import typing
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError, safe_open
from transformers import TrainerCallback, set_seed
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from ..budget import check_regular
from ..data import Split, read
from ..data.reading import check_outside
from ..errors import InputError, WorkError, is_memory
from ..inference.loading import load_pair
from ..json_files import brief, read_json
from ..paths import resolved
from ..staging import check_parents
from ..telling import near
from .adapters import with_lora
from .arguments import CHECKPOINTING, RENAMED, ContrastiveArguments
from .augmentation import of_processor
from .pairs import Collator, Pairs, silent
from .parts import freeze, trains_batch_norm
from .recipes import FIELDS, read_recipe
from .resuming import CheckpointError, check_checkpoint, checkpoints, way_without
from .space import check_space
from .trainer import ContrastiveTrainer, DivergedError, inner

TRAINED, ADAPTER = "trained", "adapter"
"""The folders that a training's folder has at its end."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The errors of a disk that takes no more."""

STARTED = "zhclip_training.json"
"""The file in which a training notes the model that it starts from."""

OURS = {
    "output_dir": "which follows from OUT",
    "resume_from_checkpoint": "for which --resume stands",
    "remove_unused_columns": "which would remove the pictures",
    "push_to_hub": "for which `zhclip push` stands",
    "label_smoothing_factor": "which the contrastive loss does not have",
}
"""The arguments of TrainingArguments that a training here does not take, and why."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a training gives.

    Attributes:
        folder: the trained weights.
        adapter: the adapter, if only an adapter was trained.
        steps: the steps of the whole training; it is counted on from a checkpoint.
        best: the best value of the validation, which chose the weights, and its step; None without a validation.
    """

    folder: Path
    adapter: Path | None
    steps: int
    best: tuple[float, int] | None


def train(
    repo: str,
    data: str,
    folder: str | Path,
    *,
    recipe: str,
    split: str | None = None,
    validation: str | None = None,
    resume: bool = False,
    repository: bool = False,
    tell: Callable[[str], None] = silent,
    **arguments: Any,
) -> Trained:
    """Trains a converted repo on pairs of texts and pictures.

    Args:
        repo: a converted repo of both towers.
        data: what `hf_zhclip.data.read` reads.
        folder: gets the checkpoints while the training runs, and the trained weights in `trained` at its end.
        recipe: the name of a recipe that ships, or a YAML file.
        split: the split of `data` to train on, if it holds several.
        validation: the split of `data` whose recall is measured at each evaluation, and chooses the best weights.
        resume: go on from the last checkpoint in `folder`.
        repository: the disk needs space for the trained weights as a repository, too.
        tell: called with one line about everything that a reader of the result should know.
        **arguments: of `ContrastiveArguments`; they replace the recipe's.

    Raises:
        InputError: an argument, the data or the recipe is wrong; found before the first step where it can be known.
        WorkError: the disk has no room for the checkpoints and the result, or a checkpoint could not be written.
    """
    values = read_recipe(recipe)
    place = Path(folder)
    given = {**{name: value for name, value in values.items() if name not in FIELDS}, **arguments}
    args = _arguments(place, given, validation is not None)
    check_outside(place, data)
    for each in (repo, data):
        if resolved(each) in resolved(place).parents:
            raise InputError(f"{place} lies in {each}, which a training only reads. Choose a place outside.")
    pairs = Pairs(read(data, split=split), tell)
    pool = None if validation is None else _pool(data, validation)
    _check_sizes(args, len(pairs), tell)
    model, processor = _loaded(repo, args, tell)
    start = {"model": identity(model), "lora": values.get("lora"), "freeze": args.freeze}
    checkpoint = _checkpoint(place, args, start, resume)
    set_seed(args.seed)  # before the adapter gets its first weights
    if "lora" in values:
        model = with_lora(model, values["lora"])
    freeze(inner(model), args.freeze)
    if checkpoint is not None:
        check_checkpoint(Path(checkpoint), model, args)
    if not args.process_index:
        check_space(place, model, args, len(pairs), len(checkpoints(place)), repository)
        _begin(place, start)
    with _right_arguments():
        trainer = ContrastiveTrainer(
            model,
            args,
            train_dataset=pairs,
            eval_dataset=pool,
            data_collator=Collator(
                processor,
                args.context_length,
                of_processor(processor.image_processor, not args.augment) if args.augment or args.crop else None,
                args.text_as_cn_clip,
            ),
            processing_class=processor,
            tell=tell,
        )
    for each in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(each)  # they print to stdout, where the result stands
    trainer.add_callback(Tells(tell))
    with _worded(args, trains_batch_norm(trainer.model), tell):
        trainer.train(resume_from_checkpoint=checkpoint)
        return _saved(trainer, repo, place)


def _pool(data: str, validation: str) -> Split:
    """The split of the validation.

    Raises:
        InputError: it has no recall.
    """
    pool = read(data, split=validation)
    if pool.blind:
        raise InputError(
            f"the split {validation} of {data} is blind: its texts name no pictures, so that it has no "
            "recall. Name another split with --validation."
        )
    return pool


def _loaded(repo: str, args: ContrastiveArguments, tell: Callable[[str], None]) -> tuple[Any, Any]:
    """The model, in a dtype in which it can be trained, and its processor."""
    model, processor = load_pair(repo, args.context_length)
    own, length = processor.tokenizer.model_max_length, args.context_length
    if length not in (None, own):
        tell(
            f"{repo} cuts texts at {own} tokens, and so will the trained repo; context_length {length} holds for the "
            f"training alone. For both, convert the original with --context-length {length}, and train that repo."
        )
    if model.dtype in (torch.float16, torch.bfloat16):
        tell(f"{repo} holds {str(model.dtype).removeprefix('torch.')}; it is trained, and written, as float32.")
        model = model.float()  # small steps would be lost in a half
    return model, processor


class Tells(TrainerCallback):
    """Tells what Trainer logs, on one line."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_world_process_zero:
            figures = ", ".join(
                f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}"
                for name, value in (logs or {}).items()
                if name != "total_flos"
            )
            self._tell(f"Step {state.global_step} of {state.max_steps}: {figures}")


SHOWN = {"logging_first_step": True, "logging_steps": 50}
"""How often the loss is told; transformers would be silent for 500 steps, which may be the whole training."""


def _arguments(folder: Path, given: Mapping[str, Any], validates: bool) -> ContrastiveArguments:
    given = {RENAMED.get(name, name): value for name, value in given.items()}
    known = {each.name for each in dataclasses.fields(ContrastiveArguments) if each.init} - set(OURS)
    if ours := sorted(set(given) & set(OURS)):
        raise InputError(f"found {ours[0]}, {OURS[ours[0]]}. Leave it out.")
    if unknown := sorted(set(given) - known):
        raise InputError(f"{unknown[0]} is no argument of a training.{near(unknown[0], known)}")
    best = {
        **{"eval_strategy": "epoch", "save_strategy": "epoch", "save_total_limit": 2},
        **{"load_best_model_at_end": True, "metric_for_best_model": "mean_recall", "greater_is_better": True},
    }
    strategy = str(getattr(given.get("eval_strategy"), "value", given.get("eval_strategy")))
    if validates and strategy == "no":
        raise InputError("found a split for the validation and eval_strategy no. Leave one of them out.")
    if not validates and strategy in ("steps", "epoch"):
        raise InputError(f"found eval_strategy {strategy} without a split to validate on. Name it with --validation.")
    if "eval_strategy" in given:  # the best weights can only be kept where they were saved
        best |= {f"save_{name}": given[f"eval_{name}"] for name in ("strategy", "steps") if f"eval_{name}" in given}
    given = {name: _typed(name, value) for name, value in given.items()}
    with _right_arguments():
        return ContrastiveArguments(**{"output_dir": str(folder), **SHOWN, **(best if validates else {}), **given})


_PACKAGE = "the arguments of the training need a package: {}"


@contextmanager
def _right_arguments() -> Iterator[None]:
    """Says in words that transformers refuses an argument, or misses a package that an argument needs."""
    try:
        yield
    except InputError:
        raise
    except ImportError as error:
        raise InputError(_PACKAGE.format(error)) from error
    except RuntimeError as error:
        if "to be installed" not in str(error):  # transformers' words for the packages of report_to
            raise
        raise InputError(_PACKAGE.format(error)) from error
    except (TypeError, ValueError) as error:
        raise InputError(f"the arguments of the training are wrong: {error}") from error


def parse_arguments(words: Sequence[str]) -> dict[str, Any]:
    """Arguments as they are typed, `--max_steps 3`, by the names of `ContrastiveArguments`; only those that are given.

    Raises:
        InputError: a word is no argument, or a value is of another kind.
    """
    parser = _parser()
    found, more = parser.parse_known_args([_installed(word) for word in words])
    if more:
        known = [f"--{action.dest}" for action in parser._actions]
        word = next((each for each in more if each.startswith("--")), more[0]).partition("=")[0]
        raise InputError(
            f"{word} is no argument of a training.{near(word, known)} Arguments of a training stand after REPO, DATA "
            "and OUT, each with its value."
        )
    return vars(found)


def _installed(word: str) -> str:
    """An option by the name that the installed transformers takes."""
    name, equals, value = word.partition("=")
    if name.startswith("--"):
        name = f"--{RENAMED.get(name[2:], name[2:])}"
    return f"{name}{equals}{value}"


def _parser() -> argparse.ArgumentParser:
    from transformers import HfArgumentParser

    class Parser(HfArgumentParser):
        def error(self, message: str) -> NoReturn:  # argparse would print some hundred arguments before the message
            raise InputError(f"{message.partition(chr(10))[0]}.")

    parser = Parser(ContrastiveArguments, prog="zhclip train", allow_abbrev=False, add_help=False)
    for action in parser._actions:
        action.default, action.required = argparse.SUPPRESS, False
    return parser


def _typed(name: str, value: Any) -> Any:
    """A recipe's value, of the kind that the command line would make of it: YAML reads 3e-6 as a text.

    Raises:
        InputError: the value is of another kind.
    """
    if value is None:
        if _DEFAULTS.get(name) is not None:
            raise InputError(f"found {name} without a value. Leave the line out, or give a value.")
        return None
    kind = _kinds().get(name)
    if kind in (int, float):
        try:
            found = kind(value) if not isinstance(value, bool) else None
        except (TypeError, ValueError, OverflowError):
            found = None
        if found is None or not math.isfinite(found) or (kind is int and found != float(value)):
            wanted = "a whole number" if kind is int else "a number"
            raise InputError(f"found {name} {brief(value)}; {wanted} was wanted.")
        return found
    if kind is bool and not isinstance(value, bool):
        raise InputError(f"found {name} {brief(value)}; true or false was wanted.")
    if kind is str and type(value) in (int, float):  # some texts may also be switches, lists or mappings
        raise InputError(f"found {name} {brief(value)}; a text was wanted.")
    return value


_DEFAULTS = {each.name: each.default for each in dataclasses.fields(ContrastiveArguments)}


@functools.cache
def _kinds() -> dict[str, type]:
    """The arguments that are numbers, switches or texts."""
    kinds: dict[str, type] = {}
    for name, hint in typing.get_type_hints(ContrastiveArguments).items():
        parts = {each for each in (typing.get_args(hint) or (hint,)) if each is not type(None)}
        if parts in ({int}, {float}, {bool}, {str}):
            kinds[name] = parts.pop()
        elif parts == {int, float}:
            kinds[name] = float
    return kinds


def _check_sizes(args: ContrastiveArguments, pairs: int, tell: Callable[[str], None]) -> None:
    """Refuses batches of one pair, which has nothing to be compared with."""
    batch = args.train_batch_size * (1 if args.negatives == "local" else args.world_size)
    if pairs < args.train_batch_size * args.world_size and args.dataloader_drop_last:
        raise InputError(
            f"found {pairs} pairs and dataloader_drop_last, which leaves out a batch of fewer than "
            f"{args.train_batch_size * args.world_size} pairs: no step would be left. Lower "
            "per_device_train_batch_size or leave out dataloader_drop_last."
        )
    if min(batch, pairs) < 2:
        raise InputError(
            f"found batches of {min(batch, pairs)} pair; 2 or more were wanted: the other pairs of a batch are the "
            "wrong answers that a pair learns from. Raise per_device_train_batch_size or give more data."
        )
    if pairs > batch and pairs % batch == 1 and not args.dataloader_drop_last:
        tell("The last batch of each epoch has 1 pair, which teaches nothing; --dataloader_drop_last leaves it out.")


def identity(model: Any) -> str:
    """A hash of the weights and of the config: the model that a training started from, wherever it lies."""
    config = {name: value for name, value in model.config.to_dict().items() if name != "_name_or_path"}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _checkpoint(folder: Path, args: ContrastiveArguments, start: Mapping[str, Any], resume: bool) -> str | None:
    """Checks the training's folder, and gives the checkpoint to go on from.

    A training that wrote a checkpoint is never mixed with another training; what wrote none is replaced.

    Raises:
        InputError: the folder holds another training or something else, or no checkpoint to go on from.
    """
    check_parents(folder)
    note, found = folder / STARTED, checkpoints(folder)
    if resume:
        if not found:
            raise InputError(f"{folder} holds no checkpoint to go on from. Leave out --resume.")
        if not note.is_file():
            raise InputError(
                f"{folder} lacks its {STARTED}, which says what its checkpoints started from. Choose another OUT, or "
                "remove the folder, to train from the start."
            )
        noted = read_json(note)
        if noted.get("model") != start["model"]:
            raise InputError(
                f"{found[-1]} is a checkpoint of another model: its training did not start from REPO as it is now. "
                "Name the REPO of that training, or another OUT."
            )
        for name in ("lora", "freeze"):
            if noted.get(name) != start[name]:
                raise InputError(
                    f"{found[-1]} is a checkpoint of a training with {name} {brief(noted.get(name))}; found {name} "
                    f"{brief(start[name])}. Give the recipe and the arguments of that training, or another OUT."
                )
        _check_whole(found, args)
        return str(found[-1])
    if args.process_index:  # the first process has checked, or is about to
        return None
    if found or (folder / TRAINED).exists():
        held = "the checkpoints" if found else "the weights"
        finish = shlex.join(["zhclip", "convert", str(folder / TRAINED), "OUT", "--base", "REPO"])
        way = "--resume goes on from the last of them" if found else f"`{finish}` finishes them"
        raise InputError(
            f"{folder} holds {held} of an earlier training, which are not overwritten. {way}; or choose another OUT, "
            "or remove the folder."
        )
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not note.is_file())):
        raise InputError(f"{folder} exists and is no folder of a training. Choose another OUT.")
    return None


_PARTS_OF_A_CHECKPOINT = {
    "weights": ("model.safetensors", "model-", "adapter_model", "pytorch_model"),
    "optimizer": ("optimizer",),
    "schedule": ("scheduler",),
    "random state": ("rng_state",),
}
"""What a training needs to go on, and how the names of its files or folders begin."""


_OF_ZIPS = (zipfile.BadZipFile, UnicodeError, NotImplementedError, OverflowError, struct.error)
"""What zipfile raises of a damaged file."""


def _check_whole(found: Sequence[Path], args: ContrastiveArguments) -> None:
    """Refuses the last checkpoint if a file of it is cut off, or if it has more steps than are asked for."""
    last = found[-1]
    names = [file.name for file in last.iterdir()]
    for part, beginnings in _PARTS_OF_A_CHECKPOINT.items():
        if not any(name.startswith(beginnings) for name in names):
            raise InputError(f"{last} lacks its {part}. Remove the folder: an older checkpoint may be whole.")
    for file in sorted(last.iterdir()):
        try:
            if file.suffix in (".safetensors", ".pt", ".bin", ".pth"):
                check_regular(file, "a part of a checkpoint")
            if file.suffix == ".safetensors":
                with safe_open(file, "pt"):
                    pass
            elif file.suffix in (".pt", ".bin", ".pth"):
                zipfile.ZipFile(file).close()
        except (SafetensorError, *_OF_ZIPS) as error:
            raise InputError(f"{file} is damaged or cut off: {error}. {way_without(last)}") from error
    steps = int(last.name.removeprefix("checkpoint-"))
    if 0 < args.max_steps < steps:
        raise InputError(
            f"found max_steps {args.max_steps}, but {last} has {steps} steps already. Give --max_steps {steps} or "
            "more."
        )


def _begin(folder: Path, start: Mapping[str, Any]) -> None:
    """Notes what the training starts from, and removes checkpoints that a full disk cut off."""
    folder.mkdir(parents=True, exist_ok=True)
    if not checkpoints(folder):  # to go on, the other processes read the note now, and a kill must not cut it off
        (folder / STARTED).write_text(json.dumps(start), encoding="utf-8")
    for place in set(folder.glob("checkpoint-*")) - set(checkpoints(folder)):
        shutil.rmtree(place)


_STAY = "The checkpoints in {} stay; --resume goes on from the last one."


@contextmanager
def _worded(args: ContrastiveArguments, batch_norm: bool, tell: Callable[[str], None]) -> Iterator[None]:
    """Says in words why a training ended; its checkpoints stay."""
    try:
        yield
    except (DivergedError, CheckpointError):
        raise  # a checkpoint of this training would end again in this way
    except KeyboardInterrupt:
        if checkpoints(Path(args.output_dir)):
            tell(_STAY.format(args.output_dir))
        raise
    except ImportError as error:  # of the optimizer that the arguments name
        raise InputError(_PACKAGE.format(error)) from error
    except (InputError, OSError, RuntimeError, SafetensorError, MemoryError) as error:
        stay = ""
        if checkpoints(Path(args.output_dir)):
            stay = f" {_STAY.format(args.output_dir)}"
        if isinstance(error, InputError):
            raise InputError(f"{error}{stay}") from error
        if isinstance(error, torch.OutOfMemoryError) or is_memory(error):
            batch = args.cache_chunk or args.per_device_train_batch_size
            raise InputError(
                f"{batch} pairs do not fit into the memory at once. {_less_memory(args, batch, batch_norm)}{stay}"
            ) from error
        if isinstance(error, RuntimeError) and "DataLoader worker" in str(error):
            raise WorkError(
                f"A process that reads the data was killed, perhaps for lack of memory: {error}.{stay}"
            ) from (error)
        if not _is_writing(error):
            raise
        if isinstance(error, OSError) and error.errno not in FULL:
            raise WorkError(f"The training ended: {error}.{stay}") from error
        why = getattr(error, "strerror", None) or error
        raise WorkError(f"{args.output_dir} could not be written: {why}. Free some space.{stay}") from error


def _less_memory(args: ContrastiveArguments, batch: int, batch_norm: bool) -> str:
    """What needs less memory than the arguments: only what is not given already, and what is not refused."""
    ways = []
    if args.cache_chunk != 1:
        chunk = f"--cache_chunk {max(batch // 4, 1)}"
        if batch_norm and not args.as_cn_clip:  # `check_chunks` refuses the exact way
            ways.append(f"Give {chunk} --as_cn_clip: a part of the memory, with BatchNorm over a part of the batch.")
        else:
            ways.append(f"Give {chunk}: the same batch in a part of the memory.")
    if not getattr(args, CHECKPOINTING):
        ways.append("Give --gradient_checkpointing: more time, and less memory.")
    return " ".join(ways) or "A smaller model, or a device with more memory, is needed."


def _is_writing(error: BaseException) -> bool:
    """Whether a file could not be written; torch says so in a RuntimeError."""
    words = ("PytorchStreamWriter", "file write", "inline_container")
    return isinstance(error, OSError | SafetensorError) or (
        isinstance(error, RuntimeError) and any(each in str(error) for each in words)
    )


def _saved(trainer: ContrastiveTrainer, repo: str, folder: Path) -> Trained:
    """Writes the weights, merged if an adapter was trained, and the processor; each folder is complete or absent."""
    adapter, weights = hasattr(trainer.model, "merge_and_unload"), trainer.gathered()
    if lost := [name for name, each in weights.items() if not each.isfinite().all()]:
        raise DivergedError(f"{lost[0]} holds numbers that are not finite")
    if trainer.is_world_process_zero():
        with _complete(folder / (ADAPTER if adapter else TRAINED)) as place:
            trainer._save(str(place), weights)
        if adapter:
            with _complete(folder / TRAINED) as place:
                _merged(repo, folder / ADAPTER).save_pretrained(place)
                trainer.processing_class.save_pretrained(place)
    state = trainer.state
    best = (state.best_metric, state.best_global_step) if state.best_metric is not None else None
    return Trained(folder / TRAINED, folder / ADAPTER if adapter else None, state.global_step, best)


@contextmanager
def _complete(folder: Path) -> Iterator[Path]:
    """Gives a place beside a folder; the folder appears when the block succeeds."""
    part = folder.with_name(f"{folder.name}-part")
    yield part
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


def _merged(repo: str, adapter: Path) -> Any:
    from peft import PeftModel

    return PeftModel.from_pretrained(load_pair(repo)[0].float(), adapter).merge_and_unload()
