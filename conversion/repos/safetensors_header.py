"""The beginning of a safetensors file, as the library writes it, so that the tensors can follow piece by piece.

Source: safetensors, src/tensor.rs (`prepare`): tensors in the order of their dtypes, then of their names; JSON without
spaces, padded with spaces to 8 bytes, behind its length in 8 bytes.
"""

import json
import math
from collections.abc import Mapping

import torch

DTYPES: Mapping[torch.dtype, str] = {
    torch.uint64: "U64",
    torch.int64: "I64",
    torch.float64: "F64",
    torch.complex64: "C64",
    torch.float32: "F32",
    torch.uint32: "U32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.uint16: "U16",
    torch.int16: "I16",
    torch.float8_e5m2fnuz: "F8_E5M2FNUZ",
    torch.float8_e4m3fnuz: "F8_E4M3FNUZ",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""The names of the dtypes, in the order of a file's tensors."""

METADATA = {"format": "pt"}
"""What transformers looks for in a file of PyTorch's tensors."""


def header(tensors: Mapping[str, tuple[tuple[int, ...], torch.dtype]]) -> tuple[bytes, list[str]]:
    """The bytes before the tensors, and the order of the tensors behind them.

    Args:
        tensors: the shape and the dtype of each tensor.
    """
    ranks = {dtype: rank for rank, dtype in enumerate(DTYPES)}
    order = sorted(tensors, key=lambda key: (ranks[tensors[key][1]], key))
    entries: dict[str, object] = {"__metadata__": METADATA}
    end = 0
    for key in order:
        shape, dtype = tensors[key]
        start, end = end, end + math.prod(shape) * dtype.itemsize
        entries[key] = {"dtype": DTYPES[dtype], "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, order
