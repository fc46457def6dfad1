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
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import torch
from measuring import Seconds, Table, arguments, give, table, timed, told

from hf_zhclip.evaluation import files
from hf_zhclip.evaluation.nearest import nearest
from hf_zhclip.evaluation.recall import DEPTH
from hf_zhclip.evaluation.retrieval import nearest_ids

EXPLAINED = """\
The search runs on both cores, and cn_clip's loop on one, so that the ratio of the processor time is half that by the
clock. Most of our search is the float32 matrix product. From file to file, most of our time goes into parsing JSON,
which cn_clip does, too. Where a text has other predictions, two pictures have scores that differ by less than float32
tells apart, and ours keeps them in the order of the file.

Memory does not grow with the pool (`retrieval_cost.py FOLDER --memory`, which needs 2 GB and is no part of
`make bench`): 122 MiB beside a pool of 100,000 vectors, 121 MiB beside a million, with 1,000 queries; 18 MiB with 100.
"""

PEER = "cn_clip"
TEXTS, IMAGES, DIM = 5_008, 29_806, 512
POOL = 1_000_000
SEARCHES = ((100_000, 1_000), (POOL, 1_000), (POOL, 100))
"""Vectors of the pool, and queries."""
MIB = 2**20


def less(seconds: Seconds, other: Seconds) -> Seconds:
    return Seconds(seconds.wall - other.wall, seconds.processor - other.processor)


def scaled(seconds: Seconds, factor: float) -> Seconds:
    return Seconds(seconds.wall * factor, seconds.processor * factor)


def shown(seconds: Seconds) -> str:
    return f"{seconds.wall:8.2f} s (processor {seconds.processor:.2f} s)"


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
    loop = less(whole, without)
    for_all = scaled(loop, scale)
    search = scaled(less(loop, parsing), scale)
    return Seconds(without.wall + for_all.wall, without.processor + for_all.processor), search


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
    given = [f"--{name}={folder / file}" for name, file in options.items()]
    return timed(
        lambda: subprocess.run(
            [sys.executable, "-m", "zhclip_cli", "evaluate", *given], check=True, capture_output=True
        )
    )


def differing(folder: Path) -> int:
    """The number of cn_clip's lines of predictions that differ from ours."""
    with (folder / "theirs.jsonl").open() as one, (folder / "ours.jsonl").open() as other:
        return sum(line != own for line, own in zip(one, other, strict=False))


def compare(folder: Path, peer_queries: int, rounds: int) -> list[Table]:
    make(folder, peer_queries)
    scale = TEXTS / peer_queries
    found: dict[str, dict[str, list[Seconds]]] = {"the search": {}, "files to file": {}}
    for number in range(rounds):
        for name, measured in (("ours", ours(folder)), (PEER, theirs(folder, scale))):
            for what, seconds in zip(reversed(found), measured, strict=True):
                found[what].setdefault(name, []).append(seconds)
        told(f"round {number + 1} of {rounds}")
    notes = [
        f"{TEXTS:,} texts x {IMAGES:,} pictures. cn_clip's loop ran on {peer_queries:,} texts, and its seconds are "
        f"scaled to all. {differing(folder)} of {peer_queries:,} texts have other predictions.",
        f"`zhclip evaluate`, both directions with recall, the whole process: {shown(command(folder))}.",
    ]
    return [
        table(f"{what}, for all texts", seconds, TEXTS, [PEER], notes if what == "files to file" else [])
        for what, seconds in found.items()
    ]


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
        f"{vectors:9,} vectors, {queries:5,} queries: {shown(seconds)}; the peak of resident memory grew by "
        f"{(after - before) // 1024} MiB with the pool's {vectors * DIM * 4 // MIB} MiB; the process's own memory "
        f"grew by {peak[0] // MIB} MiB"
    )


def show_memory(folder: Path) -> None:
    make_pool(folder)
    for numbers in SEARCHES:
        arguments = ["--search", *map(str, numbers)]
        subprocess.run([sys.executable, __file__, str(folder), *arguments], check=True)


def main() -> None:
    parser = arguments(__doc__)
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
        give(compare(asked.folder, asked.peer_queries, asked.rounds), asked.json, EXPLAINED)


if __name__ == "__main__":
    main()
