"""Kills runs of `embed` with two ranks, at named points and at random moments, and lets them go on.

A process that has imported everything and loaded the model forks the ranks: a fresh process would need seconds for
that, in which it writes nothing.

    python -m tests.inference.killed REPO PICTURES FOLDER KILLS points|no-points
"""

import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from hf_zhclip.inference import Embedder, embed, embedding
from hf_zhclip.inference.corpus import MANIFEST

RANKS = 2
SEED = 5
HOW = {"batch_size": 8, "shard_size": 16, "threads": 1, "device": "cpu"}

POINTS = (
    ("write_first_manifest", "after"),
    ("write_shard", "after"),  # the rename follows
    ("completed", "before"),
    ("write_manifest", "before"),
    ("write_manifest", "after"),
)
"""Where a rank dies: before or after its first call of a function of `embedding`."""


def die(*_) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying(function: Callable, moment: str) -> Callable:
    def called(*given):
        if moment == "before":
            die()
        function(*given)
        die()

    return called


def half_written(path: Path, *_) -> None:
    path.write_bytes(b"half")
    die()


def forked(repo: Path, pictures: Path, out: Path, change: Callable[[], None] = lambda: None) -> list[int]:
    """The process ids of two ranks that write a corpus."""
    pids = []
    for rank in range(RANKS):
        if pid := os.fork():
            pids.append(pid)
            continue
        code = 1
        try:
            os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(RANKS)}
            change()
            embed(repo, pictures, out, **HOW)
            code = 0
        except BaseException:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(code)
    return pids


def ends(pids: list[int]) -> list[int]:
    """How the processes ended: 0, an exit code, or the negative number of a signal."""
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def uninterrupted(*given) -> float:
    start = time.monotonic()
    assert ends(forked(*given)) == [0] * RANKS
    return time.monotonic() - start


def killed_at_points(repo: Path, pictures: Path, folder: Path) -> None:
    """Writes a corpus for each point; at first the ranks die there, then they go on."""
    changes = {f"{moment}-{name}": (name, dying(getattr(embedding, name), moment)) for name, moment in POINTS}
    changes["half-shard"] = ("write_shard", half_written)
    for point, (name, change) in changes.items():
        ended = ends(forked(repo, pictures, folder / point, lambda n=name, c=change: setattr(embedding, n, c)))
        assert -signal.SIGKILL in ended and set(ended) <= {0, -signal.SIGKILL}, (point, ended)
        uninterrupted(repo, pictures, folder / point)


def killed_at_random(repo: Path, pictures: Path, folder: Path, kills_wanted: int) -> dict:
    """Writes corpora whose runs are killed at random moments, until `kills` moments hit a run that is not done."""
    chance = random.Random(SEED)
    whole = uninterrupted(repo, pictures, folder / "whole")
    idle = uninterrupted(repo, pictures, folder / "whole")  # a run that finds everything done
    shards = same(folder / "whole", folder / "whole")
    kills: list[int] = []
    corpora = 0
    while len(kills) < kills_wanted:
        out = folder / f"killed-{corpora}"
        moments = sorted((chance.uniform(0, idle + (whole - idle) / 6), rank) for rank in range(RANKS))
        start, pids = time.monotonic(), forked(repo, pictures, out)
        for moment, rank in moments:
            time.sleep(max(start + moment - time.monotonic(), 0))
            os.kill(pids[rank], signal.SIGKILL)
        ended = ends(pids)
        assert set(ended) <= {0, -signal.SIGKILL}, ended
        written = same(out, folder / "whole")
        if -signal.SIGKILL in ended:
            kills.append(written)
        if written == shards or len(kills) == kills_wanted:
            uninterrupted(repo, pictures, out)
            corpora += 1
    return {"whole_s": round(whole, 2), "idle_s": round(idle, 2), "shards_at_kills": kills, "corpora": corpora}


def same(out: Path, whole: Path) -> int:
    """The number of shards of an unfinished corpus, each of which has to be whole."""
    shards = list(out.glob("*.safetensors"))  # there may be none, and no folder
    for shard in shards:
        assert shard.read_bytes() == (whole / shard.name).read_bytes(), shard
    if (out / MANIFEST).exists():
        json.loads((out / MANIFEST).read_text("utf-8"))
    return len(shards)


def main(repo: str, pictures: str, folder: str, kills: str, points: str) -> None:
    torch.set_num_threads(1)
    loaded = Embedder.from_pretrained(repo, batch_size=HOW["batch_size"], threads=HOW["threads"], device_map="cpu")
    embedding.Embedder.from_pretrained = lambda *_, **__: loaded
    given = Path(repo), Path(pictures), Path(folder)
    if points == "points":
        killed_at_points(*given)
    print(json.dumps(killed_at_random(*given, int(kills))))


if __name__ == "__main__":
    main(*sys.argv[1:])
