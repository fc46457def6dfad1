"""What `zhclip embed` writes: a folder with the vectors of a corpus in shards, and with a manifest.

    zhclip_corpus.json           the manifest
    image-000000.safetensors     a shard: the vectors of items 0 to shard_size - 1, but for those that failed
    image-000001.safetensors     …
    text-000000.safetensors      the same for the texts, if they were asked for

A shard is whole by itself. Its tensors are `rows` (n, dim), float32, each row of length 1; `ids`, the items' ids one
behind the other in UTF-8, with `ids_ends` (n + 1), the places in bytes where they begin and end; and in the same form
`paths` of pictures, relative to the manifest's `input.root` ("" where a picture is no file), or `texts`. Its metadata
name the corpus, the side, the number of the shard, and the items that failed.
"""

import hashlib
import json
import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, overload

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ..budget import MOST_SHARDS
from ..data.split import Id, as_id
from ..data.strings import Strings
from ..errors import InputError
from ..json_files import Field, brief, check_each, check_fields, parse_json, read_json

MANIFEST = "zhclip_corpus.json"
FORMAT_VERSION = 1

SIDES: Mapping[str, str] = {"image": "paths", "text": "texts"}
"""By side, the name of what a shard holds of each item beside its id."""

OPEN_SHARDS = 8
"""The shards that a reader of ids keeps open."""

OFF = 1e-3
"""How far the length of a row may be from 1."""

AGAIN = "Run the `zhclip embed` that began the corpus again: it writes what is missing."


@dataclass(frozen=True)
class Failure:
    """An item that has no vector; `path` is "" where it is no file."""

    id: Id
    path: str
    why: str


@dataclass(frozen=True)
class ShardEntry:
    """A shard as the manifest lists it: its rows, and the size of its file in bytes."""

    file: str
    rows: int
    bytes: int


@dataclass(frozen=True)
class Side:
    """The items of a side. `shards` and `failed` are known when the corpus is complete."""

    items: int
    shards: tuple[ShardEntry, ...] = ()
    failed: tuple[Failure, ...] = ()

    @property
    def rows(self) -> int:
        """The vectors that the shards hold."""
        return sum(shard.rows for shard in self.shards)


