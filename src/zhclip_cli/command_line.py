"""The code around every subcommand: the parser, the errors that end a run, and the exit codes."""

import argparse
import errno
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from . import (
    card,
    convert,
    data,
    demo,
    embed,
    evaluate,
    export,
    inspect,
    list,
    push,
    search,
    streams,
    train,
    verify,
)  # not Python's own inspect and list

DESCRIPTION = "Chinese CLIP checkpoints of every family as one Hugging Face transformers model."

COMMANDS = (inspect, convert, verify, export, card, push, list, data, evaluate, train, embed, search, demo)
"""The modules of the subcommands, in the order of `zhclip --help`; a module's name is the command's name.

Each module has `HELP`, the command's line of help; `add_arguments(parser)`; and `run(options, as_json)`, which prints
the result and returns the exit code. It may have `refusal(options)`, which imports nothing heavy and gives what is
wrong with the words, or None.
"""

MOST_TOLD = 4_000
"""Characters of a message, of which the end is kept: it says what to do."""

OF_A_NAME = (errno.ENAMETOOLONG, errno.ELOOP)
"""The system's errors whose cause is a path itself, which somebody gave."""


def main(arguments: Sequence[str] | None) -> int:
    """Runs a command; see the package's `main`, which also tells an interrupt."""
    streams.prepare()
    try:
        return _run(arguments)
    except BrokenPipeError:
        return 1  # nobody reads a message any more
    except OSError as error:
        named = isinstance(error.filename, str) and error.strerror is not None
        streams.tell(f"zhclip: {f'{error.filename}: {error.strerror}.' if named else error}")
        return 2 if error.errno in OF_A_NAME else 1
    finally:
        streams.drop_unwritten()


def _run(arguments: Sequence[str] | None) -> int:
    try:
        options = _options(arguments)
        command, refusal = options.pop("run"), options.pop("refusal")
        if refusal is not None and (trouble := refusal(options)):
            streams.tell(f"zhclip: {trouble}")
            return 2
        as_json = options.pop("json", False)
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        if not sys.stderr.isatty():
            os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
        if trouble := _refused_setting():
            streams.tell(f"zhclip: {trouble}")
            return 2
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", module="PIL")  # of damaged metadata and of many pixels
                return command(options, as_json)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of Rust code is no Exception
            if (told := _told(error)) is None:
                raise
            # Indented, so that a line break in a stranger's name begins no line that looks like ours.
            streams.tell(f"zhclip: {_shortened(str(told))}".replace("\n", "\n  "))
            return told.exit_code
    finally:
        sys.stdout.flush()  # here, so that main notices a reader that went away


def _refused_setting() -> str | None:
    """What is wrong with a variable of the environment that a package reads while it is imported."""
    try:
        import hf_zhclip  # noqa: F401 (it imports these packages; every command does)
    except ValueError as error:
        names = [name for name, value in os.environ.items() if str(error).endswith(f": {value!r}")]
        if not names:
            raise
        named = " or ".join(names)
        return f"found a wrong value of {named} in the environment: {error}. Unset {named}, or correct it."
    return None


def _shortened(message: str) -> str:
    """A message without its middle, where a stranger's file made it long."""
    half = MOST_TOLD // 2
    return message if len(message) <= MOST_TOLD else f"{message[:half]} … {message[-half:]}"


def _told(error: BaseException) -> Any:
    """The error that is told in words, a ZhclipError; None where a traceback is due."""
    from hf_zhclip.errors import ZhclipError, is_memory, is_panic  # loads transformers

    first = str(error).strip().partition("\n")[0]
    if is_memory(error):
        return ZhclipError(
            f"the memory does not suffice: {first or 'no more was given'}. No half-written file was left."
        )
    if is_panic(error):
        return ZhclipError(
            f"a package failed: {first}. A tokenizer.json that somebody changed makes the package tokenizers fail so."
        )
    return error if isinstance(error, ZhclipError) else None


def _options(arguments: Sequence[str] | None) -> dict[str, Any]:
    """The options of a subcommand; one that takes more words than its own gets them as `more`."""
    found, more = _parser().parse_known_args(arguments)
    options = vars(found)
    takes_more, refuse, left_out = options.pop("takes_more"), options.pop("refuse"), options.pop("left_out")
    if takes_more:
        return {**options, "more": more}
    free = [name for name in left_out if options[name] is None]
    if more and len(more) <= len(free) and not any(word.startswith("-") for word in more):
        # Before Python 3.13, argparse takes a word that may be left out for left out at the first option.
        options.update(zip(free, more, strict=False))
    elif more:
        refuse(f"unrecognized arguments: {' '.join(more)}")
    return options


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line; argparse would print all options before it."""

    def error(self, message: str) -> NoReturn:
        printable = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in message)
        self.exit(2, f"{self.prog}: error: {printable}. `{self.prog} --help` shows the words.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="zhclip", description=DESCRIPTION)
    parser.add_argument("--version", action=_Version, help="print the version and exit")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in COMMANDS:
        command = commands.add_parser(module.__name__.rpartition(".")[2], help=module.HELP, description=module.HELP)
        command.set_defaults(run=module.run, takes_more=getattr(module, "TAKES_MORE", False))
        command.set_defaults(refusal=getattr(module, "refusal", None), refuse=command.error)
        module.add_arguments(command)
        words = (each for each in command._actions if not each.option_strings and each.nargs == "?")
        command.set_defaults(left_out=[each.dest for each in words])
    return parser


class _Version(argparse.Action):
    def __init__(self, option_strings, dest, help):
        super().__init__(option_strings, dest=argparse.SUPPRESS, default=argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser, *_):
        from importlib.metadata import version

        print(f"zhclip {version('hf-zhclip')}")
        parser.exit()
