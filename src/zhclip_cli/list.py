"""`zhclip list`: the catalogue on the command line."""

import argparse
from typing import Any

from .common import add_shared, print_result

HELP = "print the published checkpoints that `convert` knows by name"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_shared(parser, "json")


def run(options: dict[str, Any], as_json: bool) -> int:
    from hf_zhclip.conversion.reading import catalogue

    print_result([entry.to_json() for entry in catalogue.entries()], catalogue.table, as_json)
    return 0
