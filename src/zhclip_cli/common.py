"""What several subcommands share: options that mean the same in each, and printing."""

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

SOURCE = "a file, a folder, a name of `zhclip list`, or user/repo[:file] on the hub"

OF_THE_ORIGINAL = ("vision", "format", "vision_format", "tokenizer", "config", "vision_config", "ema")
"""What is said of an original that is converted, or compared with."""

SHARED: dict[str, dict[str, Any]] = {
    "vision": {"metavar": "SOURCE", "help": "the image part of a text model that was published without one"},
    "format": {"metavar": "NAME", "help": "the source's format, where its keys can't decide"},
    "tokenizer": {
        "metavar": "PATH",
        "help": "a vocabulary in place of the source's own; packaged: the one that ships",
    },
    "config": {
        "metavar": "FILE",
        "help": "a JSON that states what no weight file holds, in the fields of the original's own config",
    },
    "vision_format": {"metavar": "NAME", "help": "the image part's format, where its keys can't decide"},
    "vision_config": {"metavar": "FILE", "help": "the JSON that states the same of the image part"},
    "ema": {
        "choices": ("use", "ignore"),
        "help": "which weights to take of a file that holds a moving average (EMA) beside them",
    },
    "also_legacy": {
        "action": "store_true",
        "help": "write preprocessor_config.json and vocab.txt for older readers",
    },
    "max_shard_size": {"default": "5GB", "metavar": "SIZE", "help": "the largest weight file (5GB)"},
    "json": {"action": "store_true", "help": "print JSON"},
}


def add_shared(parser: argparse.ArgumentParser, *names: str) -> None:
    """Adds options of `SHARED` in the order of their names."""
    for name in names:
        parser.add_argument(f"--{name.replace('_', '-')}", **SHARED[name])


def print_result(value: Any, text: Callable[[], str], as_json: bool) -> None:
    """Prints a result to the output: `value` as JSON for machines, or `text()` for people."""
    from hf_zhclip.conversion.telling import shown_lines

    print(shown_lines(json.dumps(value, ensure_ascii=False, indent=2) if as_json else text()))


def print_progress(line: str) -> None:
    """Prints to the messages, apart from the result."""
    from hf_zhclip.conversion.telling import shown

    print(shown(line), file=sys.stderr, flush=True)
