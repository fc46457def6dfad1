"""A reader of LMDB's data.mdb that trusts no number in the file.

The package lmdb maps the file into memory and follows the numbers in it: of 300 files that were damaged by chance, 60
ended the process with a signal. This reader checks every place in the file before it reads there. It needs no package.

The format is that of LMDB 0.9 on little-endian 64-bit machines, as mdb.c writes it: pages of equal size; the first two
are meta pages, and the one with the higher transaction id names the root of a B-tree; branch pages name pages, leaf
pages hold keys and values; a long value fills overflow pages of its own.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..errors import InputError

MAGIC, VERSION = 0xBEEFC0DE, 1
NO_PAGE = 2**64 - 1

HEADER = struct.Struct("<QHHHH")  # number of the page, unused, flags, end of the pointers, begin of the nodes
META = struct.Struct("<IIQQ")  # magic, version, address, size of the map; then two trees
TREE = struct.Struct("<IHHQQQQQ")  # size of a page, flags, depth, three numbers of pages, entries, root
TAIL = struct.Struct("<QQ")  # last page, transaction id
NODE = struct.Struct("<HHHH")  # size of the value (32 bits), flags, size of the key; in a branch 48 bits name a page
META_SIZE = HEADER.size + META.size + 2 * TREE.size + TAIL.size

KINDS = 0x6F  # the flags that tell the kinds of pages apart; the others are states
BRANCH, LEAF = 0x01, 0x02
LONG_VALUE = 0x01
PAGE_SIZES = tuple(2**power for power in range(9, 17))


class Entry(NamedTuple):
    """A key, and where its value lies in the file."""

    key: bytes
    start: int
    length: int


def entries(path: Path) -> Iterator[Entry]:
    """The entries of a database in the order of its keys.

    Args:
        path: the file data.mdb.

    Raises:
        InputError: the file is cut off or damaged, or is no such database.
    """
    with path.open("rb") as file:
        yield from _Reader(file, path, path.stat().st_size).entries()


@dataclass(frozen=True)
class _Root:
    transaction: int
    page_size: int
    root: int
    count: int
    flags: int
    pages: int


class _Reader:
    def __init__(self, file: BinaryIO, path: Path, size: int):
        self._file, self._path, self._size = file, path, size
        first = self._meta(0)
        self._tree = max(first, self._meta(first.page_size), key=lambda each: each.transaction)
        if first.page_size != self._tree.page_size or self._tree.flags:
            raise self._damaged("its meta pages do not fit together")

    def entries(self) -> Iterator[Entry]:
        waiting = [] if self._tree.root == NO_PAGE else [self._tree.root]
        seen: set[int] = set()
        count, held = 0, 0
        while waiting:
            number = waiting.pop()
            if number in seen:
                raise self._damaged(f"two places name page {number}")
            seen.add(number)
            page, kind = self._page(number)
            if kind == BRANCH:
                waiting += reversed([self._child(page, node) for node in self._nodes(page)])
                continue
            for node in self._nodes(page):
                entry = self._entry(page, number, node)
                held += len(entry.key) + entry.length
                if held > self._size:
                    raise self._damaged(f"its entries take more than its {self._size:,} bytes")
                yield entry
                count += 1
        if count != self._tree.count:
            raise self._damaged(f"it holds {count} entries and states {self._tree.count}")

    def _meta(self, start: int) -> _Root:
        content = self._read(start, META_SIZE)
        at = HEADER.size
        magic, version, _, _ = META.unpack_from(content, at)
        if magic != MAGIC or version != VERSION:
            raise self._damaged("it does not begin as a database of LMDB 0.9 on a little-endian 64-bit machine does")
        page_size, *_ = TREE.unpack_from(content, at + META.size)
        _, flags, _, _, _, _, count, root = TREE.unpack_from(content, at + META.size + TREE.size)
        last, transaction = TAIL.unpack_from(content, at + META.size + 2 * TREE.size)
        if page_size not in PAGE_SIZES:
            raise self._damaged(f"it states pages of {page_size} bytes")
        return _Root(transaction, page_size, root, count, flags, last + 1)

    def _page(self, number: int) -> tuple[bytes, int]:
        if not 2 <= number < self._tree.pages:
            raise self._damaged(f"it names page {number} of {self._tree.pages}")
        page = self._read(number * self._tree.page_size, self._tree.page_size)
        stated, _, flags, _, _ = HEADER.unpack_from(page)
        if stated != number or flags & KINDS not in (BRANCH, LEAF):
            raise self._damaged(f"page {number} is no page of a tree")
        return page, flags & KINDS

    def _nodes(self, page: bytes) -> tuple[int, ...]:
        """Where the nodes of a page begin; each has a header and its key in the page."""
        _, _, _, end, _ = HEADER.unpack_from(page)
        if not HEADER.size <= end <= len(page) or end % 2:
            raise self._damaged("a page states a wrong number of nodes")
        nodes = struct.unpack_from(f"<{(end - HEADER.size) // 2}H", page, HEADER.size)
        for node in nodes:
            if node < end or node + NODE.size > len(page) or node + NODE.size + self._key_size(page, node) > len(page):
                raise self._damaged("a node leads out of its page")
        return nodes

    def _key_size(self, page: bytes, node: int) -> int:
        return NODE.unpack_from(page, node)[3]

    def _child(self, page: bytes, node: int) -> int:
        low, middle, high, _ = NODE.unpack_from(page, node)
        return low | middle << 16 | high << 32

    def _entry(self, page: bytes, number: int, node: int) -> Entry:
        low, high, flags, key_size = NODE.unpack_from(page, node)
        length, begin = low | high << 16, node + NODE.size + key_size
        key = page[node + NODE.size : begin]
        if flags == LONG_VALUE and begin + 8 <= len(page):
            start = int.from_bytes(page[begin : begin + 8], "little") * self._tree.page_size + HEADER.size
        elif not flags and begin + length <= len(page):
            start = number * self._tree.page_size + begin
        else:
            raise self._damaged(f"the value of {key!r} leads out of its page")
        if start + length > self._size:
            raise self._cut_off(start + length)
        return Entry(key, start, length)

    def _read(self, start: int, length: int) -> bytes:
        if start + length > self._size:
            raise self._cut_off(start + length)
        self._file.seek(start)
        return self._file.read(length)

    def _cut_off(self, wanted: int) -> InputError:
        return InputError(
            f"{self._path} is cut off: it has {self._size:,} bytes, and at least {wanted:,} were wanted. Copy it "
            "again."
        )

    def _damaged(self, found: str) -> InputError:
        return InputError(f"{self._path} is no whole LMDB: {found}. Copy it again, or write it again.")
