"""What the scripts beside this file share: turns, medians, ratios, the facts of the machine, tables as data.

A script measures with `in_turns`, makes a `Table` of it with `table`, and hands its tables to `give`, which prints
them and writes them where `--json FILE` says. `results.py` runs the scripts and makes RESULTS.md of these files.
"""

import argparse
import importlib.metadata
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

Sides = Mapping[str, Callable[[], Any]]
"""By its name, what each side does in its turn."""

FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "asimd", "bf16")
"""The features of a processor that change how fast it multiplies."""

PACKAGES = ("torch", "transformers", "tokenizers", "onnxruntime", "numpy", "pillow", "cn_clip")
LEAST_SECONDS = 0.3
"""A turn repeats its work until it takes about as long."""


class Seconds(NamedTuple):
    """By the clock, and of the processor in all threads, which other work on the machine changes less."""

    wall: float
    processor: float


@dataclass
class Table:
    """The answer to a question.

    Args:
        question: in words.
        columns: the heads of the columns; the first column names the sides.
        rows: a list of cells for each side.
        notes: sentences that belong to the table, such as how far the vectors of two sides are from each other.
    """

    question: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)


def timed(work: Callable[[], Any], times: int = 1, after: Callable[[], Any] = lambda: None) -> Seconds:
    """The seconds of one call, as the mean of so many calls; `after` waits for what the last call started."""
    wall, processor = time.perf_counter(), processor_seconds()
    for _ in range(times):
        work()
    after()
    return Seconds((time.perf_counter() - wall) / times, (processor_seconds() - processor) / times)


def processor_seconds() -> float:
    """Of this process and of those that it started and that ended."""
    return time.process_time() + sum(os.times()[2:4])


def in_turns(
    sides: Sides, rounds: int, after: Callable[[], Any] = lambda: None, least: float = LEAST_SECONDS
) -> dict[str, list[Seconds]]:
    """The seconds of each side in each round; the sides take turns, and two calls before the first round warm up."""
    times = {}
    for name, work in sides.items():
        timed(work, after=after)
        times[name] = min(max(math.ceil(least / timed(work, after=after).wall), 1), 1000)
    found: dict[str, list[Seconds]] = {name: [] for name in sides}
    for number in range(rounds):
        for name, work in sides.items():
            found[name].append(timed(work, times[name], after))
        told(f"round {number + 1} of {rounds}")
    return found


def ratio(of: Iterable[Seconds], to: Iterable[Seconds], clock: int = 0) -> float:
    """How many times as fast the first side is: the median of the rounds' ratios."""
    return statistics.median(other[clock] / own[clock] for own, other in zip(of, to, strict=True))


def table(
    question: str, found: Mapping[str, list[Seconds]], items: int, against: Iterable[str], notes: Iterable[str] = ()
) -> Table:
    """Medians of each side, and its speed beside those of `against`, which are left out if they took no part."""
    against = [name for name in against if name in found]
    rows = []
    for name, seconds in found.items():
        wall, processor = (statistics.median(each) for each in zip(*seconds, strict=True))
        ratios = [
            f"{ratio(seconds, found[other]):.2f} ({ratio(seconds, found[other], 1):.2f})" if other != name else "1"
            for other in against
        ]
        rows.append([name, f"{items / wall:.1f}", f"{1000 * processor / items:.2f}", *ratios])
    columns = [
        "",
        "items a second",
        "processor ms an item",
        *(f"times {name} (by processor time)" for name in against),
    ]
    return Table(question, columns, rows, list(notes))


def printed(found: Table) -> str:
    """The table in Markdown."""
    lines = [found.columns, ["---"] * len(found.columns), *found.rows]
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return "\n\n".join([f"**{found.question}**", text, *found.notes]) + "\n"


def machine() -> dict[str, str]:
    """The processor, its features, the versions and the date."""
    facts = _of_processor()
    versions = {name: _version(name) for name in PACKAGES}
    return {
        "processor": facts["model name"],
        "features": ", ".join(each for each in FEATURES if each in facts["flags"].split()) or "none of interest",
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        **{name: version for name, version in versions.items() if version},
        "date": datetime.now(UTC).date().isoformat(),
    }


def _of_processor() -> dict[str, str]:
    """The first processor of Linux's list."""
    facts = {"model name": platform.processor() or platform.machine(), "flags": ""}
    file = Path("/proc/cpuinfo")
    if file.is_file():
        lines = (line.partition(":") for line in file.read_text().partition("\n\n")[0].splitlines())
        listed = {name.strip(): value.strip() for name, _, value in lines}
        facts |= listed | {"flags": listed.get("flags") or listed.get("Features", "")}
    return facts


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that every script has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the tables go as data, too")
    return parser


def give(tables: Iterable[Table], file: Path | None, explained: str = "") -> None:
    """Prints each table when it is made, and writes all as data, with what explains them in Markdown.

    The file is written after each table, so that a script that is stopped leaves the tables that it has.
    """
    content: dict[str, Any] = {"machine": machine(), "tables": [], "explained": explained}
    for each in tables:
        print(printed(each), flush=True)
        content["tables"].append(asdict(each))
        if file is not None:
            file.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def told(words: str) -> None:
    """Progress, on stderr."""
    print(words, file=sys.stderr, flush=True)
