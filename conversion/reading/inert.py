"""A pickle -> inert values, under the budget of `hf_zhclip.budget`. It reads all pickles but those of LMDB's data.

The unpickler looks up nothing and calls nothing: what a pickle names becomes a `Name`, and what it calls becomes a
`Record` of the arguments. Only after the pickle has ended, `Values` turns the records into values, by a table of the
names that the kind of file may use. No object of Python or of a library is ever given a state by a pickle.
"""

import pickle
import struct
from collections.abc import Callable, Iterable, Mapping, Sized
from typing import Any, BinaryIO, ClassVar

from hf_zhclip.budget import HASHED_BY_VALUE, MOST_DEPTH, MOST_INTEGER_BYTES, most_made

ATOMS = (str, bytes, int, float, bool, type(None))


class Refused(pickle.UnpicklingError):
    """A pickle that names something that is no data; the error's text is this name."""


class Foreign(Exception):
    """A readable pickle that holds something other than what was wanted; the error's text says what."""


class Name:
    """A name in a pickle. It is never looked up."""

    __slots__ = ("path",)

    def __init__(self, path: str):
        self.path = path


class Record:
    """What a pickle would have made by a call: the called name, the arguments, the state that is set afterwards."""

    __slots__ = ("arguments", "made", "path", "state")

    def __init__(self, path: str, arguments: tuple[Any, ...]):
        self.path, self.arguments, self.state, self.made = path, arguments, None, None


class Tuple:
    """A tuple that is a key. It is hashed by identity, because tuples of numbers can be made to collide."""

    __slots__ = ("items",)

    def __init__(self, items: tuple[Any, ...]):
        self.items = items


class Set(list):
    """The members of a set in a list, because a set would hash them."""


def _dict(*arguments: Any) -> dict[Any, Any]:
    """collections.OrderedDict: empty, or with a list of pairs as Python 2 writes it; Counter with a dict."""
    found: dict[Any, Any] = {}
    if len(arguments) > 1:
        raise pickle.UnpicklingError("a dict is made of several things")
    for content in arguments:
        for key, value in content.items() if type(content) is dict else content:
            found[_key(key)] = value
    return found


CONTAINERS: Mapping[str, Callable[..., Any]] = {
    "collections.OrderedDict": _dict,
    "collections.Counter": _dict,
    "builtins.set": lambda members=(): Set(members),
}
"""The names whose result later opcodes fill."""


def _key(key: Any) -> Any:
    """A key of a dict; refuses a key that is expensive to hash, or can be made to collide."""
    if type(key) in (str, bytes, float, bool, type(None), Record):
        return key
    if type(key) is int and -HASHED_BY_VALUE < key < HASHED_BY_VALUE:
        return key
    if type(key) is tuple:
        return Tuple(key)
    raise pickle.UnpicklingError(f"a dict has a {type(key).__name__} as a key; a text or a small number was wanted")


class _File:
    """A file that allocates no more memory than the file's size."""

    def __init__(self, file: BinaryIO, size: int):
        self.file, self.size = file, size
        self.readinto = file.readinto  # type: ignore[attr-defined]

    def readline(self) -> bytes:
        if not (line := self.file.readline()).endswith(b"\n"):
            raise EOFError(f"it ends after {self.size} bytes, within a line")
        return line

    def read(self, count: int) -> bytes:
        if count > 2**16 and count > self.size - self.file.tell():
            raise EOFError(f"it ends after {self.size} bytes, but more bytes should follow")
        return self.file.read(count)


def _refuse_opcode(unpickler: Any) -> None:
    raise pickle.UnpicklingError("it uses an opcode that data does not need")


NOT_OF_DATA = tuple(
    opcode[0]
    for opcode in (
        *(pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2, pickle.EXT4),
        *(pickle.NEXT_BUFFER, pickle.READONLY_BUFFER),
    )
)


