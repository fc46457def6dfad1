"""`embed`, the command `zhclip embed`: a repo and data -> a corpus, in shards that several processes may share.

Shard k holds the items k * shard_size and on; process r of n writes the shards whose k leaves r by n. A shard appears
by a rename when it is whole, and its batches end with it, so that its bits depend on no other shard: who wrote it, and
whether the run was killed in between, makes no difference.
"""

import contextlib
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from ..amounts import Advance, shown_amount
from ..data.reading import check_outside, format_of
from ..data.split import some
from ..errors import InputError, WorkError
from ..ranks import Ranks, ranks
from ..staging import check_parents
from ..telling import shown
from .corpus import (
    MANIFEST,
    Failure,
    Manifest,
    Shard,
    Side,
    completed,
    is_there,
    read_manifest,
    write_first_manifest,
    write_manifest,
    write_shard,
)
from .embedder import ENGINES, Embedder, collected
from .listing import Listing, listed
from .loading import check_device, check_path, check_place, file_hashes, located

OURS = ".rank-"
"""How the names of the files begin that lie in the folder during the work."""

TEMPORARY, LOCK, FINISHING = f"{OURS}{{rank}}.{{chance}}.tmp", f"{OURS}{{rank}}.lock", f"{OURS}finishing.lock"

WAIT = 3.0
"""Seconds that a process waits for the lock of its rank: a process that was killed may need them to end."""

GO_ON = "What is written stays: the same command goes on from there."

DTYPES = ("auto", "float32", "float16", "bfloat16", "float64")

WORDS = {"image": "pictures", "text": "texts"}


