"""Lists the globals that a pickle names, without running it, so that a refusal can show them."""

import io
import pickle
import pickletools
import re
import struct
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..mapping import fold

HARMLESS = re.compile(
    r"torch\.\w+|torch\._utils\.\w+|collections\.OrderedDict|argparse\.Namespace|_codecs\.encode"
    r"|numpy\.dtype|numpy\.dtypes\.\w+|numpy\._?core\.multiarray\.scalar"
)
"""Globals that are data: storages, dtypes, the functions that rebuild tensors, and what `containers` allows."""

DAMAGE = (
    *(pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError),
    *(AssertionError, OverflowError, struct.error),
)
"""What unpickling raises for a damaged file."""


def refusal(path: Path, names: Iterable[str]) -> str:
    """The message about a pickle that names globals that are not data."""
    return (
        f"{path} is a pickle that needs code to be read. Code in a file is never run here. The pickle names: "
        f"{some(names) or 'nothing'}. If you trust the file, load it yourself and save the weights alone: "
        "torch.save(model.state_dict(), FILE)."
    )


def globals_of(path: Path) -> set[str]:
    """`module.name` of every global that a torch.save file or a plain pickle names, without the harmless globals."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            return set(_scan(file))
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith("data.pkl")]
        return {found for name in names for found in _scan(io.BytesIO(archive.read(name)))}


def _scan(file: BinaryIO) -> Iterator[str]:
    """The globals of a pickle, or of several pickles in a row."""
    while True:
        strings: list[str] = []
        memo: dict[Any, str] = {}
        try:
            for opcode, argument, _ in pickletools.genops(file):
                name = None
                if opcode.name in ("GLOBAL", "INST"):
                    name = str(argument).replace(" ", ".")
                elif opcode.name == "STACK_GLOBAL":
                    name = ".".join(strings[-2:])
                elif isinstance(argument, str):
                    strings.append(argument)
                elif opcode.name.endswith("GET"):
                    strings.append(memo.get(argument, ""))
                elif opcode.name == "MEMOIZE" or opcode.name.endswith("PUT"):
                    # Other values in the memo are never used as a name.
                    memo[len(memo) if argument is None else argument] = strings[-1] if strings else ""
                if name and not HARMLESS.fullmatch(name):
                    yield name
        except (ValueError, MemoryError, OverflowError):  # the pickles have ended; data follows
            return


def some(lines: Iterable[str]) -> str:
    """The first dozen lines, layers folded, and how many more there are."""
    folded = fold(lines)
    more = f" and {len(folded) - 12} more" if len(folded) > 12 else ""
    return ", ".join(folded[:12]) + more
