"""`zhclip data`: `hf_zhclip.data.prepare` on the command line."""

import argparse
from typing import Any

from .common import add_shared, print_progress, print_result

HELP = "check image-text data, and write them as cn_clip's tsv or LMDB, or as parquet"

FORMATS = ("tsv", "lmdb", "captions", "taiyi", "folder", "datasets")
WRITERS = ("tsv", "lmdb", "parquet")
"""Names of `hf_zhclip.data`, which the help lists without importing it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "input",
        metavar="INPUT",
        help="cn_clip's tsv files or LMDB, a csv or jsonl of captions, Taiyi's captions, a folder of pictures named "
        "by their texts, or what the package datasets reads",
    )
    parser.add_argument("out", metavar="OUT", help="the folder to write")
    parser.add_argument(
        "--to",
        required=True,
        choices=WRITERS,
        help="tsv, lmdb: cn_clip's files; parquet: for datasets.load_dataset, a row for each pair",
    )
    parser.add_argument(
        "--format", metavar="NAME", help=f"INPUT's format, if several formats fit: {', '.join(FORMATS)}"
    )
    parser.add_argument("--only", metavar="SPLIT", help="take a single split of INPUT (default: all)")
    parser.add_argument(
        "--pictures", metavar="DIR", help="the folder of the pictures, if the file of captions does not lie in it"
    )
    parser.add_argument(
        "--simplified", action="store_true", help="turn traditional characters of the texts into simplified ones"
    )
    parser.add_argument(
        "--split",
        type=float,
        metavar="SHARE",
        help="divide INPUT into train, which gets this share of the pictures, and valid; a picture's texts stay "
        "together",
    )
    parser.add_argument(
        "--seed", type=int, default=123, metavar="N", help="chooses the pictures of train (default: 123)"
    )
    add_shared(parser, "json")
    parser.add_argument("--force", action="store_true", help="replace OUT if this command wrote it")


def run(options: dict[str, Any], as_json: bool) -> int:
    from hf_zhclip.data import prepare

    prepared = prepare(**options, progress=print_progress)
    print_result(prepared.to_json(), prepared.text, as_json)
    return 0
