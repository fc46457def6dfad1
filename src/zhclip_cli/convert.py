"""`zhclip convert`: `hf_zhclip.conversion.convert` on the command line."""

import argparse
from typing import Any

from .common import OF_THE_ORIGINAL, SOURCE, add_shared, print_progress, print_result

HELP = "convert a checkpoint into a verified safetensors repository"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help=SOURCE)
    parser.add_argument("out", metavar="OUT", help="the folder to write")
    parser.add_argument(
        "--base",
        metavar="REPO",
        help="the converted repository that a training started from; SOURCE is what the training saved",
    )
    add_shared(parser, *OF_THE_ORIGINAL, "json")
    parser.add_argument(
        "--dtype",
        default="keep",
        choices=("keep", "float32", "float16", "bfloat16"),
        help="the dtype that floats are cast to; keep (the default) keeps every bit",
    )
    parser.add_argument(
        "--context-length", type=int, metavar="N", help="the longest text, in tokens (default: the original's)"
    )
    add_shared(parser, "max_shard_size")
    parser.add_argument(
        "--report", metavar="PATH", help="also write the report to this file, even if the verification fails"
    )
    code = parser.add_mutually_exclusive_group()
    code.add_argument(
        "--without-code",
        action="store_false",
        dest="with_code",
        help="leave out the model's code; the result then loads only where hf_zhclip is installed",
    )
    code.add_argument(
        "--with-code",
        action="store_true",
        default=True,
        help="write the model's code, for trust_remote_code=True without hf_zhclip (the default)",
    )
    add_shared(parser, "also_legacy")
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")
    parser.add_argument(
        "--skip-verify", action="store_true", help="compare only the tensors; the result does not count as verified"
    )
    parser.add_argument("--allow-nonfinite", action="store_true", help="convert even if weights hold NaN or Inf")


def run(options: dict[str, Any], as_json: bool) -> int:
    from hf_zhclip.conversion import ParityError, convert

    try:
        report = convert(**options, progress=print_progress)
    except ParityError as error:
        print_result(error.report.to_json(), error.report.text, as_json)
        raise
    word = "tensors compared, NOT verified" if report.level == "tensors" else f"verified, level {report.level}"
    line = f"{options['out']}: {report.conversion['architecture']}, {word}."
    print_result(report.to_json(), lambda: line, as_json)
    return 0
