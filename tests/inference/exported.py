"""A small export without its graphs, and a graph whose numbers are checked by hand."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hf_zhclip import ZhCLIPImageProcessor, ZhCLIPProcessor
from hf_zhclip.conversion.exports.onnx.facts import TEXT_MODEL, VISION_MODEL, write_runtime
from hf_zhclip.conversion.repos.repo import Repo
from hf_zhclip.conversion.tokenizers.builders import cn_clip_tokenizer

from tests.small_models import build

VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "猫", "狗"]
WIDTH = 16
"""The width of an embedding."""


def small_repo(image_order: str = "squash_then_rgb", size: int = 8, context_length: int = 6, **pictures) -> Repo:
    """A repo that was never written: a small model's config and scale, and a processor of seven words."""
    model = build("cn_clip")
    image_processor = ZhCLIPImageProcessor(image_order=image_order, size=size, **pictures)
    processor = ZhCLIPProcessor(image_processor, cn_clip_tokenizer(VOCAB, context_length))
    return Repo(Path("a-repo"), model.config.to_dict(), model.state_dict(), processor)


def without_graphs(folder: Path, repo: Repo) -> Path:
    """What prepares texts and pictures: no graph is loaded before it is used."""
    folder.mkdir(exist_ok=True)
    for name in (TEXT_MODEL, VISION_MODEL):
        (folder / name).touch()
    write_runtime(folder, repo)
    return folder


def export(folder: Path, repo: Repo) -> Path:
    """What an export holds, with graphs that sum what they are given.

    A text's embedding is the sum of the rows of a table (words, WIDTH) that its ids name, without its padding; row i
    is `i, i + 1, ...`. A picture's is its mean, WIDTH times. Both are normalised.
    """
    folder.mkdir(exist_ok=True)
    onnx.save(_text_graph(), folder / TEXT_MODEL)
    onnx.save(_vision_graph(), folder / VISION_MODEL)
    write_runtime(folder, repo)
    return folder


def table() -> np.ndarray:
    return (np.arange(len(VOCAB))[:, None] + np.arange(WIDTH)).astype(np.float32)


def _text_graph() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide"]),
        helper.make_node("Mul", ["rows", "wide"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "first"], ["sum"], keepdims=0),
        helper.make_node("LpNormalization", ["sum"], ["text_embeds"], axis=-1, p=2),
    ]
    ids = [_value(name, TensorProto.INT64, ["n", "length"]) for name in ("input_ids", "attention_mask")]
    return _model(nodes, ids, "text_embeds", {"table": table(), "last": np.array([-1]), "first": np.array([1])})


def _vision_graph() -> onnx.ModelProto:
    nodes = [
        helper.make_node("ReduceMean", ["pixel_values", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "ones"], ["wide"]),
        helper.make_node("LpNormalization", ["wide"], ["image_embeds"], axis=-1, p=2),
    ]
    pixels = [_value("pixel_values", TensorProto.FLOAT, ["n", 3, "height", "width"])]
    ones = np.ones((3, WIDTH), np.float32)
    return _model(nodes, pixels, "image_embeds", {"axes": np.array([2, 3]), "ones": ones})


def _value(name: str, kind: int, shape: list) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _model(nodes, inputs, output: str, constants) -> onnx.ModelProto:
    held = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    outputs = [_value(output, TensorProto.FLOAT, ["n", WIDTH])]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, initializer=held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
