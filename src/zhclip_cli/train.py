"""`zhclip train`: `hf_zhclip.training.train`, then `hf_zhclip.conversion.convert` for what it trained."""

import argparse
import os
import shlex
from pathlib import Path
from typing import Any

from .common import add_shared, print_progress, print_result

HELP = "train a converted repository on your data, and finish the result as a repository"

TAKES_MORE = True
"""The words that this parser does not know are transformers' TrainingArguments."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Every argument of transformers' TrainingArguments works by its own name (--max_steps 3, --learning_rate "
        "1e-5), and those of hf_zhclip.training.ContrastiveArguments, whose docstrings explain them: --negatives, "
        "--cache_chunk, --as_cn_clip, --mask_equal_captions, --freeze, --patch_dropping, --decay, --restart_every, "
        "--augment, --crop, --text_as_cn_clip, --context_length."
    )
    parser.add_argument("repo", metavar="REPO", help="a converted repository in a folder")
    parser.add_argument("data", metavar="DATA", help="what `zhclip data` reads")
    parser.add_argument("out", metavar="OUT", help="the finished repository; OUT-training gets the checkpoints")
    parser.add_argument(
        "--recipe", required=True, metavar="NAME", help="full, lit, lora or another recipe; or FILE.yaml"
    )
    parser.add_argument("--split", metavar="NAME", help="the split of DATA to train on, if it holds several")
    parser.add_argument("--validation", metavar="NAME", help="the split whose recall chooses the best weights")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in OUT-training")
    add_shared(parser, "json")


def run(options: dict[str, Any], as_json: bool) -> int:
    from transformers.utils.logging import disable_progress_bar

    from hf_zhclip.errors import InputError
    from hf_zhclip.ranks import ranks
    from hf_zhclip.training import train
    from hf_zhclip.training.pairs import silent
    from hf_zhclip.training.training import parse_arguments

    disable_progress_bar()  # transformers shows it also where stderr is no terminal
    first = ranks().rank == 0  # of the processes of torchrun or `accelerate launch`
    out = Path(options.pop("out"))
    if out.name in ("", ".."):
        raise InputError(f"{out} was found as OUT; the name of a new folder was wanted.")
    adapter = out.with_name(f"{out.name}-adapter")
    arguments = parse_arguments(options.pop("more"))
    if first:  # the others may be later than the end of the training
        _check_result(out, adapter, options["repo"])
    tell = print_progress if first else silent
    trained = train(folder=out.with_name(f"{out.name}-training"), **options, repository=True, tell=tell, **arguments)
    if not first:
        return 0
    report = _finished(trained.folder, out, options["repo"])
    if trained.adapter is not None:
        trained.adapter.rename(adapter)
    line = f"{out}: {report.conversion['architecture']}, trained and verified, level {report.level}."
    result = {
        "out": str(out),
        "adapter": None if trained.adapter is None else str(adapter),
        "architecture": report.conversion["architecture"],
        "level": report.level,
        "steps": trained.steps,
        "mean_recall": None if trained.best is None else trained.best[0],
        "best_step": None if trained.best is None else trained.best[1],
    }
    print_result(result, lambda: line, as_json)
    return 0


def _check_result(out: Path, adapter: Path, repo: str) -> None:
    """Asks before the training for what could refuse its result."""
    from hf_zhclip.conversion.repos.lineage import base_named
    from hf_zhclip.errors import InputError
    from hf_zhclip.staging import check_absent

    for place in (out, adapter):
        if os.path.lexists(place):
            raise InputError(f"{place} exists already, and is not overwritten. Choose another OUT.")
    check_absent(out, force=False)
    base_named(repo)


def _finished(trained: Path, out: Path, repo: str) -> Any:
    """Converts what was trained; gives the report."""
    from hf_zhclip.conversion import convert

    try:
        return convert(trained, out, base=repo, progress=print_progress)
    except (Exception, KeyboardInterrupt):
        command = shlex.join(["zhclip", "convert", str(trained), str(out), "--base", repo])
        print_progress(f"The trained weights stay in {trained}. `{command}` finishes them.")
        raise
