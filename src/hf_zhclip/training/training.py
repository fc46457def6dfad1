"""`train`: a repo and data -> a folder with the trained weights."""

import argparse
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..data import read
from ..errors import InputError, WorkError
from ..evaluation.encoding import load_pair
from ..json_files import brief, read_json
from ..telling import near
from .arguments import ContrastiveArguments
from .augmentation import of_processor
from .pairs import Collator, Pairs
from .recipes import FIELDS, read_recipe
from .trainer import ContrastiveTrainer

TRAINED, ADAPTER = "trained", "adapter"
"""The folders that a training's folder has at its end."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """The folder of the trained weights, and that of the adapter if only an adapter was trained."""

    folder: Path
    adapter: Path | None


def train(
    repo: str,
    data: str,
    folder: str | Path,
    *,
    recipe: str,
    split: str | None = None,
    validation: str | None = None,
    resume: bool = False,
    tell: Callable[[str], None] = lambda line: None,
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
        tell: called with one line about everything that a reader of the result should know.
        **arguments: of `ContrastiveArguments`; they replace the recipe's.

    Raises:
        InputError: an argument, the data or the recipe is wrong; found before the first step where it can be known.
        WorkError: a checkpoint could not be written.
    """
    values = read_recipe(recipe)
    given = {**{name: value for name, value in values.items() if name not in FIELDS}, **arguments}
    args = _arguments(Path(folder), given, validation is not None)
    pairs = Pairs(read(data, split=split), tell)
    pool = None if validation is None else read(data, split=validation)
    _check_sizes(args, len(pairs), tell)
    model, processor = load_pair(repo, args.context_length)
    trainer = ContrastiveTrainer(
        _with_lora(model, values["lora"]) if "lora" in values else model,
        args,
        train_dataset=pairs,
        eval_dataset=pool,
        data_collator=Collator(
            processor,
            args.context_length,
            of_processor(processor.image_processor) if args.augment else None,
            args.text_as_cn_clip,
        ),
        processing_class=processor,
    )
    with _worded(args):
        trainer.train(resume_from_checkpoint=_last_checkpoint(args, model.config) if resume else None)
        return _saved(trainer, Path(folder))


def _arguments(folder: Path, given: Mapping[str, Any], validates: bool) -> ContrastiveArguments:
    known = {each.name for each in dataclasses.fields(ContrastiveArguments) if each.init}
    if unknown := sorted(set(given) - known):
        raise InputError(f"{unknown[0]} is no argument of a training.{near(unknown[0], known)}")
    best = {
        **{"eval_strategy": "epoch", "save_strategy": "epoch", "save_total_limit": 2},
        **{"load_best_model_at_end": True, "metric_for_best_model": "mean_recall", "greater_is_better": True},
    }
    try:
        return ContrastiveArguments(**{"output_dir": str(folder), **(best if validates else {}), **given})
    except (TypeError, ValueError, ImportError) as error:
        raise InputError(f"the arguments of the training are wrong: {error}") from error


def parse_arguments(words: Sequence[str]) -> dict[str, Any]:
    """Arguments as they are typed, `--max_steps 3`, by the names of `ContrastiveArguments`; only those that are given.

    Raises:
        SystemExit: a word is no argument, or a value is of another kind; the message is on stderr, the code 2.
    """
    from transformers import HfArgumentParser

    parser = HfArgumentParser(ContrastiveArguments, prog="zhclip train", allow_abbrev=False, add_help=False)
    for action in parser._actions:
        action.default, action.required = argparse.SUPPRESS, False
    return vars(parser.parse_args(list(words)))


def _check_sizes(args: ContrastiveArguments, pairs: int, tell: Callable[[str], None]) -> None:
    """Refuses batches of one pair, which has nothing to be compared with."""
    batch = args.train_batch_size * args.world_size
    if min(batch, pairs) < 2:
        raise InputError(
            f"found batches of {min(batch, pairs)} pair; 2 or more were wanted: the other pairs of a batch are the "
            "wrong answers that a pair learns from. Raise per_device_train_batch_size or give more data."
        )
    if pairs > batch and pairs % batch == 1 and not args.dataloader_drop_last:
        tell("The last batch of each epoch has 1 pair, which teaches nothing; --dataloader_drop_last leaves it out.")


def _with_lora(model: Any, fields: Mapping[str, Any]) -> Any:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise InputError('this recipe trains an adapter with PEFT: pip install "hf-zhclip[train]".') from error
    try:
        return get_peft_model(model, LoraConfig(**fields))
    except (TypeError, ValueError) as error:
        raise InputError(f"the recipe's lora is {brief(fields)}, which PEFT does not take: {error}") from error


def _last_checkpoint(args: ContrastiveArguments, config: Any) -> str:
    """The newest checkpoint of the folder, if it is of the same model."""
    from transformers.trainer_utils import get_last_checkpoint

    place = get_last_checkpoint(args.output_dir) if Path(args.output_dir).is_dir() else None
    if place is None:
        raise InputError(f"{args.output_dir} holds no checkpoint to go on from. Leave out --resume.")
    if (stated := Path(place) / "config.json").is_file():
        found, own = read_json(stated), config.to_dict()
        sizes = ("projection_dim", "text_pooling", "vision_pooling", "text_projection_type", "visual_projection_type")
        if different := [name for name in sizes if found.get(name) != own.get(name)]:
            raise InputError(
                f"{place} is a checkpoint of another model: {different[0]} is {brief(found.get(different[0]))} there, "
                f"and {brief(own.get(different[0]))} in the repo. Take another folder."
            )
    return place


@contextmanager
def _worded(args: ContrastiveArguments) -> Iterator[None]:
    """Says in words why a training ended; its checkpoints stay."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise InputError(
            f"a batch of {args.per_device_train_batch_size} pairs does not fit into the memory. Give --cache_chunk "
            f"{max(args.per_device_train_batch_size // 4, 1)}: the same batch in a part of the memory. The "
            f"checkpoints in {args.output_dir} stay; --resume goes on from the last one."
        ) from error
    except OSError as error:
        raise WorkError(
            f"{args.output_dir} could not be written: {error.strerror or error}. Earlier checkpoints stay; --resume "
            "goes on from the last one."
        ) from error


def _saved(trainer: ContrastiveTrainer, folder: Path) -> Trained:
    """Writes the weights, merged if an adapter was trained, and the processor."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    if not hasattr(model, "merge_and_unload"):
        trainer.save_model(str(folder / TRAINED))
        return Trained(folder / TRAINED, None)
    if trainer.is_world_process_zero():
        model.save_pretrained(folder / ADAPTER)
        model.merge_and_unload().save_pretrained(folder / TRAINED)
        trainer.processing_class.save_pretrained(folder / TRAINED)
    return Trained(folder / TRAINED, folder / ADAPTER)
