"""Gradient caching: the gradients of a large batch in the memory of a chunk (Gao et al., 2021, arXiv:2101.06983).

The first pass computes all vectors without gradients. The loss then gives the gradients of the vectors and of the
scale. The second pass computes each chunk again, with the same random numbers, and carries its vectors' gradients on
to the weights.

Source of the other way: the branch `accum_freq > 1` of cn_clip/training/train.py. There each chunk's second pass
computes the whole loss, so that the scale gets its gradient once for each chunk; and dropout is drawn anew.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from .parts import batch_norms

Inputs = Mapping[str, torch.Tensor]
Vectors = tuple[torch.Tensor, torch.Tensor]
Encode = Callable[[Inputs], Vectors]
Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Step:
    """What a training step does with a batch in chunks.

    Attributes:
        encode: inputs -> the vectors of pictures and of texts, `(n, dim)` each.
        loss: the vectors of the whole batch and the scale -> a scalar.
        scale: the model's scale, which may be frozen.
        backward: carries a scalar's gradients to the weights.
        apart: a context in which `backward` does not wait for other processes.
    """

    encode: Encode
    loss: Loss
    scale: torch.Tensor
    backward: Callable[[torch.Tensor], object]
    apart: Callable[[], AbstractContextManager]


def cached_step(step: Step, chunks: Sequence[Inputs], model: nn.Module) -> torch.Tensor:
    """Adds the exact gradients of the whole batch to the weights, and returns the loss."""
    states, found = [], []
    with torch.no_grad(), _still_statistics(model):
        for chunk in chunks:
            states.append(_random_state(chunk))
            found.append(step.encode(chunk))
    image, text = (torch.cat(each).detach().requires_grad_() for each in zip(*found, strict=True))
    scale = step.scale.detach().requires_grad_()
    loss = step.loss(image, text, scale)
    of_image, of_text, of_scale = torch.autograd.grad(loss, (image, text, scale))
    start = 0
    with _random_kept(chunks[0]):
        for number, (chunk, state) in enumerate(zip(chunks, states, strict=True)):
            last = number == len(chunks) - 1
            with nullcontext() if last else step.apart():
                _set_random_state(state)
                image, text = step.encode(chunk)
                rows = slice(start, start + len(image))
                start += len(image)
                carried = (image * of_image[rows]).sum() + (text * of_text[rows]).sum()
                if last:
                    carried = carried + step.scale * of_scale
                step.backward(carried)
    return loss.detach()


def cached_step_as_cn_clip(step: Step, chunks: Sequence[Inputs], first: Encode) -> torch.Tensor:
    """cn_clip's way; `first` encodes the first pass, which leaves out no patches. Returns the last chunk's loss."""
    with torch.no_grad():
        images, texts = (list(each) for each in zip(*map(first, chunks), strict=True))
    loss = torch.zeros(())
    for number, chunk in enumerate(chunks):
        with nullcontext() if number == len(chunks) - 1 else step.apart():
            image, text = step.encode(chunk)
            loss = step.loss(_with(images, number, image), _with(texts, number, text), step.scale)
            step.backward(loss)
    return loss.detach()


def in_chunks(inputs: Inputs, size: int) -> list[Inputs]:
    """A batch in chunks of `size` rows; the last one may be shorter."""
    names, values = zip(*((name, value.split(size)) for name, value in inputs.items()), strict=True)
    return [dict(zip(names, chunk, strict=True)) for chunk in zip(*values, strict=True)]


def _with(cached: Sequence[torch.Tensor], number: int, rows: torch.Tensor) -> torch.Tensor:
    return torch.cat([*cached[:number], rows, *cached[number + 1 :]])


@contextmanager
def _still_statistics(model: nn.Module) -> Iterator[None]:
    """Keeps BatchNorm's running statistics in the first pass: the second pass sees the same pictures again."""
    norms = batch_norms(model)
    momenta = [each.momentum for each in norms]
    counts = [each.num_batches_tracked.clone() for each in norms if each.num_batches_tracked is not None]
    for each in norms:
        each.momentum = 0.0
    try:
        yield
    finally:
        for each, momentum in zip(norms, momenta, strict=True):
            each.momentum = momentum
    for each, count in zip((one for one in norms if one.num_batches_tracked is not None), counts, strict=True):
        each.num_batches_tracked.copy_(count)


# The random state of dropout and of patch dropping: the processor's, and that of the device on which the inputs lie.

State = tuple[torch.Tensor, torch.device, torch.Tensor | None]


def _random_state(inputs: Inputs) -> State:
    device = next(iter(inputs.values())).device
    return torch.get_rng_state(), device, torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_random_state(state: State) -> None:
    of_cpu, device, of_device = state
    torch.set_rng_state(of_cpu)
    if of_device is not None:
        torch.cuda.set_rng_state(of_device, device)


@contextmanager
def _random_kept(inputs: Inputs) -> Iterator[None]:
    """Goes on after the first pass as if the second had drawn nothing, as after an uncached step."""
    after = _random_state(inputs)
    yield
    _set_random_state(after)
