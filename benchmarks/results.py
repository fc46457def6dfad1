"""Runs the scripts beside this file in turn, and writes RESULTS.md: `make bench`.

    python benchmarks/results.py FOLDER [--only NAME ...] [--out FILE]

FOLDER gets about 8 GB, and a second run takes what is there. It takes about a quarter of an hour on two free cores. A
script that fails is told in RESULTS.md and stops no other. A script that has no tables yet is quoted as it prints.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from measuring import Table, machine, printed, told

HERE = Path(__file__).parent
OUT = HERE / "RESULTS.md"

SCRIPTS: dict[str, list[str]] = {
    "embedder_speed.py": ["FOLDER/embedder"],
    "onnx_speed.py": ["FOLDER/onnx", "--threads", "2", "--rounds", "3"],
    "retrieval_cost.py": ["FOLDER/retrieval", "--peer-queries", "200"],
    "import_cost.py": ["5"],
    "convert_cost.py": ["FOLDER/convert"],
    "embed_memory.py": ["FRESH", "--items", "1000", "10000"],
}
"""The scripts, with their arguments: FOLDER is kept for the next run, FRESH is empty."""

EXPLAINED = {
    "convert_cost.py": """\
Where the time goes: the proof makes the calls that users make. In double, the texts go through eight calls (batches
of the processor with their padding, a text that is cut, bare ids, `forward`, what sentence-transformers' files state,
and both classes of one tower), the pictures through five, and the witness computes each batch once. Token ids are
compared on about 2,500 texts, which hold every stable character of Unicode, and on every row of the vocabulary; both
take half a second. Pixels are compared on thirteen pictures.
"""
}
"""What explains the tables of scripts that do not explain them."""

TAKES_JSON = "--json"
LIMIT = 600
"""Seconds after which a script is stopped."""

HEAD = """\
# Measured

`make bench` writes this file: each table comes from the script that is named above it. All sides of a table run in
turns, in one run, and the ratios are the medians of the rounds' ratios; in brackets, those of the processor time,
which other work on the machine changes less. `benchmarks/gpu.py` measures on a GPU, and takes no part here.
"""


def ran(script: str, arguments: list[str], place: Path) -> dict[str, Any]:
    """What a script gives as data: its tables, and what explains them; its words if it gives no data."""
    data = place / f"{script}.json"
    data.unlink(missing_ok=True)
    fresh = place / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    asked = [each.replace("FOLDER", str(place)).replace("FRESH", str(fresh)) for each in arguments]
    gives = re.search(r"^(from|import) measuring\b", (HERE / script).read_text(encoding="utf-8"), re.MULTILINE)
    command = [sys.executable, str(HERE / script), *asked, *([TAKES_JSON, str(data)] if gives else [])]
    printed_words, failed = "", ""
    try:
        printed_words = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=LIMIT, check=True).stdout
    except subprocess.TimeoutExpired:
        failed = f"Stopped after {LIMIT} seconds: tables may be missing."
    except subprocess.CalledProcessError as error:
        failed = f"Failed with code {error.returncode}: tables may be missing."
    if data.is_file():
        return json.loads(data.read_text(encoding="utf-8")) | {"words": failed}
    return {"words": failed or printed_words}


def section(script: str, arguments: list[str], found: dict[str, Any]) -> str:
    """The part of RESULTS.md that a script makes."""
    shown = " ".join([script, *arguments])
    tables = [printed(Table(**each)) for each in found.get("tables", [])]
    words = f"```\n{found['words'].strip()}\n```\n" if found.get("words") else ""
    return (
        "\n".join(
            [
                f"## `{shown}`\n",
                *tables,
                *([words] if words else []),
                found.get("explained") or EXPLAINED.get(script, ""),
            ]
        ).rstrip()
        + "\n"
    )


def facts() -> str:
    return "".join(f"- {name}: {value}\n" for name, value in machine().items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", choices=list(SCRIPTS), default=list(SCRIPTS))
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    sections = []
    for script in asked.only:
        told(f"\n{script}")
        start = time.monotonic()
        sections.append(section(script, SCRIPTS[script], ran(script, SCRIPTS[script], asked.folder.resolve())))
        told(f"{script}: {time.monotonic() - start:.0f} s")
    asked.out.write_text("\n".join([HEAD, facts(), *sections]), encoding="utf-8")


if __name__ == "__main__":
    main()
