"""`zhclip demo`: the small model that ships, on the command line."""

import argparse
from pathlib import Path
from typing import Any

HELP = "convert the small model that ships, classify and retrieve with it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", default="demo", help="where to write the repo and the picture (demo)")


def run(options: dict[str, Any], as_json: bool) -> int:
    from hf_zhclip.examples import demo

    demo.run(Path(options["folder"]))
    return 0
