"""Config, tensors and processor -> a folder that current transformers reads; a piece of a tensor is in memory."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from huggingface_hub import split_torch_state_dict_into_shards

from hf_zhclip.amounts import shown_amount

from ..errors import InputError, WorkError
from ..mapping import fold
from .pieces import write_safetensors

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
"""The values of `--dtype` besides `keep`."""


FLOATS = (*DTYPES.values(), torch.float64)

SPARE_BYTES = 16 * 2**20
"""Disk space for a repo's files other than weights."""

SHARD_SIZE = re.compile(r"[1-9][0-9]*[KMGT]B", re.IGNORECASE)


def check_shard_size(size: str) -> None:
    """Refuses an invalid `--max-shard-size`."""
    if not SHARD_SIZE.fullmatch(size):
        raise InputError(f"--max-shard-size {size!r} is no size; wanted a size such as 5GB or 500MB.")


def check_dtypes(tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuses numbers that are no weights: whole numbers (except a counter) and floats of fewer than 16 bits."""
    counters = ("num_batches_tracked",)
    others = {
        key: tensor.dtype
        for key, tensor in tensors.items()
        if tensor.dtype not in FLOATS and not key.endswith(counters)
    }
    wrong = [f"{key} ({str(dtype).removeprefix('torch.')})" for key, dtype in others.items()]
    if wrong and all(dtype.is_floating_point for dtype in others.values()):
        raise InputError(
            f"These weights are floating-point numbers of fewer than 16 bits: {', '.join(fold(wrong))}. The scales of "
            "the weights are not known. Convert the checkpoint from before the quantisation."
        )
    if wrong:
        raise InputError(
            f"These weights are not floating-point numbers: {', '.join(fold(wrong))}. If they were quantised, convert "
            "the checkpoint from before the quantisation."
        )


def target_dtype(tensor: torch.Tensor, dtype: str) -> torch.dtype:
    """The dtype in which a tensor is written; with `keep`, and for whole numbers, its own dtype."""
    return DTYPES[dtype] if dtype != "keep" and tensor.is_floating_point() else tensor.dtype


def widest_float(tensors: Mapping[str, torch.Tensor], dtype: str) -> torch.dtype:
    """The widest written float dtype; config.dtype states it, so that loading loses nothing."""
    floats = {target_dtype(tensor, dtype) for tensor in tensors.values() if tensor.is_floating_point()}
    widest = max(floats, key=lambda each: each.itemsize)
    # float16 and bfloat16 hold different numbers; only float32 holds all numbers of both.
    return torch.float32 if widest.itemsize == 2 and len(floats) > 1 else widest


def total_bytes(tensors: Mapping[str, torch.Tensor], dtype: str) -> int:
    return sum(tensor.numel() * target_dtype(tensor, dtype).itemsize for tensor in tensors.values())


def write_weights(
    folder: Path, tensors: Mapping[str, torch.Tensor], dtype: str, max_shard_size: str, allow_nonfinite: bool
) -> None:
    """Writes model.safetensors, or shards and their index, and casts on the way.

    Raises:
        InputError: tensors hold NaN or Inf and `allow_nonfinite` is off; the message names every such tensor.
    """
    shells = {
        key: torch.empty(tensors[key].shape, dtype=target_dtype(tensors[key], dtype), device="meta")
        for key in sorted(tensors)
    }
    split = split_torch_state_dict_into_shards(shells, max_shard_size=max_shard_size)
    nonfinite: list[str] = []
    with shown_amount("Writing", total_bytes(tensors, dtype)) as advance:
        for name, keys in split.filename_to_tensors.items():
            shard, dtypes = {key: tensors[key] for key in keys}, {key: shells[key].dtype for key in keys}
            nonfinite += write_safetensors(folder / name, shard, dtypes, allow_nonfinite, advance)
    if nonfinite:
        raise InputError(
            f"NaN or Inf in the weights of {', '.join(fold(nonfinite))}. The training has diverged, or --dtype is too "
            "narrow for the weights. --allow-nonfinite converts the weights anyway."
        )
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": dict(sorted(split.tensor_to_filename.items()))}
        write_json(folder / "model.safetensors.index.json", index)


def alone(tensor: torch.Tensor) -> torch.Tensor:
    """The same tensor without the memory around it: torch.save writes all memory behind a view, and its strides."""
    is_alone = tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.nbytes
    return tensor if is_alone else tensor.clone(memory_format=torch.contiguous_format)


def write_pickle(path: Path, value: object) -> None:
    """Writes a file of torch.save.

    Raises:
        WorkError: the system failed.
    """
    try:
        with path.open("wb") as opened:
            torch.save(value, opened)
    except RuntimeError as error:  # how torch reports a full disk
        raise WorkError(f"The checkpoint could not be written: {error}. No file was left there.") from error


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n", encoding="utf-8")
