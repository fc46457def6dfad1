"""Changes of an ONNX graph that keep to protobuf's structure, so that onnxruntime reads them."""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

INTEGERS = (0, 1, -1, 2, 7, 255, 2**15, 2**31 - 1, -(2**31), 2**31, 2**40, 2**62, 2**63 - 1, -(2**63))
TEXTS = ("", "x", "猫", "\x1b[2J\rverified", "a" * 5000, "com.microsoft", "ai.onnx.ml", "stranger", "input_ids", "sum")
LOCATIONS = (
    *(
        "",
        ".",
        "..",
        "../work",
        "/etc/passwd",
        "/proc/self/mem",
        "/dev/zero",
        "*/_ORT_MEM_ADDR_/*",
        "x\0y",
        "x" * 5000,
    ),
    *(
        "zhclip_onnx.json",
        "tokenizer.json",
        "text_model.onnx",
        "text_model.onnx_data",
        "../source/export/text_model.onnx",
    ),
)
OPERATORS = (
    *("Add", "Cast", "Concat", "ConstantOfShape", "Expand", "Gather", "GatherND", "Gemm", "If", "Loop", "MatMul"),
    *("MatMulInteger", "MaxPool", "OneHot", "Pad", "QLinearMatMul", "RandomNormal", "Range", "Reshape", "Resize"),
    *("Scan", "ScatterND", "SequenceAt", "SequenceConstruct", "Shape", "Slice", "Softmax", "Split", "StringSplit"),
    *("TfIdfVectorizer", "Tile", "TopK", "Transpose", "Unique", "Unsqueeze", "Upsample", "Where", "Conv", "LSTM"),
    *("Attention", "FusedMatMul", "EmbedLayerNormalization", "MatMulNBits", "BeamSearch", "EPContext", "Inverse"),
)