@dataclass(frozen=True)
class Manifest:
    """Whose vectors a corpus holds, and of what.

    Attributes:
        model: `repo`, a folder or a name on the hub; `revision`, the commit on the hub, or None; `files`, the sha256
            of each file of the repo that decides a number, by its name.
        engine: the Embedder's engine.
        dtype: the dtype in which the model computed; the rows are float32 always.
        dim: the width of a row.
        batch_size: the items that were computed at once, which may change the last bits of a row.
        shard_size: the items of a shard.
        input: what was given as INPUT (`path`), `format` and, or None, `split` and `pictures`; `root`, the folder that
            paths are relative to, or None; and `fingerprint`, a hash of the items' ids, paths, sizes and times.
        sides: "image", and "text" if the texts were asked for.
        complete: whether every shard is there.
    """

    model: Mapping[str, Any]
    engine: str
    dtype: str
    dim: int
    batch_size: int
    shard_size: int
    input: Mapping[str, Any]
    sides: Mapping[str, Side]
    complete: bool = False

    @property
    def key(self) -> str:
        """What every shard of this corpus bears: a hash of all that decides its content, and of no path."""
        decides = {
            "files": self.model["files"],
            "fingerprint": self.input["fingerprint"],
            "items": {name: side.items for name, side in self.sides.items()},
            **{name: getattr(self, name) for name in ("engine", "dtype", "dim", "batch_size", "shard_size")},
        }
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()

    def shard_count(self, side: str) -> int:
        """The number of a side's files."""
        return -(-self.sides[side].items // self.shard_size)

    def shard_names(self, side: str) -> list[str]:
        """The files of a side in the order of the items."""
        return [shard_name(side, number) for number in range(self.shard_count(side))]

    @property
    def failing(self) -> list[str]:
        """The files of a complete corpus that lack items, because these failed."""
        return [
            shard.file
            for side in self.sides.values()
            for number, shard in enumerate(side.shards)
            if shard.rows < min(self.shard_size, side.items - number * self.shard_size)
        ]

    def to_json(self) -> dict[str, Any]:
        """The values as JSON holds them."""
        sides = {name: {**asdict(side), "rows": side.rows} for name, side in self.sides.items()}
        return {"format_version": FORMAT_VERSION, **asdict(self), "sides": sides}


def is_weights(name: str) -> bool:
    """Whether a file of the manifest's `model.files` holds weights: they are the same for the same model anywhere."""
    return not name.endswith((".json", ".txt"))


def shard_name(side: str, number: int) -> str:
    """The file of a shard."""
    return f"{side}-{number:06d}.safetensors"


# Reading the manifest

ENGINES = ("torch", "compile", "onnx")
"""The engines of an Embedder, here without its imports."""

TOP = {
    "format_version": Field((int,)),
    "model": Field((dict,)),
    "engine": Field((str,)),
    "dtype": Field((str,)),
    "dim": Field((int,)),
    "batch_size": Field((int,)),
    "shard_size": Field((int,)),
    "input": Field((dict,)),
    "sides": Field((dict,)),
    "complete": Field((bool,)),
}
NO = type(None)
MODEL = {"repo": Field((str,)), "revision": Field((str, NO)), "files": Field((dict,))}
INPUT = {
    "path": Field((str,)),
    "format": Field((str,)),
    "split": Field((str, NO)),
    "pictures": Field((str, NO)),
    "root": Field((str, NO)),
    "fingerprint": Field((str,)),
}
SIDE = {"items": Field((int,)), "shards": Field((list,)), "failed": Field((list,))}
SHARD = {"file": Field((str,)), "rows": Field((int,)), "bytes": Field((int,))}
FAILURE = {"id": Field((str, int)), "path": Field((str,)), "why": Field((str,))}


def read_manifest(folder: Path) -> Manifest:
    """Reads the manifest of a corpus, and checks that its numbers fit together.

    Raises:
        InputError: the folder holds no corpus, or its manifest is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        why = "is no folder" if folder.is_file() else f"holds no corpus: it has no {MANIFEST}"
        why = why if folder.exists() else "does not exist"
        raise InputError(f"{folder} {why}. The folder was wanted that `zhclip embed REPO INPUT OUT` wrote.")
    found = read_json(path)
    check_fields(found, TOP, str(path))
    if found["format_version"] != FORMAT_VERSION:
        raise InputError(
            f"{path} has the format version {found['format_version']}; this hf_zhclip reads {FORMAT_VERSION}. Update "
            "hf_zhclip, or embed the corpus again."
        )
    check_fields(found["model"], MODEL, f"model in {path}")
    check_fields(found["input"], INPUT, f"input in {path}")
    for name in ("dim", "batch_size", "shard_size"):
        _check(found[name] >= 1, f"{path} states {name} {found[name]}")
    files = found["model"]["files"]
    _check(all(isinstance(each, str) for each in files.values()), f"{path} states a hash that is no text")
    _check(found["engine"] in ENGINES, f"{path} states the engine {found['engine']!r}")
    fields = {name: found[name] for name in TOP if name not in ("format_version", "sides")}
    sides = {name: _side(side, name, found, path) for name, side in found["sides"].items()}
    _check("image" in sides, f"{path} has no pictures")
    return Manifest(**fields, sides=sides)


def _side(found: Any, name: str, manifest: Mapping[str, Any], path: Path) -> Side:
    where = f"{name} in {path}"
    _check(name in SIDES, f"{path} has the side {brief(name)}")
    check_fields(found, SIDE, where)
    check_each(found["shards"], SHARD, f"shards of {where}")
    check_each(found["failed"], FAILURE, f"failed of {where}")
    shards = tuple(ShardEntry(each["file"], each["rows"], each["bytes"]) for each in found["shards"])
    failed = _failures(found["failed"])
    _check(0 <= found["items"] <= MOST_SHARDS * manifest["shard_size"], f"{where} states {found['items']} items")
    side = Side(found["items"], shards, failed)
    if manifest["complete"]:
        right = [each.file for each in shards] == [shard_name(name, number) for number in range(len(shards))]
        right = right and len(shards) == -(-side.items // manifest["shard_size"])
        _check(right, f"{where} does not list the shards of {side.items} items")
        _check(side.rows + len(failed) == side.items, f"{where} lists {side.rows} rows for {side.items} items")
        _check(all(0 <= each.rows <= manifest["shard_size"] for each in shards), f"{where} lists a shard too large")
    return side


def _failures(found: Sequence[Mapping[str, Any]]) -> tuple[Failure, ...]:
    return tuple(Failure(each["id"], each["path"], each["why"]) for each in found)


def _check(right: bool, found: str) -> None:
    if not right:
        raise InputError(f"{found}; the manifest of a corpus was wanted. It is damaged: copy the corpus again.")


# Shards


@dataclass(frozen=True)
class Shard:
    """Consecutive items of a side: `rows` (n, dim), float32; `labels` are paths or texts; and what failed."""

    rows: np.ndarray = field(repr=False)
    ids: Sequence[str] = field(repr=False)
    labels: Sequence[str] = field(repr=False)
    failed: tuple[Failure, ...] = ()


def write_shard(path: Path, shard: Shard, key: str, side: str, number: int) -> None:
    """Writes a shard to a file.

    Args:
        path: the file; the caller renames it.
        shard: its content.
        key: the manifest's key.
        side: a name of `SIDES`.
        number: the shard's number, from 0.
    """
    told = {"key": key, "side": side, "number": number, "failed": [asdict(each) for each in shard.failed]}
    tensors = {"rows": np.ascontiguousarray(shard.rows, np.float32)}
    for name, texts in (("ids", shard.ids), (SIDES[side], shard.labels)):
        packed = Strings.of(texts)
        tensors |= {name: packed.content, f"{name}_ends": packed.ends}
    # One entry: several would come in another order in every file.
    # save_file would make a file that only its owner may read.
    _write(path, save(tensors, {"zhclip": json.dumps(told, ensure_ascii=False)}))


def _write(path: Path, content: bytes) -> None:
    """Writes a file that is on the disk before it is renamed: a machine may lose its power."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


TOLD = {"key": Field((str,)), "side": Field((str,)), "number": Field((int,)), "failed": Field((list,))}


def read_shard(path: Path, key: str, side: str, number: int, dim: int) -> Shard:
    """Reads a shard; its rows are mapped into memory and must not be changed.

    Raises:
        InputError: the file is missing or damaged, or belongs to another corpus.
    """
    _check_there(path)
    try:
        with safe_open(path, "pt") as file:  # with numpy, every tensor would be copied
            told = file.metadata() or {}
            shapes = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            wanted = {"rows", "ids", "ids_ends", SIDES[side], f"{SIDES[side]}_ends"}
            if shapes.keys() != wanted or "zhclip" not in told:
                raise _damaged(path, f"it holds {', '.join(sorted(shapes)) or 'nothing'}")
            kinds = {name: each.get_dtype() for name, each in shapes.items()}
            if kinds != {"rows": "F32", **{n: "I64" if n.endswith("_ends") else "U8" for n in wanted - {"rows"}}}:
                raise _damaged(path, f"its tensors have the dtypes {kinds}")
            found = {name: file.get_tensor(name).numpy() for name in shapes}
    except (SafetensorError, OSError) as error:
        raise _damaged(path, str(error)) from error
    stated = parse_json(told["zhclip"], f"the metadata of {path}")
    check_fields(stated, TOLD, f"the metadata of {path}")
    check_each(stated["failed"], FAILURE, f"failed in {path}")
    if (stated["key"], stated["side"], stated["number"]) != (key, side, number):
        raise InputError(f"{path} belongs to another corpus, or was renamed. Remove the file. {AGAIN}")
    rows = found["rows"]
    if rows.ndim != 2 or rows.shape[1] != dim:
        raise _damaged(path, f"its rows have the shape {rows.shape}, and the width {dim} was wanted")
    rows.flags.writeable = False
    ids, labels = (_strings(found, name, len(rows), path) for name in ("ids", SIDES[side]))
    failed = _failures(stated["failed"])
    return Shard(rows, ids, labels, failed)


def _strings(found: Mapping[str, np.ndarray], name: str, rows: int, path: Path) -> Strings:
    content, ends = found[name], found[f"{name}_ends"]
    right = content.ndim == 1 and ends.shape == (rows + 1,)
    if not right or ends[0] != 0 or ends[-1] != len(content) or (np.diff(ends) < 0).any():
        raise _damaged(path, f"its {name} do not fit its {rows} rows")
    try:
        bytes(content).decode()
    except UnicodeDecodeError as error:
        raise _damaged(path, f"its {name} are no UTF-8") from error
    if (content[ends[:-1][np.diff(ends) > 0]] & 0xC0 == 0x80).any():
        raise _damaged(path, f"its {name} begin inside of a character")
    return Strings(content, ends)


def is_there(path: Path) -> bool:
    """Whether a shard's file is there.

    Raises:
        InputError: something else is in its place.
    """
    if path.is_file():
        return True
    if os.path.lexists(path):
        raise InputError(f"{path} is no file; a shard of a corpus was wanted. Remove it. {AGAIN}")
    return False


def _check_there(path: Path) -> None:
    if not is_there(path):
        raise InputError(f"{path} is missing. {AGAIN}")


def check_lengths(rows: np.ndarray, path: Path) -> None:
    """Refuses rows of which a product would be no cosine.

    Args:
        rows: (n, dim), float32.
        path: the shard that holds them.

    Raises:
        InputError: a row has not the length 1, or is not finite.
    """
    wrong = np.flatnonzero(~(np.abs(np.sqrt(np.einsum("nd,nd->n", rows, rows)) - 1) <= OFF))  # NaN is wrong, too
    if len(wrong):
        raise _damaged(path, f"its row {wrong[0]}, counted from 0, has not the length 1")


def _damaged(path: Path, found: str) -> InputError:
    return InputError(f"{path} is no shard of a corpus: {found}. Remove the file. {AGAIN}")


def completed(folder: Path, manifest: Manifest) -> Manifest:
    """The manifest with what the shards hold, which have all to be there.

    Raises:
        InputError: a shard is missing or damaged, or belongs to another corpus.
    """
    sides = {name: _filled(folder, manifest, name) for name in manifest.sides}
    return replace(manifest, sides=sides, complete=True)


def _filled(folder: Path, manifest: Manifest, side: str) -> Side:
    items, size = manifest.sides[side].items, manifest.shard_size
    entries: list[ShardEntry] = []
    failed: list[Failure] = []
    for number, name in enumerate(manifest.shard_names(side)):
        shard = read_shard(folder / name, manifest.key, side, number, manifest.dim)
        if len(shard.rows) + len(shard.failed) != min(size, items - number * size):
            raise _damaged(folder / name, f"it has {len(shard.rows)} rows and {len(shard.failed)} items that failed")
        check_lengths(shard.rows, folder / name)
        entries.append(ShardEntry(name, len(shard.rows), (folder / name).stat().st_size))
        failed += shard.failed
    return Side(items, tuple(entries), tuple(failed))


# Reading a corpus


class Corpus:
    """The vectors of a complete corpus, in the order of its items; nothing is copied, and few shards are open.

    Args:
        folder: the folder that `zhclip embed` wrote.
        manifest: its manifest.
        side: "image" or "text".

    Attributes:
        ids: the id of each row.
        labels: the path of each picture, relative to `manifest.input["root"]`; or each text.
    """

    def __init__(self, folder: Path, manifest: Manifest, side: str):
        self.folder, self.manifest, self.side = folder, manifest, side
        self._begins = [0, *accumulate(each.rows for each in manifest.sides[side].shards)]
        self._opened = lru_cache(OPEN_SHARDS)(self._shard)
        self.ids: Sequence[Id] = _Column(self, "ids", as_id)
        self.labels: Sequence[str] = _Column(self, "labels", str)

    @classmethod
    def open(cls, folder: str | os.PathLike[str], side: str = "image") -> "Corpus":
        """Opens a corpus.

        Args:
            folder: the folder that `zhclip embed` wrote.
            side: "image" or "text".

        Raises:
            InputError: the folder holds no corpus or none of this side, the corpus is not complete, or a file of it is
                missing or damaged.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        if side not in manifest.sides:
            raise InputError(
                f"{folder} holds the vectors of {' and '.join(manifest.sides)}; found side={side!r}. Embed the texts, "
                "too, into a new folder."
            )
        if not manifest.complete:
            there = sum(1 for each in manifest.sides for _ in folder.glob(f"{each}-*.safetensors"))
            count = sum(map(manifest.shard_count, manifest.sides))  # a stranger's, and perhaps too large for a list
            found = f"it holds {there} of {count} shards"
            if there == count:
                found = f"its {count} shards are there, and {MANIFEST} does not list them yet"
            raise InputError(f"{folder} is not complete: {found}. {AGAIN}")
        for each in manifest.sides[side].shards:
            _check_size(folder / each.file, each.bytes)
        return cls(folder, manifest, side)

    @property
    def paths(self) -> Sequence[str]:
        """The path of each picture; see `labels`."""
        return self.labels

    @property
    def dim(self) -> int:
        """The width of a row."""
        return self.manifest.dim

    def __len__(self) -> int:
        return self._begins[-1]

    def blocks(self) -> Iterator[np.ndarray]:
        """The rows in their order, a shard at a time: (n, dim), float32, mapped into memory and not to be changed.

        Raises:
            InputError: a shard is missing or damaged, or a row has not the length 1.
        """
        for number in range(len(self._begins) - 1):
            rows = self._shard(number).rows
            check_lengths(rows, self.folder / self.manifest.sides[self.side].shards[number].file)
            yield rows

    def _shard(self, number: int) -> Shard:
        entry = self.manifest.sides[self.side].shards[number]
        path = self.folder / entry.file
        shard = read_shard(path, self.manifest.key, self.side, number, self.dim)
        if len(shard.rows) != entry.rows:
            raise _damaged(path, f"it has {len(shard.rows)} rows, and the manifest states {entry.rows}")
        return shard


class _Column(Sequence[Any]):
    """A text of each item, over all shards."""

    def __init__(self, corpus: Corpus, name: str, read: Any):
        self._corpus, self._name, self._read = corpus, name, read

    def __len__(self) -> int:
        return len(self._corpus)

    @overload
    def __getitem__(self, number: int) -> Any: ...
    @overload
    def __getitem__(self, number: slice) -> list[Any]: ...
    def __getitem__(self, number: int | slice) -> Any:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        number = range(len(self))[number]
        shard = bisect_right(self._corpus._begins, number) - 1
        texts = getattr(self._corpus._opened(shard), self._name)
        return self._read(texts[number - self._corpus._begins[shard]])


def _check_size(path: Path, size: int) -> None:
    _check_there(path)
    if (found := path.stat().st_size) != size:
        raise InputError(
            f"{path} has {found:,} bytes, and {size:,} were written: it is cut off or was changed. Copy it again; or "
            f"remove the file. {AGAIN}"
        )


# Writing the manifest


def write_manifest(folder: Path, manifest: Manifest, temporary: Path) -> None:
    """Writes a manifest in one step, over an older manifest.

    Args:
        folder: the corpus.
        manifest: what is written.
        temporary: a path in the same folder that nobody else writes to.
    """
    _write(temporary, _json(manifest))
    temporary.replace(folder / MANIFEST)


def write_first_manifest(folder: Path, manifest: Manifest, temporary: Path) -> bool:
    """Like `write_manifest`, where there is none; gives whether no other process was first."""
    _write(temporary, _json(manifest))
    try:
        os.link(temporary, folder / MANIFEST)  # fails where the file exists; a rename would replace it
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        temporary.replace(folder / MANIFEST)
    else:
        temporary.unlink()  # who writes there again would write into the manifest
    return True


def _json(manifest: Manifest) -> bytes:
    return f"{json.dumps(manifest.to_json(), ensure_ascii=False, indent=2)}\n".encode()
