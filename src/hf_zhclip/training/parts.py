"""Which weights train, which decay, and which patches a step sees."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ..errors import InputError
from .arguments import FREEZES, ContrastiveArguments

LARGEST_SCALE = 4.6052
"""ln 100 as cn_clip rounds it: published checkpoints stand at this number, which a step must not lower."""


def freeze(model: nn.Module, what: str) -> None:
    """Makes parts of a model keep their weights; `what` is a name of `FREEZES`."""
    for name in FREEZES[what]:
        getattr(model, name).requires_grad_(False)


def keep_statistics(model: nn.Module) -> None:
    """Puts frozen BatchNorm layers into evaluation, after each `model.train()`: also those beside an adapter.

    Source: `freeze_vision_bn` in cn_clip/training/train.py.
    """
    for module in batch_norms(model):
        if not _trains(module):
            module.eval()


def batch_norms(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """The BatchNorm layers of a model."""
    return [each for each in model.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]


def _trains(module: nn.Module) -> bool:
    return any(weight.requires_grad for weight in module.parameters())


def trains_batch_norm(model: nn.Module) -> bool:
    """Whether a BatchNorm layer trains: its output depends on the pictures that are computed at once."""
    return any(map(_trains, batch_norms(model)))


def check_chunks(model: nn.Module, args: ContrastiveArguments) -> None:
    """Refuses chunks for BatchNorm that trains: a chunk's statistics are not those of the batch.

    Raises:
        InputError: see above.
    """
    in_chunks = 0 < args.cache_chunk < args.train_batch_size
    if in_chunks and not args.as_cn_clip and trains_batch_norm(model):
        raise InputError(
            f"found cache_chunk {args.cache_chunk} for a ResNet that trains; its BatchNorm would see "
            f"{args.cache_chunk} pictures at a time, so that the gradients would not be those of the whole batch. "
            "--cache_chunk 0 computes the batch at once; --freeze vision keeps the ResNet as it is; --as_cn_clip "
            "takes the chunks' statistics, as cn_clip does."
        )


def without_decay(model: nn.Module, rule: str) -> list[str]:
    """The names of weights that do not decay: "usual", cn_clip's rule, or none of them ("none", as in Taiyi).

    cn_clip exempts names that hold `bn`, `ln`, `bias` or `logit_scale`, so that BERT's `LayerNorm.weight` decays, and
    in the ResNet the weight of `downsample.1`. Source: cn_clip/training/main.py.
    """
    if rule == "none":
        return []
    norms = {
        f"{path}.{name}"
        for path, module in model.named_modules()
        if isinstance(module, nn.LayerNorm | nn.modules.batchnorm._BatchNorm)
        for name, _ in module.named_parameters(recurse=False)
    }
    if rule == "cn_clip":
        norms = {name for name in norms if "text_model" not in name and "downsample" not in name}
    return [name for name, _ in model.named_parameters() if name in norms or "bias" in name or "logit_scale" in name]


@contextmanager
def patches_dropped(model: Any, share: float) -> Iterator[None]:
    """Leaves a share of each picture's patches out, chosen anew for each picture (FLIP: Li et al., 2022).

    The class token stays, and `int((1 - share) * patches)` patches, in their order by chance. Source: `random_masking`
    in cn_clip/clip/model.py, which is applied after the positions are added and before the first norm.
    """
    if not share:
        yield
        return
    handle = _patch_embeddings(model).register_forward_hook(lambda module, given, tokens: _kept(tokens, share))
    try:
        yield
    finally:
        handle.remove()


def check_patches(model: Any, share: float) -> None:
    """Refuses patch dropping for a tower that has no patches, or would keep none.

    Raises:
        InputError: see above.
    """
    if share:
        patches = _patch_embeddings(model).num_patches
        if int(patches * (1 - share)) < 1:
            raise InputError(
                f"found patch_dropping {share}, which keeps none of {patches} patches. Take a smaller share."
            )


def _patch_embeddings(model: Any) -> nn.Module:
    found = getattr(model.vision_model, "embeddings", None)
    if not hasattr(found, "num_patches"):
        raise InputError("found patch_dropping for a ResNet, which has no patches. Leave the option out.")
    return found


def _kept(tokens: torch.Tensor, share: float) -> torch.Tensor:
    """Tokens `(n, 1 + patches, width)` -> the class token and some patches of each picture."""
    count, patches = len(tokens), tokens.shape[1] - 1
    order = torch.rand(count, patches, device=tokens.device).argsort(dim=1)[:, : int(patches * (1 - share))]
    patch_rows = tokens[:, 1:].gather(1, order.unsqueeze(-1).expand(-1, -1, tokens.shape[2]))
    return torch.cat([tokens[:, :1], patch_rows], dim=1)


def rate(step: int, warmup: int, steps: int, restart_every: int = 0) -> float:
    """The share of the learning rate at a step: linear warm-up, then half a cosine down to 0.

    The cosine ends at `steps`; with `restart_every`, it ends after so many steps and starts anew.

    Source: cn_clip/training/scheduler.py; the first step already has a rate. Restarts: torch's
    CosineAnnealingWarmRestarts, which Taiyi's fine-tune calls.
    """
    if step < warmup:
        return (step + 1) / warmup
    done, length = step - warmup, max(steps - warmup, 1)
    if restart_every:
        done, length = done % restart_every, restart_every
    return 0.5 * (1 + math.cos(math.pi * done / length))


def check_curves(schedule: Any, warmup: int, steps: int) -> None:
    """Computes a schedule's rates at the steps where its curve may bend: its settings are used only there.

    Raises:
        ValueError: a rate is no number of 0 or more.
        TypeError: a setting is no number.
    """
    bends = {0, warmup - 1, warmup, warmup + 1, (warmup + steps) // 2, steps - 1, steps}
    for curve in filter(None, getattr(schedule, "lr_lambdas", ())):
        for step in sorted(each for each in bends if each >= 0):
            found = curve(step)
            if not isinstance(found, int | float) or not 0 <= found < math.inf:
                raise ValueError(f"step {step} has {found} times the learning rate")
    if isinstance(schedule, ReduceLROnPlateau):
        for name in ("patience", "cooldown", "threshold", "eps", "factor"):
            if not isinstance(found := getattr(schedule, name), int | float):
                raise ValueError(f"{name} is {found!r:.60}, which is no number")