def of_graph(content: bytes, draw: Random, gentle: bool) -> bytes | None:
    """A changed graph; None if an earlier change damaged it."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(content)
    except DecodeError:
        return None
    try:
        for _ in range(1 if gentle else draw.choice((1, 1, 2, 3))):
            if gentle:
                change_gently(model, draw)
            elif draw.random() < 0.5:
                change_field(draw.choice(list(_messages(model))), draw)
            else:
                draw.choice(CHANGES)(model, draw)
        return model.SerializeToString()
    except (DecodeError, LookupError, ValueError):  # nested too deep for protobuf, or nothing left to change
        return content


def change_gently(model: Any, draw: Random) -> None:
    """Another number of the weights, or other words that nothing depends on."""
    held = [each for each in model.graph.initializer if each.data_type == 1 and len(each.raw_data) > 3]
    if held and draw.random() < 0.7:
        from .mutations import of_numbers

        tensor = draw.choice(held)
        tensor.raw_data = of_numbers(tensor.raw_data, draw, True)
    else:
        model.producer_name = model.doc_string = draw.choice(("", "x", "猫"))


def _messages(message: Any, most: int = 60) -> Iterator[Any]:
    """A message and those within it; of long lists the first and the last ones."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        listed = list(value) if field.is_repeated else [value]
        for each in listed if len(listed) <= most else listed[: most // 2] + listed[-most // 2 :]:
            yield from _messages(each, most)


def change_field(message: Any, draw: Random) -> None:
    """Changes a field of a message: mostly a field that is there."""
    there = [field for field, _ in message.ListFields()]
    if not there or draw.random() < 0.15:
        there = list(message.DESCRIPTOR.fields)
    field = draw.choice(there)
    if field.is_repeated:
        _change_list(getattr(message, field.name), field, draw)
    elif draw.random() < 0.15:
        message.ClearField(field.name)
    elif field.message_type is not None:
        getattr(message, field.name).SetInParent()
    else:
        setattr(message, field.name, _value(getattr(message, field.name), field, draw))


def _change_list(values: Any, field: Any, draw: Random) -> None:
    way = draw.randrange(4)
    if not values:
        values.add() if field.message_type is not None else values.append(_value(values, field, draw))
    elif way == 0:
        del values[draw.randrange(len(values))]
    elif way == 1:
        kept = list(values)
        values.extend([draw.choice(kept)] * draw.choice((1, 1, 3, 300)))
    elif field.message_type is not None:
        place, other = draw.randrange(len(values)), draw.randrange(len(values))
        values[place].CopyFrom(type(values[other]).FromString(values[other].SerializeToString()))
    else:
        values[draw.randrange(len(values))] = _value(values[0], field, draw)


def _value(old: Any, field: Any, draw: Random) -> Any:
    """A value of a field's type."""
    kind = field.cpp_type
    if kind == field.CPPTYPE_ENUM:
        return draw.choice(field.enum_type.values).number
    if kind == field.CPPTYPE_INT32:
        return draw.choice((0, 1, 2, 7, 8, 10, 16, 23, 99, 2**31 - 1, -1))
    if kind == field.CPPTYPE_UINT64:
        return draw.choice((0, 1, 2**31, 2**64 - 1))
    if kind == field.CPPTYPE_INT64:
        return draw.choice(INTEGERS)
    if kind in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return draw.choice((0.0, -1.0, 1e30, float("nan"), float("inf")))
    text = draw.choice((*TEXTS, *OPERATORS))
    if field.type == field.TYPE_BYTES:
        from .mutations import of_bytes

        return of_bytes(old, draw, False) if isinstance(old, bytes) and old else text.encode()
    return text


# Changes that a stranger would think of


def _lies_outside(model: Any, draw: Random) -> None:
    """Weights that lie in a file, wherever."""
    tensor = draw.choice(model.graph.initializer)
    if draw.random() < 0.7:
        tensor.ClearField("raw_data")
    told = {"location": draw.choice(LOCATIONS), "offset": draw.choice(INTEGERS), "length": draw.choice(INTEGERS)}
    if tensor.external_data and draw.random() < 0.5:
        told |= {"location": tensor.external_data[0].value}
    del tensor.external_data[:]
    tensor.data_location = 1
    for name in draw.sample(sorted(told), draw.choice((1, 2, 3, 3))):
        each = tensor.external_data.add()
        each.key, each.value = name, str(told[name])


def _has_other_dims(model: Any, draw: Random) -> None:
    tensor = draw.choice(model.graph.initializer)
    del tensor.dims[:]
    tensor.dims.extend(draw.choice(INTEGERS) for _ in range(draw.choice((0, 1, 2, 2, 300))))


def _is_sparse(model: Any, draw: Random) -> None:
    tensor = draw.choice(model.graph.initializer)
    sparse = model.graph.sparse_initializer.add()
    sparse.values.CopyFrom(tensor)
    sparse.dims.extend([draw.choice(INTEGERS), draw.choice(INTEGERS)])
    sparse.indices.data_type = 7
    sparse.indices.dims.append(draw.choice((1, 2, 7)))
    sparse.indices.int64_data.append(draw.choice(INTEGERS))
    if draw.random() < 0.7:
        del model.graph.initializer[list(model.graph.initializer).index(tensor)]


def _grows(model: Any, draw: Random) -> None:
    """Steps before the end whose result is large: added to the vectors, so that they are computed."""
    import numpy as np
    from onnx import helper, numpy_helper

    output = model.graph.output[0].name
    last = next((node for node in model.graph.node if output in node.output), None)
    if last is None:
        return
    last.output[list(last.output).index(output)] = "grown_from"
    count = draw.choice((2**20, 2**28, 2**31, 2**40))
    model.graph.initializer.append(numpy_helper.from_array(np.array([count]), "grown_count"))
    model.graph.initializer.append(numpy_helper.from_array(np.array([0.0], np.float32), "grown_one"))
    if draw.random() < 0.5:
        nodes = [helper.make_node(draw.choice(("ConstantOfShape",)), ["grown_count"], ["grown"])]
    elif draw.random() < 0.5:
        nodes = [helper.make_node(draw.choice(("Expand", "Tile")), ["grown_one", "grown_count"], ["grown"])]
    else:
        names = ["grown_one", *(f"grown_{number}" for number in range(draw.choice((20, 30, 40)))), "grown"]
        nodes = [
            helper.make_node("Concat", [one, one], [other], axis=0)
            for one, other in zip(names, names[1:], strict=False)
        ]
    model.graph.node.extend(nodes)
    axes = {"axes": [0]} if draw.random() < 0.3 else {}
    model.graph.node.append(helper.make_node("ReduceMax", ["grown"], ["grown_most"], keepdims=0, **axes))
    model.graph.node.append(helper.make_node("Add", ["grown_from", "grown_most"], [output]))


def _has_a_loop(model: Any, draw: Random) -> None:
    """A loop or a branch whose body is a graph, or a function that calls itself."""
    from onnx import TensorProto, helper

    body = helper.make_graph(
        [helper.make_node("Identity", ["go_in"], ["go_out"])],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("go_out", TensorProto.BOOL, [])],
    )
    way = draw.randrange(3)
    if way == 0:
        function = helper.make_function("stranger", "F", ["a"], ["b"], [], [helper.make_opsetid("stranger", 1)])
        function.node.append(helper.make_node("F", ["a"], ["b"], domain="stranger"))
        model.functions.append(function)
        model.opset_import.append(helper.make_opsetid("stranger", 1))
        node = draw.choice(model.graph.node)
        node.op_type, node.domain = "F", "stranger"
        return
    if way == 1:
        for _ in range(draw.choice((1, 20, 40))):
            outer = helper.make_graph([], "outer", [], [])
            outer.node.add().attribute.add().CopyFrom(helper.make_attribute("body", body))
            body = outer
    else:
        import numpy as np
        from onnx import numpy_helper

        model.graph.initializer.append(numpy_helper.from_array(np.array(2**62), "loop_count"))
        model.graph.initializer.append(numpy_helper.from_array(np.array(True), "loop_go"))
    node = model.graph.node.add()
    node.op_type = draw.choice(("Loop", "If", "Scan"))
    node.input.extend(["loop_count", "loop_go"])
    node.output.extend([] if draw.random() < 0.5 else ["loop_out"])
    node.attribute.add().CopyFrom(helper.make_attribute("body", body))


