"""The scale under FSDP, which shards no scalar: while a training runs it has one dimension, `(1,)`."""

from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from ..errors import InputError

SCALE = "logit_scale"


def make_shardable(model: nn.Module, plugin: Any) -> None:
    """Makes a ZhCLIPModel what FSDP takes: a scale with a dimension, and pieces that accelerate finds.

    Without names, accelerate looks for the layers of every family in each model, and cuts the embeddings twice.

    Args:
        plugin: accelerate's FullyShardedDataParallelPlugin, whose names of layers stay if it has some.

    Raises:
        InputError: the version of FSDP is 1, which cuts the scale out of a flat piece that no process has whole.
    """
    if plugin.fsdp_version != 2:
        raise InputError(f"found version {plugin.fsdp_version} of FSDP; version 2 was wanted. Give --fsdp_version 2.")
    scale = model.get_parameter(SCALE)
    model.register_parameter(SCALE, nn.Parameter(scale.detach().reshape(1), requires_grad=scale.requires_grad))
    if plugin.transformer_cls_names_to_wrap is None:
        own = {type(each).__name__ for each in model.modules()} & set(model._no_split_modules)
        plugin.transformer_cls_names_to_wrap = sorted(name for name in own if not name.endswith("Embeddings"))


def whole(scale: torch.Tensor) -> torch.Tensor:
    """The scale of all shards; its gradient is the mean of the processes', as that of all other weights."""
    if not hasattr(scale, "full_tensor"):
        return scale
    from torch.distributed.tensor import Partial

    # The processes' gradients are added up: gloo has no mean.
    gathered = scale.full_tensor(grad_placements=[Partial()] * scale.device_mesh.ndim)
    if gathered.requires_grad:
        gathered.register_hook(lambda gradient: gradient / dist.get_world_size())
    return gathered


def with_scalar(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The gathered weights as they are saved: the scale without its dimension."""
    return {name: each.reshape(()) if name.endswith(SCALE) else each for name, each in state.items()}
