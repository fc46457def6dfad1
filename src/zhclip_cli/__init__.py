"""The `zhclip` command: arguments and printing only, one file for each subcommand.

The package lies outside `hf_zhclip` so that `zhclip --help` imports neither torch nor transformers. A subcommand
imports what it needs in its `run`.
"""

from .command_line import main

__all__ = ["main"]
