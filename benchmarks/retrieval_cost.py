"""What does retrieval cost beside cn_clip's loop, and does its memory stay flat on a million vectors?

    python benchmarks/retrieval_cost.py FOLDER [--peer-queries N] [--rounds N]
    python benchmarks/retrieval_cost.py FOLDER --memory

The first form needs cn_clip 1.6.0 (`make parity` makes an environment with it). cn_clip's own script, in which only
`.cuda()` does nothing, and ours search the same files of features in turns: random unit vectors of 512 numbers, as
many as MUGE's validation split has. cn_clip's loop takes minutes, so that it gets the first N texts, and its seconds
are scaled to all texts. Its search alone is a run with these texts, less a run without texts, less the parsing of the
texts.

With `--memory`, fresh processes search memory-mapped pools of up to a million vectors. Printed is what each holds
beside the pool (Linux). FOLDER gets 2 GB.
"""

import argparse
import contextlib
import io
import itertools
import json
import re
import resource
import runpy
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import torch

from hf_zhclip.evaluation import files
from hf_zhclip.evaluation.nearest import nearest
from hf_zhclip.evaluation.recall import DEPTH
from hf_zhclip.evaluation.retrieval import nearest_ids

TEXTS, IMAGES, DIM = 5_008, 29_806, 512
POOL = 1_000_000
SEARCHES = ((100_000, 1_000), (POOL, 1_000), (POOL, 100))
"""Vectors of the pool, and queries."""
MIB = 2**20


class Seconds(NamedTuple):
    """By the clock, and of the processor, which other work on the machine changes less."""

    wall: float
    processor: float

    def less(self, other: "Seconds") -> "Seconds":
        return Seconds(self.wall - other.wall, self.processor - other.processor)

    def times(self, factor: float) -> "Seconds":
        return Seconds(self.wall * factor, self.processor * factor)

    def __str__(self) -> str:
        return f"{self.wall:8.2f} s (processor {self.processor:.2f} s)"


def timed(work: Callable[[], object]) -> Seconds:
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return Seconds(time.perf_counter() - wall, time.process_time() - processor)


def random_vectors(count: int, seed: int) -> torch.Tensor:
    """`(count, DIM)`, of length 1."""
    vectors = torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(vectors, dim=-1)


def make(folder: Path, peer_queries: int) -> None:
    """Files of features and texts; every picture is named by one text."""
    if not (folder / "imgs.jsonl").is_file():
        files.write_features(folder / "texts.jsonl", "text", range(TEXTS), random_vectors(TEXTS, 0))
        files.write_features(folder / "imgs.jsonl", "image", range(IMAGES), random_vectors(IMAGES, 1))
        with (folder / "split_texts.jsonl").open("w") as file:
            for text in range(TEXTS):
                images = list(range(text, IMAGES, TEXTS))
                file.write(json.dumps({"text_id": text, "text": "猫", "image_ids": images}) + "\n")
    with (folder / "texts.jsonl").open() as file, (folder / "some_texts.jsonl").open("w") as some:
        some.writelines(itertools.islice(file, peer_queries))
    (folder / "no_texts.jsonl").touch()