class Unpickler(pickle._Unpickler):
    """pickle's own unpickler, which finds only names.

    This is pickle's Python version: the C version allocates its memo by a number that a damaged file may state, and
    its opcodes cannot be replaced.
    """

    def __init__(self, file: BinaryIO, size: int, known: Callable[[str], bool], encoding: str = "utf-8"):
        """Args:
        file: holds the pickle from its current place on.
        size: the file's size in bytes.
        known: whether a name may be used, as `module.name`.
        encoding: of texts that Python 2 wrote.
        """
        super().__init__(_File(file, size), encoding=encoding)
        self._known, self._uncopied = known, size

    def find_class(self, module: str, name: str) -> Any:
        path = f"{'builtins' if module == '__builtin__' else module}.{name}"
        if not self._known(path):
            raise Refused(f"{module}.{name}")
        return Name(path)

    def load_build(self) -> None:
        state = self.stack.pop()  # type: ignore[attr-defined]
        instance = self.stack[-1]  # type: ignore[attr-defined]
        if type(instance) is Record:
            instance.state = state
        elif type(instance) is Name:
            raise pickle.UnpicklingError(f"{instance.path} is given a state")
        elif type(instance) is not dict:  # a state dict's own attribute, `_metadata`, is no content
            raise pickle.UnpicklingError(f"a {type(instance).__name__} is given a state")

    def load_reduce(self) -> None:
        arguments = self.stack.pop()  # type: ignore[attr-defined]
        if type(arguments) is not tuple:
            raise pickle.UnpicklingError(f"it calls something with a {type(arguments).__name__}")
        self._instantiate(self.stack.pop(), arguments)  # type: ignore[attr-defined]

    def _instantiate(self, called: Any, arguments: Iterable[Any]) -> None:
        """Appends what a call makes: a record, or at once a container that later opcodes fill."""
        if type(called) is not Name:
            raise pickle.UnpicklingError(f"it calls a {type(called).__name__}")
        given = tuple(arguments)
        if make := CONTAINERS.get(called.path):
            self._count_copies(given)
            self.append(make(*given))  # type: ignore[attr-defined]
        else:
            self.append(Record(called.path, given))  # type: ignore[attr-defined]

    def _count_copies(self, arguments: tuple[Any, ...]) -> None:
        """Refuses more copied items than the pickle has bytes: each item is there once, and is copied once."""
        self._uncopied -= sum(len(each) for each in arguments if isinstance(each, Sized))
        if self._uncopied < 0:
            raise pickle.UnpicklingError("it copies its containers over and over")

    def load_setitem(self) -> None:
        value = self.stack.pop()  # type: ignore[attr-defined]
        self._set_items([self.stack.pop(), value])  # type: ignore[attr-defined]

    def load_setitems(self) -> None:
        self._set_items(self.pop_mark())  # type: ignore[attr-defined]

    def load_dict(self) -> None:
        items = self.pop_mark()  # type: ignore[attr-defined]
        self.append({})  # type: ignore[attr-defined]
        self._set_items(items)

    def _set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]  # type: ignore[attr-defined]
        if type(target) is not dict or len(items) % 2:
            raise pickle.UnpicklingError(f"items are set in a {type(target).__name__}")
        for key, value in zip(map(_key, items[::2]), items[1::2], strict=True):
            if key in target and target[key] is not value:
                raise pickle.UnpicklingError(f"a dict has the key {key!r:.60} twice")
            target[key] = value

    def load_empty_set(self) -> None:
        self.append(Set())  # type: ignore[attr-defined]

    def load_additems(self) -> None:
        items = self.pop_mark()  # type: ignore[attr-defined]
        if type(self.stack[-1]) is not Set:  # type: ignore[attr-defined]
            raise pickle.UnpicklingError("items are added to what is no set")
        self.stack[-1].extend(items)  # type: ignore[attr-defined]

    def load_frozenset(self) -> None:
        self.append(Set(self.pop_mark()))  # type: ignore[attr-defined]

    def load_append(self) -> None:
        self._extend([self.stack.pop()])  # type: ignore[attr-defined]

    def load_appends(self) -> None:
        self._extend(self.pop_mark())  # type: ignore[attr-defined]

    def _extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:  # type: ignore[attr-defined]
            raise pickle.UnpicklingError(f"items are added to a {type(self.stack[-1]).__name__}")  # type: ignore[attr-defined]
        self.stack[-1].extend(items)  # type: ignore[attr-defined]

    def load_newobj(self) -> None:
        self.load_reduce()

    def load_long1(self) -> None:
        self._append_integer(self.read(1)[0])  # type: ignore[attr-defined]

    def load_long4(self) -> None:
        self._append_integer(struct.unpack("<i", self.read(4))[0])  # type: ignore[attr-defined]

    def _append_integer(self, length: int) -> None:
        if not 0 <= length <= MOST_INTEGER_BYTES:
            raise pickle.UnpicklingError(f"a whole number has {length} bytes")
        self.append(pickle.decode_long(self.read(length)))  # type: ignore[attr-defined]

    def load_bytearray8(self) -> None:
        """Reads the bytearray as bytes, which are not allocated before their content is read."""
        self.append(self.read(struct.unpack("<Q", self.read(8))[0]))  # type: ignore[attr-defined]

    dispatch: ClassVar[dict[int, Callable[..., None]]] = {
        **pickle._Unpickler.dispatch,
        pickle.BUILD[0]: load_build,
        pickle.REDUCE[0]: load_reduce,
        pickle.NEWOBJ[0]: load_newobj,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.DICT[0]: load_dict,
        pickle.EMPTY_SET[0]: load_empty_set,
        pickle.ADDITEMS[0]: load_additems,
        pickle.FROZENSET[0]: load_frozenset,
        pickle.APPEND[0]: load_append,
        pickle.APPENDS[0]: load_appends,
        pickle.LONG1[0]: load_long1,
        pickle.LONG4[0]: load_long4,
        pickle.BYTEARRAY8[0]: load_bytearray8,
        **dict.fromkeys(NOT_OF_DATA, _refuse_opcode),
    }