@dataclass(frozen=True)
class Embedded:
    """The result of `embed`.

    Attributes:
        out: the folder of the corpus.
        rank, ranks: which of how many processes this was.
        written: the shards that this process wrote.
        missing: the shards that are not there: of several processes, all but the last end before the others' shards
            are there.
        told_here: whether this process tells the result; of several processes, one does.
        items, rows: by side, how many there are; no rows are counted while shards are missing.
        failed: what failed; () while shards are missing.
        failing: the shards that lack an item, because it failed; a shard that is removed is made again.
    """

    out: str
    rank: int
    ranks: int
    written: int
    missing: int
    told_here: bool
    items: Mapping[str, int]
    rows: Mapping[str, int]
    failed: tuple[Failure, ...]
    failing: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The values as JSON holds them."""
        found = asdict(self)
        del found["told_here"]
        return found

    def text(self) -> str:
        """The summary for people."""
        if self.missing:
            return (
                f"{shown(self.out)}: rank {self.rank} of {self.ranks} has written its share; {self.missing} shards of "
                "other ranks are missing."
            )
        told = " and ".join(f"{rows} of {self.items[name]} {WORDS[name]}" for name, rows in self.rows.items())
        return f"{shown(self.out)}: {told} are embedded. New shards: {self.written}.{self.failures()}"

    def failures(self) -> str:
        """Sentences about what failed, with a space before them; or nothing."""
        if not self.failed:
            return ""
        why = shown(self.failed[0].why).rstrip(".")  # it names a file
        return (
            f" {len(self.failed)} failed, the first because: {why}. To try again, remove "
            f"{some(self.failing)} from {shown(self.out)}, and run the same command."
        )


def embed(
    repo: str | os.PathLike[str],
    input: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    engine: str = "torch",
    device: str | None = None,
    dtype: str = "auto",
    batch_size: int = 32,
    threads: int | None = None,
    shard_size: int = 1024,
    split: str | None = None,
    format: str | None = None,
    pictures: str | os.PathLike[str] | None = None,
    texts: bool = False,
    strict: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> Embedded:
    """Embeds the pictures of a place, and its texts if they are asked for, into a folder that `Corpus.open` reads.

    A call whose `out` was begun by the same call goes on where that one ended, by a kill, too. Of the processes of
    `accelerate launch` or torchrun, which may run on several machines with a common `out`, each does its share. The
    rows are the same bits however many processes there are and however often they were killed, provided that each
    computes with as many threads and on the same kind of processor: torchrun sets OMP_NUM_THREADS=1 if it is not set.

    Args:
        repo: a converted repo, a folder or on the hub; for the engine "onnx", an export.
        input: what `hf_zhclip.data.read` takes, or a folder of pictures of any names.
        out: the folder to make or to go on with; see `corpus`.
        engine: see `Embedder.from_pretrained`.
        device: a torch device; by default a CUDA device if there is one, of several processes each its own.
        dtype: see `Embedder.from_pretrained`.
        batch_size: the items that the model computes at once.
        threads: the threads that read and decode pictures ahead.
        shard_size: the items of a shard; of these, a kill loses at most one shard's work in each process.
        split: the split of `input`, if it holds several.
        format: the format of `input`, where several formats claim it.
        pictures: the folder of the pictures, where a file of captions does not lie in it.
        texts: embed the texts of `input`, too.
        strict: end with an error at the first picture that cannot be read, instead of noting it and going on; and if
            an earlier run noted one.
        tell: called with one line about everything that was left out.

    Raises:
        InputError: an argument or the data are wrong; `out` was begun with other data, another model or other
            arguments; another run writes it; or no picture at all could be read.
        WorkError: `out` could not be written.
    """
    _check_arguments(engine, device, dtype, {"batch-size": batch_size, "shard-size": shard_size, "threads": threads})
    check_place(check_path(repo, "repo", "a folder, or a name on the hub,"))
    place, out, us = os.fspath(input), Path(out), ranks()
    format = format_of(place, format)
    _check_out(out, place, format)
    _check_free(out, us)
    listing = listed(place, split, format, None if pictures is None else os.fspath(pictures), texts)
    if us.rank == 0:
        for line in listing.told:
            tell(line)
    folder, revision = located(os.fspath(repo))
    with ThreadPoolExecutor(1) as pool:
        files = pool.submit(file_hashes, folder)  # while the weights are loaded
        embedder = Embedder.from_pretrained(
            folder,
            engine,
            device_map=device or (None if engine == "onnx" else us.device()),
            dtype=dtype,
            batch_size=batch_size,
            threads=threads,
        )
    stated = Manifest(
        {"repo": os.path.abspath(repo) if revision is None else os.fspath(repo), "revision": revision}
        | {"files": files.result()},
        engine,
        str(embedder.model.dtype).removeprefix("torch."),
        embedder.dim,
        batch_size,
        shard_size,
        listing.stated,
        {name: Side(items) for name, items in listing.items.items()},
    )
    with _written_to(out), _rank(out, us) as temporary:
        begun = _begun(out, stated, temporary)
        written = _share(embedder, listing, out, stated, us, temporary, strict, tell)
        found = _ended(out, us, written, temporary, begun.complete)
    _check_failed(found, strict)
    return found


def _check_arguments(engine: str, device: str | None, dtype: str, counts: Mapping[str, int | None]) -> None:
    if engine not in ENGINES:
        raise InputError(f"found --engine {engine}; wanted one of {', '.join(ENGINES)}.")
    if str(dtype).removeprefix("torch.") not in DTYPES:
        raise InputError(f"found --dtype {dtype}; wanted one of {', '.join(DTYPES)}.")
    if engine == "onnx" and dtype != "auto":
        raise InputError(
            f"found --dtype {dtype} for --engine onnx, which computes as its graphs state. Leave --dtype out."
        )
    if engine == "onnx" and (device or "cpu").partition(":")[0] != "cpu":
        raise InputError(f"found --device {device} for --engine onnx, which runs on the CPU. Leave --device out.")
    for name, count in counts.items():
        if count is not None and count < 1:
            raise InputError(f"found --{name} {count}; 1 or more was wanted.")
    if device is not None:
        check_device(device)


def _check_out(out: Path, place: str, format: str | None) -> None:
    """Refuses an `out` that is no corpus and not empty, or that would become a part of the data."""
    if os.path.exists(place) and out.exists() and out.samefile(place):
        raise InputError(f"OUT is INPUT: {out}. Vectors go into a folder of their own. Choose another place.")
    check_parents(out)
    if os.path.lexists(out) and not out.is_dir():
        raise InputError(f"{out} is no folder; a new folder or a corpus was wanted. Choose another place.")
    check_outside(out, place, format)
    if out.is_dir() and not (out / MANIFEST).is_file():
        if other := [each.name for each in out.iterdir() if not each.name.startswith(OURS)]:
            raise InputError(
                f"{out} holds other files, such as {sorted(other)[0]}, and no {MANIFEST}; a new folder or a corpus "
                "was wanted. Choose another place."
            )


@contextlib.contextmanager
def _written_to(out: Path) -> Iterator[None]:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkError(f"{out} cannot be made: {error.strerror or error}. Choose another place.") from error
    try:
        yield
    except OSError as error:
        raise WorkError(f"{out} could not be written: {error.strerror or error}. {left(out)}") from error


def left(out: str | os.PathLike[str]) -> str:
    """A sentence about what a run that ended early left in its corpus."""
    return GO_ON if os.path.exists(os.path.join(out, MANIFEST)) else "Nothing was written."


# Several processes in one folder


@contextlib.contextmanager
def _rank(out: Path, us: Ranks) -> Iterator[Path]:
    """Gives a path for what is half-written, which no other process writes to; removes what killed processes left.

    Raises:
        InputError: a living process of this rank writes `out`.
    """
    with _locked(out / LOCK.format(rank=us.rank), WAIT) as free:
        if free is False:
            raise _busy(out, us)
        if free:
            _clean(out, us)
        temporary = out / TEMPORARY.format(rank=us.rank, chance=secrets.token_hex(4))
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


def _check_free(out: Path, us: Ranks) -> None:
    """Refuses what `_rank` would refuse, before the model is loaded."""
    lock = out / LOCK.format(rank=us.rank)
    with contextlib.suppress(OSError):  # who writes to `out` tells why it cannot be written
        if lock.exists():
            with _locked(lock, WAIT) as free:
                if free is False:
                    raise _busy(out, us)


def _busy(out: Path, us: Ranks) -> InputError:
    return InputError(f"Another run is writing {out} as rank {us.rank}. Wait until it ends, or choose another place.")


@contextlib.contextmanager
def _locked(path: Path, wait: float = 0) -> Iterator[bool | None]:
    """Holds a lock, which the system takes from a process that ends; gives whether the lock was free.

    It gives None where the file system knows no locks, as on some clusters. Nothing depends on them but the clearing
    up: names of what is half-written differ, and two processes that write the same file write the same bytes.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=wait)
    except Timeout:
        yield False
        return
    except NotImplementedError:
        yield None
        return
    try:
        yield True
    finally:
        with contextlib.suppress(PermissionError):  # Windows does not remove an open file
            path.unlink(missing_ok=True)
        lock.release()


