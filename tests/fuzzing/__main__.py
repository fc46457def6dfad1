"""`make fuzz`: changed files of every family and format, in forked children; see README.md beside this file."""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

ENVIRONMENT = {
    **{"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"},
    **{"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9", "PYTHONWARNINGS": "ignore"},
    **{"HF_DATASETS_DISABLE_PROGRESS_BARS": "1"},
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="chooses the cases")
    parser.add_argument("--cases", type=int, default=20_000, help="how many")
    parser.add_argument("--least", type=int, default=500, help="how many must reach each step of a conversion")
    parser.add_argument("--only", type=int, metavar="CASE", help="repeats one case, and shows what it says")
    parser.add_argument("--of", metavar="WORD", nargs="+", help="takes the seeds alone that begin so, such as export")
    parser.add_argument("--seconds", type=float, help="ends after so long, whatever is left")
    options = parser.parse_args()
    sys.dont_write_bytecode = True  # a case may be the first to import a module
    os.environ.update(ENVIRONMENT)
    with tempfile.TemporaryDirectory(prefix="zhclip_fuzz_") as place:
        os.environ["HF_HOME"] = str(Path(place) / "home")
        return fuzz(options, Path(place))


def fuzz(options: argparse.Namespace, place: Path) -> int:
    """Makes the seeds, runs the cases and prints the log; 1 if something is wrong."""
    import torch
    import transformers

    from tests.fork_server import IMPORTED
    from tests.fuzzing.running import Log, make_seeds, run
    from tests.fuzzing.seeds import SEEDS

    torch.set_num_threads(1)
    for name in IMPORTED:
        __import__(name)
    transformers.utils.logging.disable_progress_bar()  # its amounts are no messages
    names = tuple(name for name in SEEDS if not options.of or name.startswith(tuple(options.of)))
    seeds, start, log = make_seeds(place / "seeds", names), time.monotonic(), Log()
    of = f" --of {' '.join(options.of)}" if options.of else ""
    cases = range(options.cases) if options.only is None else [options.only]
    for ending in (running := run(options.seed, cases, seeds, place)):
        log.add(ending)
        if ending.finding or options.only is not None:
            print(f"case {ending.case} ({ending.what}) {ending.outcome}: {ending.said}\n{ending.finding or ''}")
            print(f"  again: make fuzz FUZZ_ARGS='--seed {options.seed} --only {ending.case}{of}'", flush=True)
        if log.count % 1000 == 0:
            print(f"{log.count} cases, {time.monotonic() - start:.0f} s, {len(log.findings)} findings", flush=True)
        if options.seconds and time.monotonic() - start > options.seconds:
            running.close()
            break
    print("\n".join(log.lines()))
    print(f"{log.count} cases in {time.monotonic() - start:.0f} s, {len(log.findings)} findings")
    short = [] if options.only is not None or options.of else log.short(options.least)
    if short:
        print(f"Fewer than {options.least} cases reached: {', '.join(short)}")
    return 1 if log.findings or short else 0


if __name__ == "__main__":
    sys.exit(main())
