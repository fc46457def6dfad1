"""`zhclip inspect`: `hf_zhclip.conversion.inspect` on the command line."""

import argparse
from typing import Any

from .common import OF_THE_ORIGINAL, SOURCE, add_shared, print_result

HELP = "say what a checkpoint is, and whether convert takes it, from its headers and shapes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help=SOURCE)
    add_shared(parser, *OF_THE_ORIGINAL, "json")


def run(options: dict[str, Any], as_json: bool) -> int:
    from hf_zhclip.conversion import inspect

    inspection = inspect(**options)
    print_result(inspection.to_json(), inspection.text, as_json)
    return 0 if inspection.refusal is None else 2
