"""`zhclip export`: `hf_zhclip.conversion.export` on the command line."""

import argparse
from typing import Any

from .common import add_shared, print_progress, print_result

HELP = "write a converted repository in the format of transformers, of cn_clip or of its original, or as ONNX graphs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", metavar="OUT", help="a converted repository, fine-tuned or not")
    parser.add_argument("destination", metavar="DEST", help="the folder to write; for cn_clip the .pt file")
    parser.add_argument(
        "--to",
        required=True,
        choices=("transformers", "cn_clip", "source", "onnx"),
        help="transformers: a class of transformers that holds the model exactly; cn_clip: cn_clip's checkpoint; "
        "source: the files of the original's format; onnx: a graph for each tower",
    )
    parser.add_argument("--ddp", action="store_true", help="begin the keys with module., for more training in cn_clip")
    parser.add_argument(
        "--precision",
        choices=("float32", "float16", "int8"),
        help="the numbers of ONNX graphs' weights (default: float32)",
    )
    parser.add_argument(
        "--calibrate",
        metavar="DATA",
        help="pictures and texts that fix the ranges of int8 (static int8); without them each call finds its own",
    )
    parser.add_argument(
        "--check",
        metavar="DATA",
        help="at least 200 pictures and texts, on which the loss of float16 or int8 is measured",
    )
    parser.add_argument(
        "--accept-loss",
        action="store_true",
        help="write float16 or int8 although its loss was not measured or is large; the README states the figures",
    )
    parser.add_argument("--opset", type=int, metavar="N", help="the version of ONNX's operators (default: 20)")
    parser.add_argument(
        "--layout",
        choices=("plain", "transformers.js"),
        help="the files of ONNX graphs: with zhclip_onnx.py, or as transformers.js reads them (default: plain)",
    )
    add_shared(parser, "also_legacy", "max_shard_size", "json")
    parser.add_argument("--force", action="store_true", help="replace DEST if it exists")


def run(options: dict[str, Any], as_json: bool) -> int:
    from hf_zhclip.conversion import export

    exported = export(**options, progress=print_progress)
    print_result(exported.to_json(), exported.text, as_json)
    return 0
