"""A graph of float32 -> the same graph in float16 or int8, by onnxruntime's own converter and quantiser."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hf_zhclip.extras import extra

from ...errors import InputError
from ..quiet import silence
from . import NEEDED_BY
from .cleaning import clean
from .graphs import MOST_BYTES, beside
from .towers import Tower

FLOAT32, FLOAT16, INT8 = "float32", "float16", "int8"

SUMS = ("Clip", "Div", "Expand", "ReduceL2", "ReduceSum")
"""The operators of pooling and normalisation, which stay float32: sums of tokens or squares may exceed float16."""

MATRICES = ("Gather", "MatMul")
"""What dynamic int8 takes: linear layers, and tables of embeddings."""

LAYERS = ("Conv", *MATRICES)
"""What static int8 takes. Attention's own products, its softmax and LayerNorm stay float32, as in dynamic int8."""

FLOAT_RESULTS = ["Gather", "MatMul"]
"""The layers whose results stay float32 in static int8: what follows them is computed in float32."""

MOST_CONVOLUTIONS = 1 / 3
"""The largest share of a tower's weights that may belong to convolutions in dynamic int8, where they stay float32.

A ViT-B-16 has 1 %, for its patches, and an RN50 60 %.
"""

Batches = Iterable[Mapping[str, torch.Tensor]]
"""The inputs of a graph, by name."""


def lower(tower: Tower, precision: str, source: Path, file: Path, calibrate: Batches | None) -> None:
    """Writes a graph in a lower precision. Its inputs and outputs keep their types.

    Args:
        source: the graph in float32. Its folder must be the caller's own: the converters write beside it.
        calibrate: for int8, inputs that show the ranges of the activations, which are then fixed (static int8);
            without them, every call measures its own (dynamic int8).

    Raises:
        InputError: the tower cannot take the precision.
    """
    with silence():  # the quantiser advises to prepare the graph in another way
        model = _float16(source) if precision == FLOAT16 else _int8(tower, source, calibrate)
    _save(model, file)
    clean(file)


def _float16(source: Path) -> Any:
    converter = extra("onnxruntime.transformers.float16", NEEDED_BY)
    kept = [*converter.DEFAULT_OP_BLOCK_LIST, *SUMS]
    model = converter.convert_float_to_float16(str(source), keep_io_types=True, op_block_list=kept)
    _remove_roundings(model)
    return model


def _remove_roundings(model: Any) -> None:
    """Takes out the pairs of casts between two sums, and between a sum and the output.

    The converter rounds the results of operators that stay float32, and widens them again: norms would not be 1.
    """
    (output,) = model.graph.output
    makers = {name: node for node in model.graph.node for name in node.output}
    exact = {}
    for widens in [node for node in model.graph.node if node.op_type == "Cast"]:
        rounds = makers.get(widens.input[0])
        if rounds is not None and rounds.op_type == "Cast" and _op(makers, rounds.input[0]) in SUMS:
            exact[widens.output[0]] = rounds.input[0]
    if output.name in exact:
        last = exact.pop(output.name)
        makers[output.name].output[0] = f"{last}_rounded"
        makers[last].output[0] = output.name
        exact[last] = output.name
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = exact.get(name, name)
    model.graph.ClearField("value_info")  # it states the types of before
    whole = extra("onnxruntime.transformers.onnx_model", NEEDED_BY).OnnxModel(model)
    whole.prune_graph()  # the casts that nothing reads any more
    whole.topological_sort()  # the converter puts its casts at the end


def _op(makers: Mapping[str, Any], name: str) -> str | None:
    return makers[name].op_type if name in makers else None


def _int8(tower: Tower, source: Path, calibrate: Batches | None) -> Any:
    onnx = extra("onnx", NEEDED_BY)
    quantiser = extra("onnxruntime.quantization", NEEDED_BY)
    written = source.with_name(f"int8-{source.name}")
    # Each row of a weight has a range of its own. Weights of 7 bits: processors without VNNI cut off sums of 8 bits.
    options = {"per_channel": True, "reduce_range": True, "weight_type": quantiser.QuantType.QInt8}
    if calibrate is None:
        _check_dynamic(tower, onnx.load(source, load_external_data=False))
        quantiser.quantize_dynamic(source, written, op_types_to_quantize=list(MATRICES), **options)
    else:
        quantiser.quantize_static(
            source,
            written,
            _Reader(calibrate),
            op_types_to_quantize=list(LAYERS),
            activation_type=quantiser.QuantType.QUInt8,
            use_external_data_format=source.with_name(beside(source)).exists(),
            extra_options={"MatMulConstBOnly": True, "OpTypesToExcludeOutputQuantization": FLOAT_RESULTS},
            **options,
        )
    return onnx.load(written)


_NOT_TAKEN = (
    "The {tower} tower cannot take dynamic int8: {share:.0%} of its weights belong to convolutions, and only static "
    "int8 takes them. Pass --calibrate FOLDER, with pictures and texts like yours, or --precision float16. Nothing "
    "was written."
)


def _check_dynamic(tower: Tower, model: Any) -> None:
    weights = {each.name: int(np.prod(each.dims)) for each in model.graph.initializer}
    convolutions = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    share = sum(weights.get(name, 0) for name in convolutions) / sum(weights.values())
    if share > MOST_CONVOLUTIONS:
        raise InputError(_NOT_TAKEN.format(tower=tower.name, share=share))


class _Reader:
    """Batches as the quantiser asks for them: one after the other, and None at the end."""

    def __init__(self, batches: Batches):
        self._rest: Iterator[Mapping[str, torch.Tensor]] = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        """The next batch."""
        batch = next(self._rest, None)
        return None if batch is None else {name: each.numpy() for name, each in batch.items()}


def _save(model: Any, file: Path) -> None:
    is_large = sum(len(each.raw_data) for each in model.graph.initializer) > MOST_BYTES
    options: dict[str, Any] = {"save_as_external_data": True, "location": beside(file)} if is_large else {}
    extra("onnx", NEEDED_BY).save(model, str(file), **options)
