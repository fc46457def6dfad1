"""The `zhclip` command: arguments and printing only.

It stands outside the package so that `zhclip --help` imports neither torch nor transformers.
"""

import argparse
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

DESCRIPTION = "Chinese CLIP checkpoints of every family as one Hugging Face transformers model."
SOURCE = "a file, a folder, a name of `zhclip list`, or user/repo[:file] on the hub"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 0 is done, 1 the work failed, 2 the input or the arguments are wrong."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a GBK console prints what it can
    options = vars(_parser().parse_args(arguments))
    command, as_json = options.pop("run"), options.pop("json", False)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from hf_zhclip.conversion.errors import ZhclipError

    try:
        code = command(options, as_json)
        sys.stdout.flush()  # here, so that a reader that went away is noticed here
        return code
    except ZhclipError as error:
        print(f"zhclip: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"zhclip: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("zhclip: interrupted; nothing half-written was left.", file=sys.stderr)
        return 1


def _inspect(options: dict[str, Any], as_json: bool) -> int:
    from hf_zhclip.conversion import inspect

    inspection = inspect(**options)
    _print(inspection.to_json(), inspection.text, as_json)
    return 0 if inspection.format else 2


def _convert(options: dict[str, Any], as_json: bool) -> int:
    from hf_zhclip.conversion import ParityError, convert

    try:
        report = convert(**options, progress=_progress)
    except ParityError as error:
        _print(error.report.to_json(), error.report.text, as_json)
        raise
    word = "tensors compared, NOT verified" if report.level == "tensors" else f"verified, level {report.level}"
    _print(report.to_json(), lambda: f"{options['out']}: {report.conversion['architecture']}, {word}.", as_json)
    return 0


def _verify(options: dict[str, Any], as_json: bool) -> int:
    from hf_zhclip.conversion import ParityError, verify
    from hf_zhclip.conversion.proof.verification import unseen

    try:
        report = verify(**options)
        if options["against"] is None:
            _progress(unseen(options["out"]))
    except ParityError as error:
        _print(error.report.to_json(), error.report.text, as_json)
        raise
    _print(report.to_json(), report.text, as_json)
    return 0


def _export(options: dict[str, Any], as_json: bool) -> int:
    from hf_zhclip.conversion import export

    exported = export(**options, progress=_progress)
    _print(exported.to_json(), exported.text, as_json)
    return 0


def _push(options: dict[str, Any], as_json: bool) -> int:
    from hf_zhclip.conversion import push

    pushed = push(**options, progress=_progress)
    _print(pushed.to_json(), pushed.text, as_json)
    return 0


def _card(options: dict[str, Any], as_json: bool) -> int:
    from hf_zhclip.conversion import card

    print(card(**options))
    return 0


def _list(options: dict[str, Any], as_json: bool) -> int:
    from hf_zhclip.conversion.reading import catalogue

    _print([entry.to_json() for entry in catalogue.entries()], catalogue.table, as_json)
    return 0


def _demo(options: dict[str, Any], as_json: bool) -> int:
    from hf_zhclip.examples.demo import run

    run(Path(options["folder"]))
    return 0


def _print(value: Any, text: Callable[[], str], as_json: bool) -> None:
    from hf_zhclip.conversion.telling import shown_lines

    print(shown_lines(json.dumps(value, ensure_ascii=False, indent=2) if as_json else text()))


def _progress(line: str) -> None:
    from hf_zhclip.conversion.telling import shown

    print(shown(line), file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="zhclip", description=DESCRIPTION)
    parser.add_argument("--version", action=_Version, help="print the version and leave")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_inspect(commands)
    _add_convert(commands)
    _add_verify(commands)
    _add_export(commands)
    _add_card(commands)
    _add_push(commands)
    _add_list(commands)
    _add_demo(commands)
    return parser


class _Version(argparse.Action):
    def __init__(self, option_strings, dest, help):
        super().__init__(option_strings, dest=argparse.SUPPRESS, default=argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser, *_):
        from importlib.metadata import version

        print(f"zhclip {version('hf-zhclip')}")
        parser.exit()


def _add(commands, name: str, run: Callable, help: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help, description=help)
    parser.set_defaults(run=run)
    return parser


def _add_inspect(commands) -> None:
    parser = _add(commands, "inspect", _inspect, "say what a checkpoint is, from its headers alone")
    parser.add_argument("source", metavar="SOURCE", help=SOURCE)
    _add_shared(parser, "format", "config", "ema", "json")


def _add_convert(commands) -> None:
    parser = _add(commands, "convert", _convert, "turn a checkpoint into a verified safetensors repo")
    parser.add_argument("source", metavar="SOURCE", help=SOURCE)
    parser.add_argument("out", metavar="OUT", help="the folder to make")
    _add_shared(parser, *OF_THE_ORIGINAL, "json")
    parser.add_argument(
        "--dtype",
        default="keep",
        choices=("keep", "float32", "float16", "bfloat16"),
        help="what floats are cast to; keep (the default) keeps every bit",
    )
    parser.add_argument("--context-length", type=int, metavar="N", help="the longest text in tokens; the original's")
    _add_shared(parser, "max_shard_size")
    parser.add_argument("--report", metavar="PATH", help="write the report here too, even if verification fails")
    parser.add_argument(
        "--with-code", action="store_true", help="add the code, for trust_remote_code without hf_zhclip"
    )
    _add_shared(parser, "also_legacy")
    parser.add_argument("--force", action="store_true", help="replace OUT where it exists")
    parser.add_argument("--skip-verify", action="store_true", help="compare tensors alone; not called verified")
    parser.add_argument("--allow-nonfinite", action="store_true", help="go on where weights hold NaN or Inf")


def _add_verify(commands) -> None:
    parser = _add(commands, "verify", _verify, "compare a converted repo with its original again")
    parser.add_argument("out", metavar="OUT", help="a converted folder")
    parser.add_argument("--against", metavar="SOURCE", help=f"the original: {SOURCE}; by default OUT mapped back")
    _add_shared(parser, *OF_THE_ORIGINAL, "json")


def _add_export(commands) -> None:
    parser = _add(commands, "export", _export, "write a converted repo in another house's format")
    parser.add_argument("out", metavar="OUT", help="a converted folder, fine-tuned or not")
    parser.add_argument("destination", metavar="DEST", help="the folder to make; for cn_clip the .pt file")
    parser.add_argument(
        "--to",
        required=True,
        choices=("transformers", "cn_clip"),
        help="the class of transformers itself that is exact, or cn_clip's checkpoint",
    )
    parser.add_argument("--ddp", action="store_true", help="keys with module., to go on training (cn_clip)")
    _add_shared(parser, "also_legacy", "max_shard_size", "json")
    parser.add_argument("--force", action="store_true", help="replace DEST where it exists")


def _add_card(commands) -> None:
    parser = _add(commands, "card", _card, "write or refresh README.md of a converted repo")
    parser.add_argument("out", metavar="OUT", help="a converted folder")
    parser.add_argument("--license", metavar="ID", help="the licence of these weights, by its id on the hub")
    parser.add_argument("--base-model", metavar="USER/NAME", help="the model that these weights come from")
    parser.add_argument("--force", action="store_true", help="replace a README.md that was edited by hand")


def _add_push(commands) -> None:
    parser = _add(commands, "push", _push, "publish a verified repo on the hub")
    parser.add_argument("out", metavar="OUT", help="a converted folder")
    parser.add_argument("repo_id", metavar="USER/NAME", help="the repository on the hub; made if it is not there")
    parser.add_argument("--private", action="store_true", help="make the repository private")
    parser.add_argument("--revision", metavar="BRANCH", help="the branch to push to (main); made if it is not there")
    parser.add_argument(
        "--create-pr", action="store_true", help="open a pull request instead of writing to the branch"
    )
    parser.add_argument("--dry-run", action="store_true", help="list files and sizes; nothing is sent")
    parser.add_argument(
        "--force-unverified", action="store_true", help="publish what is not verified; the card says that it is not"
    )
    _add_shared(parser, "json")


def _add_list(commands) -> None:
    parser = _add(commands, "list", _list, "print the published checkpoints that `convert` knows by name")
    _add_shared(parser, "json")


def _add_demo(commands) -> None:
    parser = _add(commands, "demo", _demo, "convert the small model that ships, classify and retrieve with it")
    parser.add_argument("folder", nargs="?", default="demo", help="where to write the repo and the picture (demo)")


OF_THE_ORIGINAL = ("vision", "format", "vision_format", "tokenizer", "config", "vision_config", "ema")
"""What is said of an original that is converted, or compared with."""


def _add_shared(parser: argparse.ArgumentParser, *names: str) -> None:
    arguments: dict[str, dict[str, Any]] = {
        "vision": {"metavar": "SOURCE", "help": "the image part of a text model that was published without one"},
        "format": {"metavar": "NAME", "help": "the source's format, where its keys can't decide"},
        "tokenizer": {"metavar": "PATH", "help": "a vocabulary in place of the source's own"},
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
    for name in names:
        parser.add_argument(f"--{name.replace('_', '-')}", **arguments[name])


if __name__ == "__main__":
    sys.exit(main())
