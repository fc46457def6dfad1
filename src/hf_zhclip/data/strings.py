"""Many texts in little memory."""

from array import array
from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np


class Strings(Sequence[str]):
    """Texts one behind the other in one array of UTF-8 bytes: a text takes its bytes and 8 more.

    Args:
        content: the bytes, uint8.
        ends: int64, (n + 1): where the texts begin and end.
    """

    def __init__(self, content: np.ndarray, ends: np.ndarray):
        self.content, self.ends = content, ends

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Strings":
        """The texts, of which none is held."""
        content, ends = bytearray(), array("q", [0])
        for text in texts:
            content += text.encode()
            ends.append(len(content))
        return cls(np.frombuffer(content, np.uint8), np.frombuffer(ends, np.int64))

    def __len__(self) -> int:
        return len(self.ends) - 1

    @overload
    def __getitem__(self, number: int) -> str: ...
    @overload
    def __getitem__(self, number: slice) -> list[str]: ...
    def __getitem__(self, number: int | slice) -> str | list[str]:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        number = range(len(self))[number]
        return bytes(self.content[self.ends[number] : self.ends[number + 1]]).decode()
