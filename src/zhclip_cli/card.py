"""`zhclip card`: `hf_zhclip.conversion.card` on the command line."""

import argparse
from typing import Any

HELP = "write or refresh README.md of a converted repo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", metavar="OUT", help="a converted folder")
    parser.add_argument("--license", metavar="ID", help="the licence of these weights, by its id on the hub")
    parser.add_argument("--base-model", metavar="USER/NAME", help="the model that these weights come from")
    parser.add_argument("--force", action="store_true", help="replace a README.md that was edited by hand")


def run(options: dict[str, Any], as_json: bool) -> int:
    from hf_zhclip.conversion import card

    print(card(**options))
    return 0
