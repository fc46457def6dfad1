"""`zhclip verify`: `hf_zhclip.conversion.verify` on the command line."""

import argparse
from typing import Any

from .common import OF_THE_ORIGINAL, SOURCE, add_shared, print_progress, print_result

HELP = "compare a converted repository with its original again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", metavar="OUT", help="a converted repository")
    parser.add_argument(
        "--against", metavar="SOURCE", help=f"the original: {SOURCE} (default: the weights of OUT, mapped back)"
    )
    add_shared(parser, *OF_THE_ORIGINAL, "json")


def run(options: dict[str, Any], as_json: bool) -> int:
    from hf_zhclip.conversion import ParityError, verify
    from hf_zhclip.conversion.proof.verification import unseen

    try:
        report = verify(**options)
        if options["against"] is None:
            print_progress(unseen(options["out"]))
    except ParityError as error:
        print_result(error.report.to_json(), error.report.text, as_json)
        raise
    print_result(report.to_json(), report.text, as_json)
    return 0
