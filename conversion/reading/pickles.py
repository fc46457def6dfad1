"""Lists the globals that a pickle names, without running it, so that a refusal can show them."""

import pickle
import pickletools
import re
import struct
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..mapping import fold

HARMLESS = re.compile(
    r"torch\.\w+|torch\._utils\.\w+|collections\.OrderedDict|argparse\.Namespace|_codecs\.encode"
    r"|numpy\.dtype|numpy\.dtypes\.\w+|numpy\._?core\.multiarray\.scalar"
)
"""Globals that are data: storages, dtypes, the functions that rebuild tensors, and what `containers` allows."""

MOST_SHOWN = 200
"""The characters of one line that a message shows."""

MOST_NAMED = 1_000
"""The names that are looked for; a message shows a dozen of them."""

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


def reason(error: BaseException) -> str:
    """The first line of what an error says."""
    return (str(error) or type(error).__name__).splitlines()[0]


def globals_of_pickle(path: Path) -> set[str]:
    """`module.name` of every global that a file of one or more pickles names, without the harmless globals."""
    with path.open("rb") as file:
        return scan(file)


def scan(file: BinaryIO) -> set[str]:
    """The globals of a pickle, or of several pickles in a row: the first `MOST_NAMED`."""
    found: set[str] = set()
    for name in _named(file):
        found.add(name)
        if len(found) == MOST_NAMED:
            break
    return found


def _named(file: BinaryIO) -> Iterator[str]:
    while True:
        strings: deque[str] = deque(maxlen=2)
        memo: dict[Any, str] = {}
        try:
            for opcode, argument, _ in pickletools.genops(file):
                name = None
                if opcode.name in ("GLOBAL", "INST"):
                    name = str(argument).replace(" ", ".")
                elif opcode.name == "STACK_GLOBAL":
                    name = ".".join(strings)
                elif isinstance(argument, str):
                    strings.append(argument[:MOST_SHOWN])  # a long text may be named again and again
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
    folded = [line if len(line) <= MOST_SHOWN else f"{line[:MOST_SHOWN]} …" for line in fold(lines)]
    more = f" and {len(folded) - 12} more" if len(folded) > 12 else ""
    return ", ".join(folded[:12]) + more
