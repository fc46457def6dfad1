"""cn_clip's LMDB, `{split}/pairs` and `{split}/imgs`; see the reader of the same name.

Keys and values are those of cn_clip's build_lmdb_dataset.py. The size of the map grows with the data: the script asks
for 1 TiB, which some file systems refuse. The texts lie beside as `{split}_texts.jsonl`, which cn_clip's
extract_features.py reads; there is also where texts without pictures stay.
"""

import base64
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from ...errors import WorkError
from ...extras import extra
from ..split import Split
from .tsv_files import write_texts
from .writer import Writer

PROTOCOL = 4
"""pickle's own choice in Python 3.8 to 3.13."""

FIRST_MAP, AT_ONCE = 2**24, 2**24
"""Bytes: the first size of a map, and how much is written in a transaction."""

Entry = tuple[bytes, bytes]


def write(splits: Sequence[Split], folder: Path, done: Callable[[int], object]) -> None:
    """Writes pairs in the order of the texts, and pictures with their own bytes."""
    for split in splits:
        (folder / split.name).mkdir()
        _fill(folder / split.name / "pairs", _pairs(split), b"num_samples")
        _fill(folder / split.name / "imgs", _pictures(split, done), b"num_images")
        write_texts(split, folder / f"{split.name}_texts.jsonl")


def _pairs(split: Split) -> Iterator[Entry]:
    pairs = ((each, text) for text in split.texts for each in text.image_ids)
    for number, (image_id, text) in enumerate(pairs):
        yield b"%d" % number, pickle.dumps((image_id, text.id, text.text), PROTOCOL)


def _pictures(split: Split, done: Callable[[int], object]) -> Iterator[Entry]:
    for number, each in enumerate(split.image_ids):
        yield str(each).encode(), base64.b64encode(split.pictures.content(number))
        done(1)


def _fill(path: Path, entries: Iterable[Entry], counted: bytes) -> None:
    """Writes entries, and their number under the key `counted`."""
    lmdb = extra("lmdb", "Writing lmdb")
    try:
        with lmdb.open(str(path), map_size=FIRST_MAP, lock=False) as environment:
            waiting: list[Entry] = []
            size = count = 0
            for entry in entries:
                waiting.append(entry)
                size, count = size + len(entry[1]), count + 1
                if size >= AT_ONCE:
                    _put(environment, waiting)
                    waiting, size = [], 0
            _put(environment, [*waiting, (counted, b"%d" % count)])
    except lmdb.Error as error:
        raise WorkError(f"{path} could not be written: {error}") from error


def _put(environment, entries: Sequence[Entry]) -> None:
    lmdb = extra("lmdb", "Writing lmdb")
    while True:
        try:
            with environment.begin(write=True) as transaction:
                for key, value in entries:
                    transaction.put(key, value)
            return
        except lmdb.MapFullError:
            environment.set_mapsize(2 * environment.info()["map_size"])


WRITER = Writer(write, modules=("lmdb",), growth=1.4)
