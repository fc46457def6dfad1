"""Does the memory of `zhclip embed` stay flat, however many pictures there are?

    python benchmarks/embed_memory.py FOLDER [--items N ...] [--repo REPO] [--shard-size N] [--json]

FOLDER gets the pictures, small files of noise, and the corpora. Without a REPO the small model that ships is
converted. A process that has imported everything forks a copy for each number of pictures (Linux). Printed is the
largest memory that the copy has held, resident, with what it shares with the first process.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from hf_zhclip.inference import embed

DISTINCT = 50
"""Pictures of different content; the others are the same files under other names."""


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
    """The small model that ships, converted in another process, whose memory does not count."""
    source = Path(__file__).parents[1] / "examples" / "scenes"
    words = ["convert", source / "epoch_latest.pt", folder / "repo", "--config", source / "model_config.json"]
    subprocess.run([sys.executable, "-m", "zhclip_cli", *map(str, words)], check=True, stdout=subprocess.DEVNULL)
    return folder / "repo"


def measured(repo: Path, place: Path, out: Path, shard_size: int) -> tuple[int, float]:
    """The largest memory of a copy of this process that embeds a folder, in bytes, and its seconds."""
    start = time.perf_counter()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            embed(repo, place, out, device="cpu", shard_size=shard_size)
            code = 0
        finally:
            os._exit(code)
    _, status, used = os.wait4(pid, 0)
    assert status == 0, status
    return used.ru_maxrss * 2**10, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--items", type=int, nargs="+", default=[1_000, 20_000])
    parser.add_argument("--repo", type=Path)
    parser.add_argument("--shard-size", type=int, default=1_024)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    repo = asked.repo or shipped(asked.folder)
    found = {}
    for items in asked.items:
        place = pictures(asked.folder / str(items) / "pictures", items)
        memory, seconds = measured(repo, place, asked.folder / str(items) / "OUT", asked.shard_size)
        found[str(items)] = memory
        if not asked.json:
            print(f"{items:,} pictures: {memory / 2**20:.1f} MiB, {seconds:.0f} s", flush=True)
    if asked.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
