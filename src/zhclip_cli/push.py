"""`zhclip push`: `hf_zhclip.conversion.push` on the command line."""

import argparse
from typing import Any

from .common import add_shared, print_progress, print_result

HELP = "publish a verified repository on the hub"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", metavar="OUT", help="a converted repository")
    parser.add_argument(
        "repo_id", metavar="USER/NAME", help="the repository on the hub; it is created if it does not exist"
    )
    parser.add_argument("--private", action="store_true", help="make the repository private")
    parser.add_argument(
        "--revision",
        metavar="BRANCH",
        help="the branch to push to (default: main); it is created if it does not exist",
    )
    parser.add_argument(
        "--create-pr", action="store_true", help="open a pull request instead of writing to the branch"
    )
    parser.add_argument("--dry-run", action="store_true", help="list files and sizes, and send nothing")
    parser.add_argument(
        "--force-unverified",
        action="store_true",
        help="publish even if the repository is not verified; the card then says so",
    )
    add_shared(parser, "json")


def run(options: dict[str, Any], as_json: bool) -> int:
    from hf_zhclip.conversion import push

    pushed = push(**options, progress=print_progress)
    print_result(pushed.to_json(), pushed.text, as_json)
    return 0
