"""`zhclip evaluate`: `hf_zhclip.evaluation.evaluate` on the command line."""

import argparse
from typing import Any

from .common import add_shared, print_progress, print_result

HELP = "measure retrieval, zero-shot classification, or a threshold for pairs that fit"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("repo", metavar="REPO", nargs="?", help="a converted repository, a folder or user/repo")
    parser.add_argument(
        "data",
        metavar="DATA",
        nargs="?",
        help="what `zhclip data` reads; for --classes, a folder with a folder of pictures for each class; for "
        "--threshold, also a .jsonl of labelled pairs: image, text, fits",
    )
    parser.add_argument("--split", metavar="NAME", help="the split of DATA, if it holds several")
    features = parser.add_argument_group("instead of REPO and DATA, cn_clip's files of a split")
    features.add_argument("--image-features", metavar="FILE", help="a *_imgs.img_feat.jsonl")
    features.add_argument("--text-features", metavar="FILE", help="a *_texts.txt_feat.jsonl")
    features.add_argument("--texts", metavar="FILE", help="a *_texts.jsonl, which says what belongs together")
    features.add_argument(
        "--predictions",
        metavar="FILE",
        action="append",
        default=[],
        help="predictions to score with --texts; twice for both directions",
    )
    tasks = parser.add_argument_group("instead of retrieval")
    tasks.add_argument(
        "--classes",
        metavar="PLACE",
        help="zero-shot classification: class names, a file with a name a line, or FILE.py:LIST, or cn_clip:LIST of "
        "an installed cn_clip",
    )
    tasks.add_argument("--templates", metavar="PLACE", help="the texts for --classes, from the same places: {}的照片")
    tasks.add_argument("--threshold", action="store_true", help="fit a cosine that tells pairs that fit from others")
    parser.add_argument(
        "--as-cn-clip",
        action="store_true",
        help="prepare texts and pictures as cn_clip's evaluation does, and count a text without pictures as a miss",
    )
    parser.add_argument("--batch-size", metavar="N", type=int, default=64, help="inputs that are encoded at once")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1 … (default: cuda if there is one)")
    parser.add_argument("--context-length", metavar="N", type=int, help="the longest text in tokens (default: REPO's)")
    parser.add_argument(
        "--out", metavar="FOLDER", help="write the result, pictures of it, and cn_clip's files of features and scores"
    )
    parser.add_argument("--force", action="store_true", help="replace a FOLDER that an evaluation wrote")
    parser.add_argument("--card", action="store_true", help="note the figures in REPO and write its card again")
    add_shared(parser, "json")


def run(options: dict[str, Any], as_json: bool) -> int:
    from transformers.utils.logging import disable_progress_bar

    from hf_zhclip.evaluation import evaluate

    disable_progress_bar()  # transformers shows it also where stderr is no terminal
    on_card = options.pop("card")
    if on_card:
        from hf_zhclip.conversion.publishing.noting import check_noting, note_on_card

        check_noting(options["repo"], options["data"])
    result = evaluate(**options, tell=print_progress)
    print_result(result.to_json(), result.text, as_json)
    if on_card:
        print_progress(f"The figures stand on {note_on_card(options, result.to_json())}.")
    return 0
