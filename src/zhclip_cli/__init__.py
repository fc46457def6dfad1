"""The `zhclip` command: arguments and printing only, one file for each subcommand.

The package lies outside `hf_zhclip` so that `zhclip --help` imports neither torch nor transformers. A subcommand
imports what it needs in its `run`.
"""

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: The words after `zhclip`; by default the words that this process was given.

    Returns:
        The exit code: 0 for done, 1 if the work failed or a signal ended it, 2 if the input is wrong.

    Raises:
        SystemExit: With 0 after `--help` and `--version`, with 2 if the arguments are wrong.
    """
    try:
        from . import signals  # here and below, so that an interrupt meanwhile is told in words

        with signals.raised(to_the_end=arguments is None):
            from . import command_line

            return command_line.main(arguments)
    except KeyboardInterrupt as end:
        from . import streams

        streams.tell(f"zhclip: {str(end) or 'interrupted'}; no half-written file was left.")
        return 1


__all__ = ["main"]
