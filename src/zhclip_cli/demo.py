"""`zhclip demo`: runs the demo of hf_zhclip.examples."""

import argparse
from pathlib import Path
from typing import Any

HELP = "convert the small model that ships, then classify and retrieve pictures with it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", nargs="?", default="demo", help="the folder to write the model and a picture into (default: demo)"
    )


def run(options: dict[str, Any], as_json: bool) -> int:
    from hf_zhclip.examples import demo

    demo.run(Path(options["folder"]))
    return 0
