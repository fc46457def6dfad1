"""`zhclip embed`: `hf_zhclip.inference.embed` on the command line."""

import argparse
import glob
from pathlib import Path
from typing import Any

from .common import add_shared, is_told, print_progress, print_result

HELP = "embed a corpus of pictures into shards of vectors, in one process or in many"

ENGINES = ("torch", "compile", "onnx")
DTYPES = ("auto", "float32", "float16", "bfloat16", "float64")
"""Names of `hf_zhclip.inference`, which are listed without importing it."""

COUNTS = ("batch_size", "shard_size", "threads")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "A run that was killed goes on where it ended, by the same command. Of the processes of `accelerate launch` "
        "or torchrun (-m zhclip_cli embed ...), each does its share."
    )
    parser.add_argument(
        "repo", metavar="REPO", help="a converted repository, a folder or user/repo; for --engine onnx, an export"
    )
    parser.add_argument(
        "input",
        metavar="INPUT",
        help="a folder of pictures of the types that Pillow reads (.jpg, .png, .webp, .gif, .bmp, .tif, .jp2 …), or "
        "what `zhclip data` reads",
    )
    parser.add_argument(
        "out", metavar="OUT", help="the folder to make, or to go on with; not inside a folder of pictures"
    )
    parser.add_argument(
        "--engine", metavar="NAME", default="torch", help=f"what computes: {', '.join(ENGINES)} (default: torch)"
    )
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1 … (default: cuda if there is one)")
    parser.add_argument(
        "--dtype",
        default="auto",
        metavar="NAME",
        help="float32, float16, bfloat16 or float64, in which the model computes (default: REPO's); vectors are "
        "float32 always",
    )
    parser.add_argument("--batch-size", metavar="N", type=int, default=32, help="items computed at once (default: 32)")
    parser.add_argument("--threads", metavar="N", type=int, help="threads that read and decode pictures ahead")
    parser.add_argument(
        "--shard-size",
        metavar="N",
        type=int,
        default=1024,
        help="items of a file; a kill loses the work on one file (default: 1024)",
    )
    parser.add_argument("--split", metavar="NAME", help="the split of INPUT, if it holds several")
    parser.add_argument("--format", metavar="NAME", help="INPUT's format, if several formats fit")
    parser.add_argument(
        "--pictures", metavar="DIR", help="the folder of the pictures, if the file of captions does not lie in it"
    )
    parser.add_argument("--texts", action="store_true", help="embed the texts of INPUT, too")
    parser.add_argument(
        "--strict", action="store_true", help="a broken picture is an error, instead of being noted and left out"
    )
    add_shared(parser, "json")


def refusal(options: dict[str, Any]) -> str | None:
    """What is wrong with the words of the command; it is said before anything heavy is imported."""
    for name, known in (("engine", ENGINES), ("dtype", DTYPES)):
        if is_told(found := options[name]) and found not in known:
            return f"found --{name} {found}; wanted one of {', '.join(known)}."
    for name in COUNTS:
        if options[name] is not None and options[name] < 1:
            return f"found --{name.replace('_', '-')} {options[name]}; 1 or more was wanted."
    repo, place = options["repo"], options["input"]
    if repo and is_told(repo) and not Path(repo).exists() and repo.count("/") != 1:
        return (
            f"{repo} does not exist; a folder that `zhclip convert SOURCE OUT` made, or user/repo on the hub, was "
            "wanted."
        )
    if is_told(place) and _is_missing(Path(place)):
        return (
            f"{place} does not exist, and is no name on the hub. A folder of pictures, or what `zhclip data` reads, "
            "was wanted."
        )
    return None


def _is_missing(place: Path) -> bool:
    """Whether a place is neither a path, nor perhaps a name on the hub, nor the beginning of files' names."""
    is_name = len(place.parts) == 2 and not place.parent.exists()
    return not (place.exists() or is_name or any(place.parent.glob(f"{glob.escape(place.name)}_*")))


def run(options: dict[str, Any], as_json: bool) -> int:
    from transformers.utils.logging import disable_progress_bar

    from hf_zhclip.inference.embedding import embed, left

    disable_progress_bar()  # transformers shows it also where stderr is no terminal
    try:
        result = embed(**options, tell=print_progress)
    except KeyboardInterrupt:
        print_progress(left(options["out"]))
        raise
    if result.told_here:
        print_result(result.to_json(), result.text, as_json)
    else:
        print_progress(result.text())
    return 0
