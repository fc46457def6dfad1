"""What all subcommands share around their runs: the parser, errors in words, and exit codes."""

import argparse
import os
import sys
from collections.abc import Sequence

from . import card, convert, demo, export, inspect, list, push, streams, verify  # not Python's own inspect and list

DESCRIPTION = "Chinese CLIP checkpoints of every family as one Hugging Face transformers model."

COMMANDS = (inspect, convert, verify, export, card, push, list, demo)
"""The modules of the subcommands, in the order of `zhclip --help`; a file's name is its command's name.

Each has `HELP`, its line there; `add_arguments(parser)`; and `run(options, as_json)`, which prints and returns the
exit code.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: The words after `zhclip`; by default those of this process.

    Returns:
        The exit code: 0 is done, 1 the work failed, 2 the input is wrong.

    Raises:
        SystemExit: With 0 after `--help` and `--version`, with 2 where the arguments are wrong.
    """
    streams.prepare()
    try:
        return _run(arguments)
    except BrokenPipeError:
        return 1  # the reader went away, and wants to hear nothing
    except OSError as error:
        streams.tell(f"zhclip: {error}")
        return 1
    except KeyboardInterrupt:
        streams.tell("zhclip: interrupted; nothing half-written was left.")
        return 1
    finally:
        streams.drop_unwritten()


def _run(arguments: Sequence[str] | None) -> int:
    try:
        options = vars(_parser().parse_args(arguments))
        command, as_json = options.pop("run"), options.pop("json", False)
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        from hf_zhclip.conversion.errors import ZhclipError  # loads transformers; main tells an interrupt

        try:
            return command(options, as_json)
        except ZhclipError as error:
            streams.tell(f"zhclip: {error}")
            return error.exit_code
    finally:
        sys.stdout.flush()  # here, so that main notices a reader that went away


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