def _clean(out: Path, us: Ranks) -> None:
    """Removes what killed processes left: of this rank, and as the first rank also of ranks that this run has not.

    The other ranks of this run do the same for themselves.
    """
    left: dict[int, list[Path]] = {}
    for each in out.glob(f"{OURS}*"):
        name = each.name.removeprefix(OURS).partition(".")[0]
        if name.isdecimal():
            left.setdefault(int(name), []).append(each)
    for rank, files in left.items():
        if rank == us.rank:
            _remove(files)
        elif us.rank == 0 and rank >= us.size:
            with _locked(out / LOCK.format(rank=rank)) as free:
                _remove(files if free else ())


def _remove(files: Iterable[Path]) -> None:
    for file in files:
        if file.suffix == ".tmp":
            file.unlink(missing_ok=True)


def _begun(out: Path, stated: Manifest, temporary: Path) -> Manifest:
    """The manifest of `out`: this run's, or that of an earlier run or of another process, which has to fit.

    Raises:
        InputError: it does not fit.
    """
    if not (out / MANIFEST).exists() and write_first_manifest(out, stated, temporary):
        return stated
    was = read_manifest(out)
    _check_same(out, was, stated)
    return was


ARGUMENTS = {"engine": "--engine", "dtype": "--dtype", "batch_size": "--batch-size", "shard_size": "--shard-size"}


def _check_same(out: Path, was: Manifest, now: Manifest) -> None:
    """Refuses to mix: a corpus has one model, one precision and one state of the data.

    Raises:
        InputError: see above.
    """
    elsewhere = "Nothing was changed. Choose another OUT."
    if was.sides.keys() != now.sides.keys():
        raise InputError(
            f"{out} was begun {_with_texts(was)}, and is asked for {_with_texts(now)}. Give the same words again, or "
            "another OUT."
        )
    if other := sorted(_different(was.model["files"], now.model["files"])):
        raise InputError(
            f"{out} holds vectors of another model: {', '.join(other)} of {now.model['repo']} differ from those of "
            f"{was.model['repo']} by which it was begun. {elsewhere}"
        )
    for name, option in ARGUMENTS.items():
        if (before := getattr(was, name)) != (after := getattr(now, name)):
            raise InputError(
                f"{out} was begun with {option} {before}; found {after}. Give {option} {before} again, or choose "
                "another OUT."
            )
    counts = {name: (side.items, now.sides[name].items) for name, side in was.sides.items()}
    for name, (before, after) in counts.items():
        if before != after:
            raise InputError(
                f"{now.input['path']} has changed since {out} was begun: it had {before} {WORDS[name]}, and has "
                f"{after}. {elsewhere}"
            )
    if was.input["fingerprint"] != now.input["fingerprint"]:
        raise InputError(
            f"{now.input['path']} has changed since {out} was begun: it has as many items, but their names, ids, "
            f"sizes or times of change differ. {elsewhere} A copy of the same pictures, such as on another machine, "
            "is taken if it keeps the times: cp -a, rsync -a."
        )


