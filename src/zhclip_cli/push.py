"""`zhclip push`: `hf_zhclip.conversion.push` on the command line."""

import argparse
from typing import Any

from .common import add_shared, print_progress, print_result

HELP = "publish a verified repo on the hub"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", metavar="OUT", help="a converted folder")
    parser.add_argument("repo_id", metavar="USER/NAME", help="the repository on the hub; made if it is not there")
    parser.add_argument("--private", action="store_true", help="make the repository private")
    parser.add_argument("--revision", metavar="BRANCH", help="the branch to push to (main); made if it is not there")
    parser.add_argument(
        "--create-pr", action="store_true", help="open a pull request instead of writing to the branch"
    )
    parser.add_argument("--dry-run", action="store_true", help="list files and sizes; nothing is sent")
    parser.add_argument(
        "--force-unverified", action="store_true", help="publish what is not verified; the card says that it is not"
    )
    add_shared(parser, "json")


def run(options: dict[str, Any], as_json: bool) -> int:
    from hf_zhclip.conversion import push

    pushed = push(**options, progress=print_progress)
    print_result(pushed.to_json(), pushed.text, as_json)
    return 0
