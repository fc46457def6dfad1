"""The `zhclip` command: arguments and printing only, one file a subcommand.

It stands outside `hf_zhclip` so that `zhclip --help` imports neither torch nor transformers: a subcommand imports what
it needs in its `run`.
"""

from .command_line import main

__all__ = ["main"]
