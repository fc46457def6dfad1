"""What all subcommands share around their runs: the parser, errors in words, and exit codes."""

import argparse
import io
import os
import sys
from collections.abc import Sequence

from . import card, convert, demo, export, inspect, list, push, verify  # not Python's own inspect and list

DESCRIPTION = "Chinese CLIP checkpoints of every family as one Hugging Face transformers model."

COMMANDS = (inspect, convert, verify, export, card, push, list, demo)
"""The modules of the subcommands, in the order of `zhclip --help`; a file's name is its command's name.

Each has `HELP`, its line there; `add_arguments(parser)`; and `run(options, as_json)`, which prints and returns the
exit code.
"""


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="zhclip", description=DESCRIPTION)
    parser.add_argument("--version", action=_Version, help="print the version and leave")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in COMMANDS:
        command = commands.add_parser(module.__name__.rpartition(".")[2], help=module.HELP, description=module.HELP)
        command.set_defaults(run=module.run)
        module.add_arguments(command)
    return parser


class _Version(argparse.Action):
    def __init__(self, option_strings, dest, help):
        super().__init__(option_strings, dest=argparse.SUPPRESS, default=argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser, *_):
        from importlib.metadata import version

        print(f"zhclip {version('hf-zhclip')}")
        parser.exit()
