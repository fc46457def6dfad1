"""Tensors piece by piece, so that no step needs memory for a whole tensor: a word embedding alone can have 1 GB."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from hf_zhclip.amounts import Advance

from .safetensors_header import header

PIECE = 2**20
"""The numbers in a piece: 4 MiB of float32."""


def pieces(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """Views of a tensor that follow each other in row-major order, each of at most `PIECE` numbers."""
    if tensor.numel() <= PIECE:
        yield tensor
    elif rows := PIECE // (tensor.numel() // len(tensor)):
        yield from tensor.split(rows)
    else:
        for row in tensor:
            yield from pieces(row)


def same_bits(a: torch.Tensor, b: torch.Tensor, cast: torch.dtype | None = None) -> bool:
    """Whether two tensors have the same dtype, shape and bits: NaN equals itself, and -0.0 differs from 0.0.

    Args:
        cast: the dtype to which `a` is cast before; None keeps its own.
    """
    if (cast or a.dtype) != b.dtype or a.shape != b.shape:
        return False
    return all(
        torch.equal(_bytes(each.to(b.dtype)), _bytes(other)) for each, other in zip(pieces(a), pieces(b), strict=True)
    )


def is_finite(piece: torch.Tensor) -> bool:
    """Whether a tensor holds neither NaN nor Inf."""
    # If a value is NaN, so are the bounds. They need no copy of the tensor; isfinite copies it.
    return not piece.is_floating_point() or not piece.numel() or all(map(torch.isfinite, piece.aminmax()))


def write_safetensors(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    dtypes: Mapping[str, torch.dtype],
    allow_nonfinite: bool,
    advance: Advance,
) -> list[str]:
    """Writes the file that `safetensors.torch.save_file` would write, byte for byte.

    Args:
        tensors: at least one; they may overlap each other.
        dtypes: the dtype that each tensor is cast to.
        allow_nonfinite: do not look for NaN and Inf.
        advance: is told the bytes that were written.

    Returns:
        The keys of tensors in which NaN or Inf was found.
    """
    beginning, order = header({key: (tuple(tensor.shape), dtypes[key]) for key, tensor in tensors.items()})
    with path.open("wb") as file:
        file.write(beginning)
        nonfinite = []
        for key in order:
            for piece in pieces(tensors[key]):
                cast = piece.to(dtypes[key])
                if not (allow_nonfinite or is_finite(cast)):
                    nonfinite.append(key)
                # torch copies without Python's lock. A read of a mapped file that became shorter stops the thread for
                # ever, and with the lock also the thread that tells it.
                file.write(_bytes(cast).clone().numpy())
                advance(cast.nbytes)
    return list(dict.fromkeys(nonfinite))


def _bytes(piece: torch.Tensor) -> torch.Tensor:
    return piece.contiguous().reshape(-1).view(torch.uint8)
