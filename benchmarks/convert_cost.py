"""How long `zhclip convert` takes on a full training checkpoint, verified, beside another installation of hf_zhclip.

    python benchmarks/convert_cost.py FOLDER [OTHER_ZHCLIP ...]

FOLDER gets the checkpoint, about 2155 MiB: cn_clip's ViT-B-16 with the optimizer's two moments, seeded. Each command
runs as a whole process, in turns; the first is this environment's. OTHER_ZHCLIP is the path of another `zhclip`.
Printed are the seconds of each run, their medians, and the ratios to the last command.
"""

import json
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

# `measuring.py` has turns, medians, ratios and tables as data; a script that imports it is given `--json FILE` by
# `make bench`, and a script that does not is quoted as it prints.
KEYS = Path(__file__).parents[1] / "tests" / "keys" / "cn_clip-vit-b-16.json"
RUNS = 3


def make(path: Path) -> None:
    """A training checkpoint as cn_clip saves it, with weights of the usual initial scale."""
    torch.manual_seed(0)
    shapes = json.loads(KEYS.read_text(encoding="utf-8"))["keys"]
    weights = {f"module.{key}": torch.randn(shape) * 0.02 for key, shape in shapes.items()}
    weights["module.logit_scale"] = torch.tensor(4.6)
    state = {n: {"exp_avg": value * 0.1, "exp_avg_sq": value * value} for n, value in enumerate(weights.values())}
    torch.save({"epoch": 1, "state_dict": weights, "optimizer": {"state": state, "param_groups": []}}, path)


def measure(command: str, source: Path, out: Path) -> tuple[float, float]:
    """Seconds by the clock, and seconds of processor time, children included."""
    shutil.rmtree(out, ignore_errors=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run([command, "convert", str(source), str(out)], check=True, capture_output=True)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    shutil.rmtree(out)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(folder: Path, others: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "epoch_latest.pt"
    if not source.is_file():
        make(source)
    own = str(Path(sys.executable).with_name("zhclip"))
    found: dict[str, list[tuple[float, float]]] = {command: [] for command in (own, *others)}
    for _ in range(RUNS):
        for command, times in found.items():
            times.append(measure(command, source, folder / "out"))
            print(f"{command}: {times[-1][0]:.1f} s (CPU {times[-1][1]:.1f} s)", flush=True)
    medians = {command: statistics.median(wall for wall, _ in times) for command, times in found.items()}
    *_, (last, base) = medians.items()
    for command, median in medians.items():
        print(f"{command}: median {median:.1f} s, {median / base:.2f} times {last}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
