"""What does `import hf_zhclip` cost beside `from transformers import AutoModel`? Whole processes, in turns.

python benchmarks/import_cost.py [ROUNDS]
"""

import statistics
import subprocess
import sys
import time

THEIRS = "from transformers import AutoModel"
OURS = THEIRS + "; import hf_zhclip"
HELP = "import runpy, sys; sys.argv = ['zhclip', '--help']; runpy.run_module('zhclip_cli', run_name='__main__')"


def seconds(code: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    # In turns, so that what else the machine does falls on both.
    times = [(seconds(THEIRS), seconds(OURS), seconds(HELP)) for _ in range(rounds)]
    theirs, ours, help_ = (statistics.median(column) for column in zip(*times, strict=True))
    extra = statistics.median(own - other for other, own, _ in times)
    print(f"{THEIRS}: {theirs:.3f} s")
    print(f"the same and import hf_zhclip: {ours:.3f} s, ratio {ours / theirs:.3f}, {extra:+.3f} s in a pair")
    print(f"zhclip --help: {help_:.3f} s")


if __name__ == "__main__":
    main()
