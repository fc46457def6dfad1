"""Does the memory of `zhclip embed` stay flat, however many pictures there are?

    python benchmarks/embed_memory.py FOLDER [--items N ...] [--repo REPO] [--json]

FOLDER gets the pictures, small files of noise, and the corpora. Without a REPO the small model that ships is converted.
One process imports everything and embeds a few pictures; a copy of it (fork, so not on Windows) embeds each number of
pictures. Printed is each copy's largest memory (resident, as the system counted it), of which the first copy's start
is a part, and the time.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from hf_zhclip.inference import embed

DISTINCT = 50
"""Pictures of different content; the others are the same files under other names."""

UNIT = 1 if sys.platform == "darwin" else 2**10
"""Bytes in the system's unit of a process's largest memory."""


def pictures(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"{number // 1000:03d}" / f"picture-{number:07d}.jpg"
        path.parent.mkdir(exist_ok=True)
        if number < DISTINCT:
            Image.fromarray(noise.integers(0, 256, (96, 128, 3), dtype=np.uint8)).save(path, quality=90)
        else:
            os.link(folder / "000" / f"picture-{number % DISTINCT:07d}.jpg", path)
    return folder


def shipped(folder: Path) -> Path:
    from hf_zhclip.conversion import convert
    from hf_zhclip.examples import demo

    source = Path(demo.__file__).parent / "scenes"
    convert(source / "epoch_latest.pt", folder / "repo", config=source / "model_config.json")
    return folder / "repo"


def measured(repo: Path, place: Path, out: Path) -> tuple[int, float]:
    """The largest memory of a copy of this process that embeds a folder, in bytes, and its seconds."""
    start = time.perf_counter()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            embed(repo, place, out, device="cpu")
            code = 0
        finally:
            os._exit(code)
    _, status, used = os.wait4(pid, 0)
    assert status == 0, status
    return used.ru_maxrss * UNIT, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--items", type=int, nargs="+", default=[1_000, 20_000])
    parser.add_argument("--repo", type=Path)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)  # a pool of threads does not outlive a fork
    repo = asked.repo or shipped(asked.folder)
    embed(repo, pictures(asked.folder / "warm" / "pictures", DISTINCT), asked.folder / "warm" / "OUT", device="cpu")
    found = {}
    for items in asked.items:
        place = pictures(asked.folder / str(items) / "pictures", items)
        found[items] = measured(repo, place, asked.folder / str(items) / "OUT")
        if not asked.json:
            memory, seconds = found[items]
            print(f"{items:,} pictures: {memory / 2**20:.0f} MiB, {seconds:.0f} s", flush=True)
    if asked.json:
        print(json.dumps({str(items): memory for items, (memory, _) in found.items()}))


if __name__ == "__main__":
    main()
