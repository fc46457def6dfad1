"""`zhclip export`: `hf_zhclip.conversion.export` on the command line."""

import argparse
from typing import Any

from .common import add_shared, print_progress, print_result

HELP = "write a converted repo in another house's format"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", metavar="OUT", help="a converted folder, fine-tuned or not")
    parser.add_argument("destination", metavar="DEST", help="the folder to make; for cn_clip the .pt file")
    parser.add_argument(
        "--to",
        required=True,
        choices=("transformers", "cn_clip"),
        help="the class of transformers itself that is exact, or cn_clip's checkpoint",
    )
    parser.add_argument("--ddp", action="store_true", help="keys with module., to go on training (cn_clip)")
    add_shared(parser, "also_legacy", "max_shard_size", "json")
    parser.add_argument("--force", action="store_true", help="replace DEST where it exists")


def run(options: dict[str, Any], as_json: bool) -> int:
    from hf_zhclip.conversion import export

    exported = export(**options, progress=print_progress)
    print_result(exported.to_json(), exported.text, as_json)
    return 0
