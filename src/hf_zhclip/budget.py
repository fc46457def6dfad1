"""What a file that others wrote may cost: each number is stated here once, with its reason.

The promise: a file of up to 1 MB costs at most 1 GB of memory and 10 seconds, whatever it says. A larger file costs in
proportion to its size. Readers hold to a number where bytes become objects, before they allocate anything by it.

Two limits stand in files that travel in repositories and import nothing of this package: those of a picture in
`pictures_zhclip`, and those of a config's numbers in `configuration_zhclip`.
"""

import os
import stat
from pathlib import Path

from .errors import InputError

MIB = 2**20

MOST_DEPTH = 100
"""The nesting of objects, lists and modules: a tokenizer.json has about ten levels, a training file about as many."""

MOST_TENSORS = 10_000
"""The tensors of one model: the largest known model has 1,300. A file with more is refused once it is read."""

MOST_NAME_LENGTH = 1_000
"""The characters of a tensor's name: the longest known name has 90, and wrappers add a few words."""

MOST_KEYS = 50_000
"""The storages, records or modules of one file, beside the model's: an optimizer has three for each weight."""

MOST_SIDE = 768
"""The side of a prepared picture in pixels: the largest known model takes 448. A proof at 1,024 takes 1.2 GB."""

MOST_LAYERS, BYTES_PER_LAYER = 24, 2**23
"""The layers of a tower, and one more for each 8 MB of weights: the proof runs a layer for 0.3 seconds or longer. The
largest known model has 48 layers in 2 GB."""

MOST_ATTENDED, ATTENDED_PER_BYTE = 2**24, 1 / 16
"""The numbers of one attention: heads, times the square of the positions. For each byte of the weights there may be a
sixteenth more: the largest known model, of 1.9 GB, has 17 million."""

MOST_PREFIXES = 1_000
"""The beginnings of keys under which a known model is looked for: a large ViT has a hundred that ten keys share."""

MOST_JSON_BYTES = 256 * MIB
"""The largest tokenizer.json of a known model, XLM-R's, has 17 MB."""

MOST_LINE_BYTES = 16 * MIB
"""The longest line of a file of lines: a vector of 2,048 numbers takes 50 KB."""

MOST_TEXT_BYTES = 16 * MIB
"""Other texts: the code of a TorchScript archive, merges, class names. The code of a large ViT takes under 1 MB."""

MOST_RECIPE_BYTES = 2**16
"""A recipe in YAML, whose parser is slow: the recipes that ship take under 2 KB."""

MOST_SHARDS = 1_000_000
"""The shards of a corpus of vectors; a manifest may state any number of items."""

MOST_SHARES = 1_024
"""The parts of a tensor in a distributed checkpoint, which are compared with each other: one for each rank."""

LEAST_SHARE, COMPARED_PER_BYTE = 16, 1
"""A part of a tensor takes at least 16 bytes of the description; its parts are compared once for each byte."""

MOST_DIGITS = 100
"""The most digits of a whole number in JSON: transformers writes 10^30 for "no limit"."""

MOST_INTEGER_BYTES = 32
"""A whole number in a pickle: the state of numpy's generators has 16 bytes."""

HASHED_BY_VALUE = 2**61 - 1
"""Whole numbers that are keys or ids lie below: greater numbers can be made to collide, so that each step is slow."""

MOST_ROWS = 2**22
"""The rows of an embedding: a vocabulary of 1.2 million words is the largest known."""

MOST_ADDED_TOKENS = 2_000
"""The tokens that are added to a vocabulary, which transformers compares with each other: XLM-R has five."""

MOST_TOKEN_LENGTH = 1_000
"""The characters of a token: the longest of XLM-R has 16. Libraries build a tree as deep as the longest."""

MOST_MAP_DEPTH = 64
"""The bytes that a character map may replace at once: XLM-R's replaces 18."""

MOST_GROWTH = 512
"""How many times as long a tokenizer's steps may make a text together: XLM-R's behind our mending ones, 297 times."""

MOST_STEPS = 1_000
"""The steps of a tokenizer before its words: of the known ones, ours that mends texts has about 300."""

MOST_AROUND = 64
"""The tokens that a tokenizer's templates may put around texts: most put two, and three around a pair."""

MADE_PER_BYTE, SPARE_BYTES = 4, 64 * MIB
"""What a file's content may take in memory or on disk: a few times its size, as tied weights do, and a little more."""

MOST_COLUMNS = 256
"""The columns of a table and the fields within them: for each, the package datasets looks at all others."""

ROWS_PER_BYTE = 16
"""The bytes that a parquet's rows may take for each byte of the file: five captions repeat a picture four times."""


def most_made(size: int) -> int:
    """How many bytes the content of a file of `size` bytes may take."""
    return MADE_PER_BYTE * size + SPARE_BYTES


def check_regular(path: Path | str, wanted: str = "a file") -> None:
    """Refuses a path that is no regular file: a pipe would block its reader, and a device may never end.

    Args:
        wanted: what the caller needs, for the message.

    Raises:
        InputError: it is a folder, a pipe, a socket or a device, or does not exist.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; {wanted} was wanted.") from None
    except (OSError, ValueError) as error:  # a circle of links; a name that no file can have
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} is no file ({reason}); {wanted} was wanted.") from error
    if not stat.S_ISREG(mode):
        raise InputError(f"{path} {kind_of(mode)}; {wanted} was wanted.")


def kind_of(mode: int) -> str:
    """A sentence's end that says what a path is which is no regular file."""
    kinds = {
        stat.S_IFDIR: "is a folder",
        stat.S_IFIFO: "is a pipe",
        stat.S_IFSOCK: "is a socket",
        stat.S_IFCHR: "is a device",
        stat.S_IFBLK: "is a device",
    }
    return kinds.get(stat.S_IFMT(mode), "is no file")