def _has_another_operator(model: Any, draw: Random) -> None:
    node = draw.choice(model.graph.node)
    node.op_type = draw.choice(OPERATORS)
    node.domain = draw.choice(("", "", "com.microsoft", "ai.onnx.ml", "stranger", "\x1b[2J"))
    if node.domain and draw.random() < 0.8:
        found = model.opset_import.add()
        found.domain, found.version = node.domain, draw.choice((1, 1, 2**31, -1))


def _is_bound_elsewhere(model: Any, draw: Random) -> None:
    """A node that takes another value: perhaps a later one, so that the graph is a circle."""
    known = [name for node in model.graph.node for name in (*node.input, *node.output)]
    known += [each.name for each in (*model.graph.initializer, *model.graph.input)]
    node = draw.choice(model.graph.node)
    side = draw.choice((node.input, node.output))
    if side:
        side[draw.randrange(len(side))] = draw.choice(known)


def _has_another_opset(model: Any, draw: Random) -> None:
    for each in model.opset_import:
        each.version = draw.choice((1, 7, 11, 13, 17, 18, 20, 23, 25, 99, 2**31, 2**63 - 1, 0, -1))


def _has_other_numbers(model: Any, draw: Random) -> None:
    """Other sizes, axes or ids: whole numbers that steps take."""
    held = [each for each in model.graph.initializer if each.data_type == 7 and len(each.raw_data) >= 8]
    if held:
        tensor = draw.choice(held)
        place = 8 * draw.randrange(len(tensor.raw_data) // 8)
        number = draw.choice(INTEGERS).to_bytes(8, "little", signed=True)
        tensor.raw_data = tensor.raw_data[:place] + number + tensor.raw_data[place + 8 :]


def _has_other_shapes(model: Any, draw: Random) -> None:
    value = draw.choice((*model.graph.input, *model.graph.output, *list(model.graph.value_info)[:50]))
    way = draw.randrange(4)
    if way == 0:
        value.type.sequence_type.elem_type.tensor_type.elem_type = draw.choice((1, 7, 8, 16))
    elif way == 1:
        value.type.tensor_type.elem_type = draw.choice((0, 1, 2, 7, 8, 9, 10, 11, 16, 23, 99))
    else:
        shape = value.type.tensor_type.shape
        found = draw.choice(shape.dim) if shape.dim and draw.random() < 0.7 else shape.dim.add()
        found.dim_value = draw.choice(INTEGERS)


CHANGES: tuple[Callable[[Any, Random], None], ...] = (
    *(_lies_outside, _lies_outside, _has_other_dims, _is_sparse, _grows, _has_a_loop, _has_another_operator),
    *(_is_bound_elsewhere, _has_another_opset, _has_other_numbers, _has_other_shapes),
)
