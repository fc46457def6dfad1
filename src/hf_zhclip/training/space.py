"""What a training writes, in bytes, and whether the disk holds it."""

import math
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from ..errors import WorkError
from .arguments import ContrastiveArguments

STATES = {"adamw_torch": 2, "adamw_torch_fused": 2}
"""How many numbers these optimisers keep for each weight that trains; others are counted as if they kept none."""


def check_space(
    folder: Path, model: Any, args: ContrastiveArguments, pairs: int, there: int, repository: bool
) -> None:
    """Refuses a training whose checkpoints and result the disk of `folder` cannot hold.

    Args:
        model: what is trained, its frozen weights frozen.
        pairs: the number of pairs in an epoch.
        there: the number of checkpoints that lie on the disk already.
        repository: whether the trained weights become a repository on the same disk.

    Raises:
        WorkError: see above.
    """
    checkpoint, result = _sizes(model, args, repository)
    free = shutil.disk_usage(next(each for each in (folder, *folder.absolute().parents) if each.exists())).free
    limits = (args.save_total_limit, 1)
    counts = [_new_checkpoints(args, pairs, there, limit) for limit in limits]
    needed, least = (count * checkpoint + result for count in counts)
    if free < needed:
        fewer = ", or give --save_total_limit 1, which keeps fewer checkpoints" if least <= free else ""
        raise WorkError(
            f"The disk of {folder} has {free:,} bytes free, but {needed:,} bytes are needed: {counts[0]} times "
            f"{checkpoint:,} bytes for checkpoints, and {result:,} bytes for the result. Free some space or choose "
            f"another disk{fewer}."
        )


def _sizes(model: Any, args: ContrastiveArguments, repository: bool) -> tuple[int, int]:
    """The bytes of a checkpoint, and those of the result."""
    weights = _bytes(model.state_dict().values())
    trained = _bytes(each for each in model.parameters() if each.requires_grad)
    adapter = trained if hasattr(model, "merge_and_unload") else 0
    states = 0 if args.save_only_model else STATES.get(str(getattr(args.optim, "value", args.optim)), 0)
    return (adapter or weights) + states * trained, adapter + weights * (2 if repository else 1)


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(each.numel() * each.element_size() for each in tensors)


def _new_checkpoints(args: ContrastiveArguments, pairs: int, there: int, limit: int | None) -> int:
    """The most checkpoints that are added to those that are there, at a time."""
    saves = _saves(args, pairs)
    if not saves or not limit or limit < 0:
        return max(saves - there, min(saves, 1))
    kept = max(limit, 2) if args.load_best_model_at_end else limit
    # The oldest is removed after the newest is written.
    return max(min(saves, kept + 1) - there, 1)


def _saves(args: ContrastiveArguments, pairs: int) -> int:
    """How many checkpoints a training writes."""
    batches = pairs / (args.train_batch_size * args.world_size)
    batches = math.floor(batches) if args.dataloader_drop_last else math.ceil(batches)
    epoch = max(math.ceil(batches / args.gradient_accumulation_steps), 1)
    steps = args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * epoch)
    if args.save_strategy == "steps":
        every = args.save_steps if args.save_steps >= 1 else max(math.ceil(args.save_steps * steps), 1)
        return math.ceil(steps / every)
    return {"no": 0, "epoch": math.ceil(steps / epoch)}.get(args.save_strategy, 1)