def their_script(folder: Path, texts: str) -> None:
    """Runs cn_clip's script on a file of texts' features."""
    spec = find_spec("cn_clip")
    assert spec is not None and spec.submodule_search_locations
    script = Path(spec.submodule_search_locations[0]) / "eval" / "make_topk_predictions.py"
    arguments = [f"--image-feats={folder / 'imgs.jsonl'}", f"--text-feats={folder / texts}"]
    with (
        mock.patch.object(torch.Tensor, "cuda", lambda self: self),
        mock.patch.object(sys, "argv", [script.name, *arguments, f"--output={folder / 'theirs.jsonl'}"]),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        runpy.run_path(str(script), run_name="__main__")


def theirs(folder: Path, scale: float) -> tuple[Seconds, Seconds]:
    """The whole script, and its search alone, scaled to all texts."""
    lines = (folder / "some_texts.jsonl").read_text().splitlines()
    parsing = timed(lambda: [json.loads(line) for line in lines])
    without = timed(lambda: their_script(folder, "no_texts.jsonl"))
    whole = timed(lambda: their_script(folder, "some_texts.jsonl"))
    loop = whole.less(without)
    scaled = loop.times(scale)
    return Seconds(without.wall + scaled.wall, without.processor + scaled.processor), loop.less(parsing).times(scale)


def ours(folder: Path) -> tuple[Seconds, Seconds]:
    """From the files of features to the file of predictions, and the search alone."""
    search = []

    def whole() -> None:
        texts = files.read_features(folder / "texts.jsonl", "text")
        images = files.read_features(folder / "imgs.jsonl", "image")
        predicted = {}
        search.append(timed(lambda: predicted.update(nearest_ids(texts, images))))
        files.write_predictions(folder / "ours.jsonl", "text", predicted)

    return timed(whole), search[0]


def command(folder: Path) -> Seconds:
    """`zhclip evaluate` as a process: both directions, with recall."""
    options = {"text-features": "texts.jsonl", "image-features": "imgs.jsonl", "texts": "split_texts.jsonl"}
    arguments = [f"--{name}={folder / file}" for name, file in options.items()]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall = timed(
        lambda: subprocess.run(
            [sys.executable, "-m", "zhclip_cli", "evaluate", *arguments], check=True, capture_output=True
        )
    ).wall
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Seconds(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def differing(folder: Path) -> int:
    """The number of cn_clip's lines of predictions that differ from ours."""
    with (folder / "theirs.jsonl").open() as one, (folder / "ours.jsonl").open() as other:
        return sum(line != own for line, own in zip(one, other, strict=False))


def compare(folder: Path, peer_queries: int, rounds: int) -> None:
    make(folder, peer_queries)
    scale = TEXTS / peer_queries
    found: dict[str, list[Seconds]] = {}
    for _ in range(rounds):
        for name, (whole, search) in (("cn_clip", theirs(folder, scale)), ("ours", ours(folder))):
            for what, seconds in (("search", search), ("files to file", whole)):
                found.setdefault(f"{name}, {what}", []).append(seconds)
                print(f"{name + ', ' + what:24}{seconds}", flush=True)
        print(f"{differing(folder)} of {peer_queries} queries have other predictions", flush=True)
    print(f"medians; {TEXTS:,} texts x {IMAGES:,} pictures; cn_clip's search ran on {peer_queries:,} texts")
    for what in ("search", "files to file"):
        pairs = list(zip(found[f"cn_clip, {what}"], found[f"ours, {what}"], strict=True))
        for name in ("cn_clip", "ours"):
            columns = zip(*found[f"{name}, {what}"], strict=True)
            print(f"{name + ', ' + what:24}{Seconds(*map(statistics.median, columns))}")
        ratio = Seconds(*(statistics.median(a[n] / b[n] for a, b in pairs) for n in range(2)))
        print(f"ratio, {what}: {ratio.wall:.1f} by the clock, {ratio.processor:.1f} of the processor")
    print(f"zhclip evaluate, both directions, the whole process: {command(folder)}")


# Memory


def make_pool(folder: Path) -> Path:
    """A file of POOL vectors, written in parts."""
    path = folder / "pool.f32"
    if not path.is_file():
        with path.open("wb") as file:
            for seed in range(POOL // 10_000):
                file.write(random_vectors(10_000, seed).numpy().tobytes())
    return path


@contextlib.contextmanager
def watched_memory(peak: list[int]) -> Iterator[None]:
    """Appends the most bytes that the process itself held; pages of a mapped file are not among them (Linux)."""
    done = threading.Event()

    def own() -> int:
        status = Path("/proc/self/status").read_text()
        return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]

    def watch() -> None:
        before = most = own()
        while not done.wait(0.002):
            most = max(most, own())
        peak.append(most - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    yield
    done.set()
    watcher.join()


def search_pool(path: Path, vectors: int, queries: int) -> None:
    """What a fresh process does."""
    pool = torch.from_file(str(path), shared=False, size=vectors * DIM, dtype=torch.float32).view(vectors, DIM)
    asked = random_vectors(queries, POOL)
    nearest(asked[:1], pool[:1000], DEPTH)  # what the first call loads
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak: list[int] = []
    with watched_memory(peak):
        seconds = timed(lambda: nearest(asked, pool, DEPTH))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{vectors:9,} vectors, {queries:5,} queries: {seconds}; the peak of resident memory grew by "
        f"{(after - before) // 1024} MiB with the pool's {vectors * DIM * 4 // MIB} MiB; the process's own memory "
        f"grew by {peak[0] // MIB} MiB"
    )


def show_memory(folder: Path) -> None:
    make_pool(folder)
    for numbers in SEARCHES:
        arguments = ["--search", *map(str, numbers)]
        subprocess.run([sys.executable, __file__, str(folder), *arguments], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--peer-queries", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--search", type=int, nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    if asked.search:
        search_pool(make_pool(asked.folder), *asked.search)
    elif asked.memory:
        show_memory(asked.folder)
    else:
        compare(asked.folder, asked.peer_queries, asked.rounds)


if __name__ == "__main__":
    main()
