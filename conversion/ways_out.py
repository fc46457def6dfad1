"""Commands that several messages name as the way out; a test runs each of them."""

import shlex
from pathlib import Path

from .errors import InputError


def refuse_no_folder(folder: Path) -> None:
    """Refuses a place that is no folder, before its files are asked for.

    Raises:
        InputError: see above.
    """
    if not folder.is_dir():
        found = "is no folder" if folder.exists() else "does not exist"
        raise InputError(f"{folder} {found}; a folder that `zhclip convert SOURCE OUT` made was wanted.")


def finishing(repo: str | Path, *options: str) -> str:
    """The command that makes a complete, proved repo of what training saved."""
    return f"`{shlex.join(['zhclip', 'convert', str(repo), 'OUT', '--base', 'REPO', *options])}`"


def finish_it(repo: str | Path) -> str:
    """The advice for a folder of this package's model that nothing proves, or whose files do not fit together."""
    return (
        f"{finishing(repo)} takes its weights and makes a complete, verified repo. REPO is the converted repo that "
        "the training started from. If the weights were not trained, convert the original again."
    )
