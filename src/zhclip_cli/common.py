"""Options that mean the same in several subcommands, and printing."""

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

SOURCE = "a file, a folder, a name of `zhclip list`, or user/repo[:file] on the hub"

FORMATS = (
    *("cn_clip", "bert_clip", "bert_from_clip", "chinese_clip", "taiyi_clip", "taiyi", "taiyi_finetune"),
    *("multilingual_clip", "hf_clip", "prd2", "wukong", "modelscope", "easynlp", "sentence_transformers"),
    *("openai_clip", "open_clip", "open_clip_xlm_roberta", "zh_clip"),
)
"""The names of the sources, which the help lists without importing them."""

OF_THE_ORIGINAL = ("vision", "format", "vision_format", "tokenizer", "config", "vision_config", "ema")
"""The options that state facts of an original, whether it is converted or compared with."""

SHARED: dict[str, dict[str, Any]] = {
    "vision": {
        "metavar": "SOURCE",
        "help": "the image model of a text model that was published without an image model",
    },
    "format": {"metavar": "NAME", "help": f"the source's format, if its keys cannot decide: {', '.join(FORMATS)}"},
    "tokenizer": {
        "metavar": "PATH",
        "help": "a vocabulary that replaces the source's own; packaged: the vocabulary in hf_zhclip",
    },
    "config": {
        "metavar": "FILE",
        "help": "a JSON file that states what the weights do not show, in the fields of the original's own config",
    },
    "vision_format": {
        "metavar": "NAME",
        "help": "the image model's format, if its keys cannot decide; the same names as for --format",
    },
    "vision_config": {"metavar": "FILE", "help": "a JSON file that states the same facts of the image model"},
    "ema": {
        "choices": ("use", "ignore"),
        "help": "take or ignore the moving average (EMA) if a file holds an EMA beside the weights",
    },
    "also_legacy": {
        "action": "store_true",
        "help": "also write preprocessor_config.json and vocab.txt, which transformers 4 reads",
    },
    "max_shard_size": {
        "default": "5GB",
        "metavar": "SIZE",
        "help": "the largest size of a weight file (default: 5GB)",
    },
    "json": {"action": "store_true", "help": "print the result as JSON"},
}


SECRETS = ("@", "hf_", "ms-")
"""What passwords in addresses and tokens of the hubs hold."""


def is_told(place: str) -> bool:
    """Whether a place may be printed as it is, without hf_zhclip, which escapes and masks but takes seconds to import.

    Where it may not, a `refusal` leaves the words to hf_zhclip.
    """
    return place.isprintable() and not any(each in place for each in SECRETS)


def add_shared(parser: argparse.ArgumentParser, *names: str) -> None:
    """Adds options of `SHARED` to a parser, in the order that is given."""
    for name in names:
        parser.add_argument(f"--{name.replace('_', '-')}", **SHARED[name])


def print_result(value: Any, text: Callable[[], str], as_json: bool) -> None:
    """Prints a result to stdout: `value` as JSON for machines, or `text()` for people."""
    from hf_zhclip.telling import shown_lines

    print(shown_lines(json.dumps(value, ensure_ascii=False, indent=2) if as_json else text()))


def print_progress(line: str) -> None:
    """Prints a message to stderr, apart from the result."""
    from hf_zhclip.telling import shown

    print(shown(line), file=sys.stderr, flush=True)
