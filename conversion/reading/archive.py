"""The zip that torch writes: its records, checked against the file before a byte of them is used.

A record is stored, not compressed, so that tensors can lie on the file's own bytes. Only the code of a TorchScript
archive is compressed; its text is bounded by the budget before it is inflated.
"""

import struct
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any, BinaryIO

import torch

from hf_zhclip.budget import MOST_KEYS, MOST_TEXT_BYTES
from hf_zhclip.errors import is_memory

from ..errors import InputError, WorkError
from .pickles import reason, some

LOCAL_HEADER = struct.Struct("<26xHH")
"""The lengths of the name and of the extra field in a zip entry's header."""

ENCRYPTED = 0x1

INFLATED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class Archive:
    """An open archive: its records by their names below the top folder, and its bytes as a storage of torch.

    Raises:
        InputError: the archive contradicts itself or is compressed.
        zipfile.BadZipFile: the file is no zip, or is damaged.
    """

    def __init__(self, path: Path, file: BinaryIO, size: int, content: torch.UntypedStorage):
        """Args:
        path: the file's name in messages.
        file: the archive, from its first byte to its last.
        size: the archive's size in bytes.
        content: the same bytes.
        """
        self.path, self.size, self.bytes = path, size, content
        self._file, self._zip = file, zipfile.ZipFile(file)
        entries = self._zip.infolist()
        self._check(entries)
        self.names = [entry.filename for entry in entries]
        self.records = {entry.filename.partition("/")[2]: entry for entry in entries if "/" in entry.filename}
        self._text_left = MOST_TEXT_BYTES
        self._flat: dict[str, torch.Tensor] = {}

    def _check(self, entries: list[zipfile.ZipInfo]) -> None:
        if len(entries) > MOST_KEYS:
            raise InputError(f"{self.path} holds {len(entries):,} records; at most {MOST_KEYS:,} were wanted.")
        counts = Counter(entry.filename.partition("/")[2] or entry.filename for entry in entries)
        if twice := [name for name, count in counts.items() if count > 1]:
            raise InputError(
                f"{self.path} holds records of the same name twice ({some(twice)}), and readers differ in which of "
                "them they take. Fetch it again."
            )
        if any(entry.flag_bits & ENCRYPTED for entry in entries):
            raise InputError(f"{self.path} is an encrypted zip file; a file that torch.save wrote was wanted.")
        if sum(entry.compress_size for entry in entries) > self.size:
            raise zipfile.BadZipFile("its records overlap, or are larger than the file")

    def check_byte_order(self) -> None:
        """Refuses numbers in another byte order than this machine's."""
        if "byteorder" not in self.records:
            return
        if (order := self.stored("byteorder", 16).decode("ascii", "replace")) != sys.byteorder:
            raise InputError(
                f"{self.path} holds {order}-endian numbers; wanted {sys.byteorder}-endian, as on this machine."
            )

    def stored(self, name: str, most: int | None = None) -> bytes:
        """The bytes of a record that must not be compressed."""
        entry = self._stored_entry(name)
        if entry.file_size > (self.size if most is None else most):
            raise zipfile.BadZipFile(f"its record {entry.filename} states {entry.file_size} bytes")
        return self._zip.read(entry)  # checks the record's CRC

    def text(self, name: str) -> str:
        """A text that may be compressed; all texts together are bounded."""
        entry = self.records[name]
        if entry.compress_type not in INFLATED:  # zipfile inflates other methods whole, whatever the record states
            raise zipfile.BadZipFile(f"its record {entry.filename} is compressed in a way that torch does not use")
        self._text_left -= entry.file_size
        if self._text_left < 0:
            raise InputError(
                f"{self.path} holds code of more than {MOST_TEXT_BYTES:,} bytes; the code of a model was wanted."
            )
        with self._zip.open(entry) as file:
            content = file.read(entry.file_size)  # without a number it would inflate a gigabyte at once
            if len(content) < entry.file_size or file.read(1):
                raise zipfile.BadZipFile(f"its record {entry.filename} has another length than it states")
        return content.decode("utf-8")

    def flat(self, key: str, dtype: torch.dtype, count: int) -> torch.Tensor:
        """The numbers of `data/KEY` as a flat tensor `(count,)` of this dtype, on the file's own bytes."""
        name, size = f"data/{key}", _bytes_of(count, dtype)
        entry = self._stored_entry(name)
        start = self._start(entry)
        if size != entry.file_size or entry.file_size != entry.compress_size or start + size > len(self.bytes):
            raise InputError(
                f"{self.path} is damaged: its record {entry.filename} holds {entry.file_size} bytes from byte {start} "
                f"of {len(self.bytes)}; {size} bytes were wanted. Fetch it again."
            )
        if name not in self._flat:
            found = self.bytes[start : start + size]
            # torch writes records at multiples of 64 bytes; another zip program may move them.
            self._flat[name] = _on(found if start % 16 == 0 else found.clone())
        return self._flat[name].view(dtype)

    def _stored_entry(self, name: str) -> zipfile.ZipInfo:
        entry = self.records[name]
        if entry.compress_type != zipfile.ZIP_STORED:
            raise InputError(
                f"{self.path} was compressed after torch.save wrote it, so it can't be mapped into memory: fetch the "
                "original."
            )
        return entry

    def _start(self, entry: zipfile.ZipInfo) -> int:
        self._file.seek(entry.header_offset)
        header = self._file.read(LOCAL_HEADER.size)
        return entry.header_offset + LOCAL_HEADER.size + sum(LOCAL_HEADER.unpack(header))


def _on(storage: torch.UntypedStorage) -> torch.Tensor:
    return torch.empty(0, dtype=torch.uint8).set_(storage)


def _bytes_of(count: Any, dtype: torch.dtype) -> int:
    if type(count) is not int or count < 0:
        raise ValueError(f"a storage of {count!r:.60} numbers")
    return count * dtype.itemsize


def mapped(path: Path, size: int) -> torch.UntypedStorage:
    """A file's bytes as a storage; a change of them does not reach the file.

    Raises:
        WorkError: the system has no memory for it.
    """
    try:
        return torch.UntypedStorage.from_file(str(path), shared=False, nbytes=size)
    except RuntimeError as error:
        if not is_memory(error):
            raise
        raise WorkError(f"{path} does not fit into memory: {reason(error)}.") from error