Maker = Callable[["Values", tuple[Any, ...], Any], Any]
"""Makes a record's value from the arguments of the call and the state that is set afterwards."""


class Values:
    """Turns what the unpickler left into values, each once, so that a small file cannot become a large tree."""

    def __init__(self, makers: Mapping[str, Maker], size: int, cyclic: str | None = None):
        """Args:
        makers: every name that a value may come from.
        size: the file's size in bytes, from which the most bytes follow that values may take.
        cyclic: stands for a container inside itself; without it, such a container is `Foreign`.
        """
        self._makers, self._size, self._left, self._cyclic = makers, size, most_made(size), cyclic
        self._open: dict[int, tuple[Any, Any]] = {}
        self._depth = 0

    def spend(self, count: int) -> None:
        """Counts bytes that a value takes.

        Raises:
            Foreign: the values of the file take too many bytes.
        """
        self._left -= count
        if self._left < 0:
            raise Foreign(
                f"values of more than {most_made(self._size):,} bytes in a file of {self._size:,} bytes (views that "
                "repeat their numbers, or many copies)"
            )

    def of(self, value: Any) -> Any:
        """The value with its records resolved; shared parts stay shared."""
        if type(value) is Record:
            return self._of_record(value)
        if type(value) in ATOMS:
            return value
        if type(value) not in (dict, list, tuple, Set):
            return self._of_other(value)
        if id(value) not in self._open:
            self._open[id(value)] = value, None  # with the value, so that nothing else gets its identity
            self._open[id(value)] = value, self._deeper(self._container, value)
        if (found := self._open[id(value)][1]) is None:
            if self._cyclic is None:
                raise Foreign(f"a {type(value).__name__} that contains itself")
            return self._cyclic
        return found

    def _of_record(self, record: Record) -> Any:
        """The record's value; its parts are released, because they may be as large as the weights."""
        if record.made is None:
            arguments, state, record.arguments, record.state = record.arguments, record.state, (), None
            record.made = self._deeper(lambda _: self._makers[record.path](self, arguments, state), record)
        return record.made

    def _of_other(self, value: Any) -> Any:
        if type(value) is Name and (maker := self._makers.get(f"{value.path} itself")):
            return maker(self, (value.path,), None)
        raise Foreign(f"a {value.path if type(value) is Name else type(value).__name__.lower()}")

    def _deeper(self, make: Callable[[Any], Any], value: Any) -> Any:
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise Foreign(f"containers nested more than {MOST_DEPTH} deep")
        made = make(value)
        self._depth -= 1
        return made

    def _container(self, value: Any) -> Any:
        if type(value) is Set:
            return self._of_set(value)
        if type(value) is not dict:
            return type(value)(self.of(each) for each in value)
        return {self._key(key): self.of(each) for key, each in value.items()}

    def _of_set(self, members: Set) -> Any:
        if (maker := self._makers.get("builtins.set")) is None:
            raise Foreign("a set")
        return maker(self, tuple(members), None)

    def _key(self, key: Any) -> Any:
        if type(key) in ATOMS:
            return key
        raise Foreign(f"a dict with a {type(key).__name__} for a key")
