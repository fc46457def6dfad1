"""`zhclip card`: `hf_zhclip.conversion.card` on the command line."""

import argparse
from typing import Any

HELP = "write the model card (README.md) of a converted repository again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", metavar="OUT", help="a converted repository")
    parser.add_argument(
        "--license", metavar="ID", help="the licence of the weights, as the hub's id, such as apache-2.0"
    )
    parser.add_argument("--base-model", metavar="USER/NAME", help="the model that the weights come from")
    parser.add_argument("--force", action="store_true", help="replace README.md even if it was edited by hand")


def run(options: dict[str, Any], as_json: bool) -> int:
    from hf_zhclip.conversion import card

    print(card(**options))
    return 0
