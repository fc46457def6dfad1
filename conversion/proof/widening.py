"""Lets modules compute in another dtype with little memory: the weights of one layer are cast while the layer runs."""

import ctypes
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import nn

LARGE = 2**22
"""The numbers from which an embedding is cast row by row: the rows that are looked up."""


@contextmanager
def cast(modules: Sequence[nn.Module], dtype: torch.dtype) -> Iterator[None]:
    """Makes modules compute in `dtype` until the end of the block; then they have their own weights again.

    The layers of a stack are cast one after the other, when they run. Before and after, their weights are NaN of the
    same shape without memory, because classes ask weights for their dtype. Of a large embedding the rows that are
    looked up are cast; the other rows are never filled, and take no memory.
    """
    with ExitStack() as stack:
        seen: set[int] = set()
        room: Room = {}
        for module in modules:
            layers = _layers(module)
            inside = {id(each) for layer in layers for each in _weights(layer)}
            for layer in layers:
                _cast_while_running(layer, dtype, room, stack)
            tables = [each for each in module.modules() if _is_large(each)]
            for table in tables:
                _cast_rows(table, dtype, stack)
            seen |= inside | {id(table.weight) for table in tables}
            rest = [each for each in _weights(module) if id(each) not in seen]
            seen |= {id(each) for each in rest}
            stack.callback(_restore, _swap(rest, dtype))
        yield


def release(modules: Sequence[nn.Module]) -> None:
    """Takes the weights away from modules that nobody needs any more, and gives their memory back to the system."""
    for module in modules:
        for weight in module.parameters():
            weight.data = weight.data.new_empty(0)
    # glibc alone keeps what was freed below memory in use, and alone has the call that returns it.
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _layers(module: nn.Module) -> list[nn.Module]:
    """The layers of all stacks; a stack inside of a layer belongs to the layer."""
    children = list(module.children())
    if isinstance(module, nn.ModuleList | nn.Sequential) and _are_layers(children):
        return children
    return [layer for child in children for layer in _layers(child)]


def _are_layers(modules: Sequence[nn.Module]) -> bool:
    return len({type(each) for each in modules}) == 1 and all(any(True for _ in each.children()) for each in modules)


def _is_large(module: nn.Module) -> bool:
    return isinstance(module, nn.Embedding) and module.weight.numel() >= LARGE


def _weights(module: nn.Module) -> list[torch.Tensor]:
    """The parameters and buffers that hold floating-point numbers."""
    return [each for each in (*module.parameters(), *module.buffers()) if each.is_floating_point()]


Swapped = list[tuple[torch.Tensor, torch.Tensor]]


def _swap(weights: Sequence[torch.Tensor], dtype: torch.dtype) -> Swapped:
    """Casts weights in their places; returns them with their former values."""
    swapped = [(each, each.data) for each in weights if each.dtype != dtype]
    for each, former in swapped:
        each.data = former.to(dtype)
    return swapped


def _empty(swapped: Swapped, dtype: torch.dtype) -> None:
    for each, former in swapped:
        each.data = torch.full((), math.nan, dtype=dtype).expand(former.shape)


def _restore(swapped: Swapped) -> None:
    for each, former in swapped:
        each.data = former


Room = dict[tuple[int, torch.Size], torch.Tensor]
"""The memory that each layer uses in its turn: freed and asked for again, it would lie in ever more pieces."""


def _cast_while_running(layer: nn.Module, dtype: torch.dtype, room: Room, stack: ExitStack) -> None:
    own = [(each, each.data) for each in _weights(layer) if each.dtype != dtype]

    def before(*_: Any) -> None:
        for place, (each, former) in enumerate(own):
            key = place, former.shape
            if key not in room:
                room[key] = torch.empty(former.shape, dtype=dtype)
            each.data = room[key].copy_(former)

    def after(*_: Any) -> None:
        _empty(own, dtype)

    _empty(own, dtype)
    stack.callback(_restore, own)
    stack.callback(layer.register_forward_pre_hook(before).remove)
    stack.callback(layer.register_forward_hook(after, always_call=True).remove)


def _cast_rows(table: nn.Embedding, dtype: torch.dtype, stack: ExitStack) -> None:
    own = table.weight.data
    if own.dtype == dtype:
        return
    wide = torch.empty(own.shape, dtype=dtype)
    table.weight.data = wide

    def before(module: nn.Module, inputs: Any) -> None:
        rows = inputs[0].unique()
        wide[rows] = own[rows].to(dtype)

    stack.callback(table.register_forward_pre_hook(before).remove)
    stack.callback(_restore, [(table.weight, own)])