def _with_texts(manifest: Manifest) -> str:
    return "with --texts" if "text" in manifest.sides else "without --texts"


def _different(one: Mapping[str, str], other: Mapping[str, str]) -> set[str]:
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


# The work


def _share(
    embedder: Embedder,
    listing: Listing,
    out: Path,
    stated: Manifest,
    us: Ranks,
    temporary: Path,
    strict: bool,
    tell: Callable[[str], None],
) -> int:
    """Writes the shards of this process that are not there; returns their number."""
    todo = [
        (side, number, name)
        for side in stated.sides
        for number, name in enumerate(stated.shard_names(side))
        if number % us.size == us.rank and not is_there(out / name)
    ]
    items = {each: range(stated.sides[each[0]].items)[_part(each[1], stated)] for each in todo}
    shown = shown_amount("Embedding", sum(map(len, items.values())), "done")
    with shown if us.rank == 0 else contextlib.nullcontext(int) as advance:  # several lines would cover each other
        for (side, number, name), numbers in items.items():
            shard = _SHARDS[side](embedder, listing, numbers, strict, advance)
            for each in shard.failed:
                tell(f"Left out: {each.why}")
            write_shard(temporary, shard, stated.key, side, number)
            temporary.replace(out / name)
    return len(todo)


def _part(number: int, stated: Manifest) -> slice:
    return slice(number * stated.shard_size, (number + 1) * stated.shard_size)


class _Strict(dict[int, str]):
    """Refuses the first picture that cannot be read."""

    def __setitem__(self, number: int, why: str) -> None:
        raise InputError(f"{why} {GO_ON} Without --strict, such a picture is noted and left out.")


def _of_pictures(embedder: Embedder, listing: Listing, numbers: range, strict: bool, advance: Advance) -> Shard:
    broken: dict[int, str] = _Strict() if strict else {}
    pictures = (partial(listing.picture, number) for number in numbers)
    rows = collected(embedder.picture_rows(pictures, advance, broken), len(numbers), embedder.dim)
    lost = {numbers[place]: why for place, why in broken.items()}
    failed = tuple(Failure(listing.id("image", each), listing.label("image", each), why) for each, why in lost.items())
    return _shard(rows, listing, "image", [each for each in numbers if each not in lost], failed)


def _of_texts(embedder: Embedder, listing: Listing, numbers: range, strict: bool, advance: Advance) -> Shard:
    texts = (listing.label("text", number) for number in numbers)
    rows = collected(embedder.text_rows(texts, advance), len(numbers), embedder.dim)
    return _shard(rows, listing, "text", list(numbers), ())


_SHARDS: dict[str, Callable[[Embedder, Listing, range, bool, Advance], Shard]] = {
    "image": _of_pictures,
    "text": _of_texts,
}


def _shard(rows: np.ndarray, listing: Listing, side: str, numbers: list[int], failed: tuple[Failure, ...]) -> Shard:
    ids = [str(listing.id(side, number)) for number in numbers]
    return Shard(rows, ids, [listing.label(side, number) for number in numbers], failed)


# The end


def _ended(out: Path, us: Ranks, written: int, temporary: Path, was_complete: bool) -> Embedded:
    """Completes the manifest if all shards are there; of several processes, the last one finds them.

    Where the manifest was complete already, the same shards give no other manifest, and who wrote a shard tells.
    """
    with _locked(out / FINISHING, wait=-1):  # two processes may end at the same moment
        manifest = read_manifest(out)
        names = [name for side in manifest.sides for name in manifest.shard_names(side)]
        missing = sum(not is_there(out / name) for name in names)
        found = manifest if missing else completed(out, manifest)
        if news := found != manifest:
            write_manifest(out, found, temporary)
    sides = found.sides
    return Embedded(
        out=str(out),
        rank=us.rank,
        ranks=us.size,
        written=written,
        missing=missing,
        told_here=news or (was_complete and not missing and (us.rank == 0 or written > 0)),
        items={name: side.items for name, side in sides.items()},
        rows={} if missing else {name: side.rows for name, side in sides.items()},
        failed=() if missing else tuple(each for side in sides.values() for each in side.failed),
        failing=() if missing else tuple(found.failing),
    )


def _check_failed(found: Embedded, strict: bool) -> None:
    """Refuses a complete corpus with failures, if that was asked for; and in any case a corpus without a picture.

    Raises:
        InputError: see above. What is written stays.
    """
    if found.failed and not found.rows["image"]:
        raise InputError(f"{found.out} is complete, and holds no picture.{found.failures()}")
    if found.failed and strict:
        raise InputError(
            f"{found.out} is complete, and not all pictures could be read.{found.failures()} Without --strict, such "
            "pictures are noted and left out."
        )
