"""What `zhclip convert` costs on a full training checkpoint, verified, beside what it cannot do without.

    python benchmarks/convert_cost.py FOLDER [OTHER_ZHCLIP ...] [--json FILE]

FOLDER gets the checkpoint, about 2155 MiB: cn_clip's ViT-B-16 with the optimizer's two moments, seeded. All run in
turns: the imports alone, SHA-256 of the checkpoint alone, a copy of the written weights alone, the verification
alone in its fresh process, and the whole command, also with `--dtype float16`. OTHER_ZHCLIP is the path of another
`zhclip`, for example of an older version. Memory is the anonymous memory of all processes of a command, on Linux.
"""

import hashlib
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from measuring import Table, arguments, give, told

from hf_zhclip.conversion.detection.parts import identify, witness_vocabulary
from hf_zhclip.conversion.proof import verification
from hf_zhclip.conversion.stated import Stated

KEYS = Path(__file__).parents[1] / "tests" / "keys" / "cn_clip-vit-b-16.json"
ROUNDS = 3
GOAL_SECONDS, GOAL_MIB = 1.25, 150
CAST = ("--dtype", "float16")
IMPORTS = """
import torch
from transformers import AutoModel, AutoProcessor
from hf_zhclip import ZhCLIPImageProcessor, ZhCLIPModel, ZhCLIPProcessor
import hf_zhclip.conversion.pipeline
"""
IMPORTED, HASHED, COPIED, VERIFIED = "imports", "sha256 of the checkpoint", "copy of the weights", "verification"


class Cost(NamedTuple):
    """Seconds by the clock and of the processor, and MiB of anonymous memory by process, the first one first."""

    wall: float
    processor: float
    memory: tuple[float, ...] = ()


def make(path: Path) -> None:
    """A training checkpoint as cn_clip saves it, with weights of the usual initial scale."""
    torch.manual_seed(0)
    shapes = json.loads(KEYS.read_text(encoding="utf-8"))["keys"]
    weights = {f"module.{key}": torch.randn(shape) * 0.02 for key, shape in shapes.items()}
    weights["module.logit_scale"] = torch.tensor(4.6)
    state = {n: {"exp_avg": value * 0.1, "exp_avg_sq": value * value} for n, value in enumerate(weights.values())}
    torch.save({"epoch": 1, "state_dict": weights, "optimizer": {"state": state, "param_groups": []}}, path)


def of_process(words: list[str]) -> Cost:
    """The cost of a command with the processes that it starts."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        over, peaks = threading.Event(), dict[int, float]()
        watching = threading.Thread(target=_watch, args=(process.pid, over, peaks))
        watching.start()
        code = process.wait()
        wall = time.perf_counter() - start
        over.set()
        watching.join()
    if code:
        raise SystemExit(f"{' '.join(words)} ended with {code}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall, processor, tuple(peaks[pid] for pid in sorted(peaks, key=lambda pid: pid != process.pid)))


def _watch(first: int, over: threading.Event, peaks: dict[int, float]) -> None:
    while not over.wait(0.02):
        for pid in _with_children(first):
            if mib := _anonymous(pid):
                peaks[pid] = max(peaks.get(pid, 0.0), mib)


def _with_children(pid: int) -> Iterator[int]:
    yield pid
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = file.read_text().split()
        except OSError:  # it has ended
            continue
        for child in children:
            yield from _with_children(int(child))


def _anonymous(pid: int) -> float:
    try:
        found = re.search(r"Anonymous: *(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text())
    except OSError:  # it has ended
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


def of_call(work: Callable[[], object]) -> Cost:
    """The cost of a call in this process and in the processes that it starts."""
    before, start = os.times(), time.perf_counter()
    work()
    after, wall = os.times(), time.perf_counter() - start
    return Cost(wall, sum(after[:4]) - sum(before[:4]))


def sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def request(source: Path, out: Path) -> verification.Request:
    """What `convert` asks the fresh process."""
    stated = Stated(source)
    parts = identify(stated)
    vocabulary = str(witness_vocabulary(parts, stated))
    return verification.Request(str(out), [part.request() for part in parts], "keep", vocabulary, None)


def measure(source: Path, folder: Path, others: list[str]) -> dict[str, list[Cost]]:
    """The costs of each side, in turns."""
    own = str(Path(sys.executable).with_name("zhclip"))
    out, copied = folder / "out", folder / "copied"

    def whole(command: str, *options: str) -> Cost:
        shutil.rmtree(out, ignore_errors=True)
        return of_process([command, "convert", str(source), str(out), *options])

    sides: dict[str, Callable[[], Cost]] = {
        IMPORTED: lambda: of_process([sys.executable, "-c", IMPORTS]),
        HASHED: lambda: of_call(lambda: sha256(source)),
    }
    for command in (*others, own):  # this environment's comes last, and what it writes is verified and copied
        for options in (CAST, ()):
            sides[name_of(command, *options)] = lambda command=command, options=options: whole(command, *options)
    sides[COPIED] = lambda: of_call(lambda: shutil.copyfile(out / "model.safetensors", copied))
    sides[VERIFIED] = lambda: of_call(lambda: verification.in_fresh_process(request(source, out)))
    found: dict[str, list[Cost]] = {side: [] for side in sides}
    for number in range(ROUNDS):
        for side, cost in sides.items():
            found[side].append(cost())
            told(f"round {number + 1} of {ROUNDS}: {side}: {found[side][-1].wall:.1f} s")
    shutil.rmtree(out)
    copied.unlink()
    return found


def name_of(command: str, *options: str) -> str:
    own = Path(command).parent == Path(sys.executable).parent
    return " ".join(("zhclip" if own else command, "convert", *options))


def table(found: dict[str, list[Cost]]) -> Table:
    """Medians, the time beside the goal, and the memory above the imports of each process."""

    def median(side: str, clock: int) -> float:
        return statistics.median(cost[clock] for cost in found[side])

    def at_least(clock: int) -> float:
        return median(IMPORTED, clock) + max(median(HASHED, clock), median(VERIFIED, clock))

    imported = statistics.median(cost.memory[0] for cost in found[IMPORTED])
    rows = []
    for side, costs in found.items():
        cells = [side, f"{median(side, 0):.1f}", f"{median(side, 1):.1f}"]
        if " convert" in side:
            above = [max(cost.memory[place] - imported for cost in costs) for place in range(2)]
            cells += [f"{median(side, 0) / at_least(0):.2f}", *(f"{max(mib, 0):.0f}" for mib in above)]
        else:
            cells += ["", "", ""]
        rows.append(cells)
    columns = [
        "",
        "seconds",
        "processor seconds",
        "times (imports + the larger of sha256 and verification)",
        "MiB above the imports, converting",
        "MiB above the imports, verifying",
    ]
    notes = [
        f"Goals: at most {GOAL_SECONDS} times, and at most {GOAL_MIB} MiB while converting, also with a cast.",
        f"The imports take {imported:.0f} MiB in each of the two processes. The highest of {ROUNDS} rounds is given.",
    ]
    return Table(
        "What does `zhclip convert` cost on a training checkpoint of 2155 MiB, verified?", columns, rows, notes
    )


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the checkpoint is made and converted")
    parser.add_argument("others", nargs="*", metavar="OTHER_ZHCLIP", help="the path of another zhclip")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    source = given.folder / "epoch_latest.pt"
    if not source.is_file():
        make(source)
    give([table(measure(source, given.folder, given.others))], given.json)


if __name__ == "__main__":
    main()
