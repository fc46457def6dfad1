"""The contrastive loss over the pairs of all processes.

Source: `get_loss` in cn_clip/training/train.py. On each process, the loss is the mean over the batch of all processes.
"""

import torch
import torch.distributed as dist

from ..modeling_zhclip import contrastive_loss


def loss_of_pairs(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    logit_scale: torch.Tensor,
    negatives: str = "exact",
    captions: torch.Tensor | None = None,
) -> torch.Tensor:
    """The symmetric loss, a scalar, of L2-normalised vectors `(n, dim)` whose rows belong together.

    Args:
        logit_scale: the logarithm of the scale, a scalar.
        negatives: "exact" gathers the vectors of all processes with their gradients, so that the mean of the
            processes' gradients is that of the whole batch; "cn_clip" gathers them without gradients, so that the mean
            is that gradient divided by the number of processes; "local" gathers nothing.
        captions: a number for each pair, `(n,)`, equal for equal captions, which are then not each other's negatives.
    """
    image, text = wide(image_embeds), wide(text_embeds)
    if negatives != "local" and _processes() > 1:
        together = _with_gradients if negatives == "exact" else _own_first
        image, text = together(image), together(text)
        captions = None if captions is None else together(captions)
    logits = wide(logit_scale).exp() * image @ text.t()
    return contrastive_loss(logits if captions is None else _without_equal(logits, captions))


def wide(tensor: torch.Tensor) -> torch.Tensor:
    """At least float32: the halves' few digits cannot tell logits near 100 apart."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class _Gathered(torch.autograd.Function):
    """The rows of all processes; a row's gradient is the sum of what all processes' losses give it.

    torch's own (torch.distributed.nn.functional.all_gather) is deprecated since torch 2.13, and its successor is not
    in torch 2.6.
    """

    @staticmethod
    def forward(ctx, rows):
        return torch.cat(_gathered(rows))

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient.chunk(_processes())[dist.get_rank()]


def _with_gradients(rows: torch.Tensor) -> torch.Tensor:
    return _Gathered.apply(rows)


def _own_first(rows: torch.Tensor) -> torch.Tensor:
    """The rows of all processes, of which only this process's carry gradients."""
    found, own = _gathered(rows.detach()), dist.get_rank()
    return torch.cat([rows, *found[:own], *found[own + 1 :]])


def _gathered(rows: torch.Tensor) -> list[torch.Tensor]:
    """The rows of each process; every process has the same number of rows."""
    rows = rows.contiguous()
    found = [torch.empty_like(rows) for _ in range(_processes())]
    dist.all_gather(found, rows)
    return found


def _without_equal(logits: torch.Tensor, captions: torch.Tensor) -> torch.Tensor:
    equal = captions[:, None] == captions[None, :]
    equal.fill_diagonal_(False)
    return logits.masked_fill(equal, float("-inf"))
