"""Runs cases in forked children under limits of memory and time, and says of each how it ended.

A child runs a block of cases, because a fork costs as much as a small case. It tells its parent what it begins and how
each case ends, so that a crash or a hang belongs to its case; the rest of the block goes to another child.
"""

import contextlib
import faulthandler
import gc
import io
import json
import os
import re
import resource
import select
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from .mutations import CANARY, change_folder, mutate
from .seeds import SEEDS
from .targets import STAGES, TARGETS

MOST_MIB, MOST_SECONDS = 1024, 10
"""The promise of SECURITY.md; seconds of the processor, because two children run at once."""

WALL_SECONDS = 30
"""A child that says nothing for so long is killed: it waits, or computes on a machine that others use."""

GROWTH = 3 * 2**30
"""Address space beyond its own that a case may take before it gets a MemoryError."""

BLOCK = 50

FORBIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that no message may hold: a terminal obeys them, or they change the order of a line."""

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""What onnxruntime puts around a line of its log."""

RUNS_CODE = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "socket.connect")
"""Python's audit events of what no case may do."""

OWN_PROCESS = os.path.join("hf_zhclip", "data", "readers", "row_counting.py")
"""The package's own code that counts a parquet's rows in a process of its own."""

CHANGES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.symlink", "os.link", "os.truncate", "shutil.rmtree")


@dataclass
class Ending:
    """How a case ended: `outcome` is accepted, refused or a finding's first word; `finding` says what is wrong."""

    case: int
    what: str = ""
    stages: list[str] = field(default_factory=list)
    outcome: str = ""
    said: str = ""
    finding: str | None = None
    mib: float = 0
    seconds: float = 0


WEIGHTS = {
    "convert": 5,
    "data": 6,
    "recipe": 10,
    "notes": 10,
    "export": 10,
    "repo": 12,
    "corpus": 16,
    "searched": 14,
    "features": 14,
    "picture": 14,
}
"""How often a seed is drawn, by its first word; 26 seeds are converted."""

GENTLE = 0.35
"""The share of cases that change values alone, so that the last steps are reached."""


def drawn(seed: int, case: int, names: Sequence[str]) -> tuple[Random, str, Callable[..., None]]:
    """The random numbers of a case, its seed and its target."""
    draw = Random(f"{seed}/{case}")
    name = draw.choices(names, [WEIGHTS.get(each.split()[0], 4) for each in names])[0]
    targets = TARGETS[name.split()[0]]
    return draw, name, targets[0] if len(targets) == 1 or draw.random() < 0.85 else targets[1]


def make_seeds(place: Path, names: Sequence[str] = tuple(SEEDS)) -> dict[str, Path]:
    """Makes the seeds in a folder."""
    found = {}
    for number, name in enumerate(names):
        found[name] = place / f"seed{number}"
        found[name].mkdir(parents=True)
        SEEDS[name](found[name])
    return found


def prepared(seed: Path, folder: Path, draw: Random) -> str:
    """A changed copy of a seed, whose unchanged files are links; says what was changed."""
    shutil.copytree(seed, folder / "source", copy_function=os.link)
    asked = seed.parent / f"{seed.name}.asked.json"
    if asked.exists():
        shutil.copy(asked, folder / "asked.json")
    gentle = draw.random() < GENTLE
    told = []
    for _ in range(1 if gentle else draw.choice((1, 1, 1, 2, 3))):
        files = sorted(filter(_may_change, (folder / "source").rglob("*")))
        if not files:
            break
        if not gentle and draw.random() < 0.07:
            told.append(change_folder(folder / "source", draw))
        else:
            told.append(mutate(draw.choice(files), draw, gentle))
    return "; ".join(told)


def _may_change(path: Path) -> bool:
    """Whether a file is one to change: LMDB's lock is never read."""
    return path.is_file() and not path.is_symlink() and path.name != "lock.mdb"


# In a child

_watched: dict[str, Any] = {"place": None, "seen": []}


def _watch(event: str, given: tuple) -> None:
    """Notes what a case does outside its folder."""
    place = _watched["place"]
    if place is None:
        return
    if event in RUNS_CODE and not (event == "subprocess.Popen" and str(given[1][-1]).endswith(OWN_PROCESS)):
        _watched["seen"].append(f"{event} {given!r:.200}")
    if event == "open":
        path, _, flags = given
        if isinstance(path, int) or not (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
    elif event in CHANGES:
        path = given[0]
    else:
        return
    if isinstance(path, int):
        return
    path = os.path.abspath(os.fsdecode(path))
    # The package datasets keeps its copies in the cache.
    if path != str(place) and not path.startswith(
        (f"{place}{os.sep}", f"{os.environ.get('HF_HOME', place)}", "/dev/")
    ):
        _watched["seen"].append(f"{event} {path}")


def _status(name: str) -> float:
    """A number of MiB of this process."""
    text = Path("/proc/self/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+)", text)[1]) / 1024


def _lowered_peak() -> float:
    """Sets the peak of memory to what is used now, and gives it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmHWM")


def run_case(seed: int, case: int, seeds: dict[str, Path], place: Path, tell: Callable[[dict], None]) -> None:
    """Runs a case in this process; tells its steps and its end."""
    draw, name, target = drawn(seed, case, tuple(seeds))
    folder = place / f"case{case}"
    shutil.rmtree(folder, ignore_errors=True)  # a case of this number may have died in another run
    (folder / "work").mkdir(parents=True)
    try:
        told = prepared(seeds[name], folder, draw)
    except Exception:
        tell({"case": case, "what": name})
        tell({"outcome": "unmade", "finding": f"the mutator failed:\n{traceback.format_exc()[-3000:]}"})
        return
    tell({"case": case, "what": f"{name}, {target.__name__}: {told}"})
    before, printed = _listing(folder / "source"), os.fstat(1).st_size
    os.chdir(folder / "work")
    said: list[str] = []
    caught, start, usage = io.StringIO(), _lowered_peak(), time.process_time()
    end: dict[str, Any] = {"outcome": "accepted"}
    _watched.update(place=folder, seen=[])
    try:
        with contextlib.redirect_stderr(caught), contextlib.redirect_stdout(caught):
            target(folder / "source", folder / "OUT", lambda stage: tell({"stage": stage}), said.append)
    except BaseException as error:
        end = _end(error)
        said.append(end["said"])
    finally:
        _watched["place"] = None
    end |= {"mib": max(0.0, _status("VmHWM") - start), "seconds": time.process_time() - usage}
    wrong = [end.get("finding"), *_wrong(folder, before, [*said, caught.getvalue(), _printed(printed)], end)]
    tell({**end, "said": end.get("said", "")[:300], "finding": next(filter(None, wrong), None)})
    os.chdir(place)
    shutil.rmtree(folder, ignore_errors=True)


def _printed(start: int) -> str:
    """What libraries that are no Python printed since then: stdout and stderr of a child are one file."""
    with Path("/proc/self/fd/1").open("rb") as file:
        file.seek(start)
        return COLOURS.sub("", file.read(2**20).decode("utf-8", "replace"))


def _end(error: BaseException) -> dict[str, Any]:
    from hf_zhclip.errors import ZhclipError

    if isinstance(error, ZhclipError):
        return {"outcome": "refused", "said": str(error)}
    found = "".join(traceback.format_exception(error))
    return {"outcome": "traceback", "said": f"{type(error).__name__}: {error}"[:300], "finding": found[-3000:]}


def _wrong(folder: Path, before: list, said: list[str], end: dict[str, Any]) -> Iterator[str]:
    """What a case must not do, however it ends."""
    if list(folder.rglob(CANARY)):
        yield "canary: code of the file was run"
    if _watched["seen"]:
        yield f"outside OUT: {_watched['seen'][:3]}"
    left = sorted(path.name for path in folder.iterdir() if path.name not in ("source", "work", "asked.json", "OUT"))
    if left or list((folder / "work").iterdir()):
        yield f"outside OUT: {left} {[path.name for path in (folder / 'work').iterdir()]}"
    if end["outcome"] == "refused" and (folder / "OUT").exists():
        yield "OUT is there although the input was refused"
    if _listing(folder / "source") != before:
        yield "outside OUT: the source was changed"
    if found := next(filter(None, map(FORBIDDEN.search, said)), None):
        yield f"control character {found[0]!r} in {found.string[max(0, found.start() - 80) : found.end() + 40]!r}"
    if end["mib"] > MOST_MIB:
        yield f"memory: {end['mib']:.0f} MiB"
    if end["seconds"] > MOST_SECONDS:
        yield f"hang: {end['seconds']:.1f} s"


def _listing(folder: Path) -> list[tuple]:
    return sorted((str(path), path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*"))


def _child(seed: int, cases: Sequence[int], seeds: dict[str, Path], place: Path, pipe: int) -> None:
    gc.freeze()
    faulthandler.disable()  # pytest's; the parent tells a crash
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = int(_status("VmSize")) * 2**20 + GROWTH
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    sys.addaudithook(_watch)
    log = os.open(place / f"output{os.getpid()}", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for case in cases:
        run_case(seed, case, seeds, place, lambda found: os.write(pipe, (json.dumps(found) + "\n").encode()))
    os._exit(0)


# In the parent


@dataclass
class _Block:
    process: int
    pipe: int
    cases: list[int]
    heard: float = field(default_factory=time.monotonic)
    rest: bytes = b""
    current: Ending | None = None
    killed: bool = False


def run(seed: int, cases: Sequence[int], seeds: dict[str, Path], place: Path, workers: int = 2) -> Iterator[Ending]:
    """Runs cases in children; gives how each ended, in any order."""
    waiting = [list(cases[start : start + BLOCK]) for start in range(0, len(cases), BLOCK)][::-1]
    running: dict[int, _Block] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                block = _start(seed, waiting.pop(), seeds, place)
                running[block.pipe] = block
            for pipe in select.select(list(running), [], [], 0.5)[0]:
                block, content = running[pipe], os.read(pipe, 65536)
                block.heard = time.monotonic()
                if content:
                    yield from _heard(block, content)
                    continue
                del running[pipe]
                os.close(pipe)
                status = os.waitstatus_to_exitcode(os.waitpid(block.process, 0)[1])
                if block.current is not None or block.cases:
                    yield _lost(block, status)
                if block.cases:
                    waiting.append(block.cases)
            for block in running.values():
                if time.monotonic() - block.heard > WALL_SECONDS and not block.killed:
                    block.killed = True
                    os.kill(block.process, signal.SIGKILL)
    finally:  # of a run that is left early
        for block in running.values():
            os.kill(block.process, signal.SIGKILL)
            os.waitpid(block.process, 0)


def _start(seed: int, cases: list[int], seeds: dict[str, Path], place: Path) -> _Block:
    heard, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(heard)
        try:
            _child(seed, cases, seeds, place, told)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(97)
    os.close(told)
    return _Block(child, heard, cases)


def _heard(block: _Block, content: bytes) -> Iterator[Ending]:
    *lines, block.rest = (block.rest + content).split(b"\n")
    for found in map(json.loads, lines):
        if "case" in found:
            block.current = Ending(found["case"], found["what"])
        elif "stage" in found:
            block.current.stages.append(found["stage"])
        else:
            for name, value in found.items():
                setattr(block.current, name, value)
            block.cases.remove(block.current.case)
            yield block.current
            block.current = None


def _lost(block: _Block, status: int) -> Ending:
    """The end of a case whose child died; the case is taken out of the block."""
    ending = block.current or Ending(block.cases[0], "before it began")
    block.cases.remove(ending.case)
    ending.outcome = "hang" if block.killed else "crash"
    ending.finding = f"hang: over {WALL_SECONDS} s" if block.killed else f"crash: exit code {status}"
    return ending


# What a run says


@dataclass
class Log:
    """Counts how cases ended, by the last step that each reached."""

    last: Counter = field(default_factory=Counter)
    reached: Counter = field(default_factory=Counter)
    findings: list[Ending] = field(default_factory=list)
    count: int = 0
    most_mib: Ending | None = None
    most_seconds: Ending | None = None

    def add(self, ending: Ending) -> None:
        stages = list(dict.fromkeys(ending.stages))
        self.count += 1
        self.reached.update(stages)
        self.last[stages[-1] if stages else "-", ending.outcome] += 1
        if ending.finding:
            self.findings.append(ending)
        if self.most_mib is None or ending.mib > self.most_mib.mib:
            self.most_mib = ending
        if self.most_seconds is None or ending.seconds > self.most_seconds.seconds:
            self.most_seconds = ending

    def lines(self) -> list[str]:
        """A table: by step, how many cases reached it, and how those ended that went no further."""
        outcomes = ("accepted", "refused", "other")
        lines = [f"{'step':24}{'reached':>9}" + "".join(f"{each:>10}" for each in outcomes)]
        steps = [*STAGES, *sorted(set(self.reached) - set(STAGES)), *(["-"] if ("-", "crash") in self.last else [])]
        for step in steps:
            ends = Counter()
            for (stage, outcome), count in self.last.items():
                if stage == step:
                    ends[outcome if outcome in outcomes else "other"] += count
            lines.append(f"{step:24}{self.reached[step]:>9}" + "".join(f"{ends[each]:>10}" for each in outcomes))
        if self.most_mib and self.most_seconds:
            lines.append(
                f"most: {self.most_mib.mib:.0f} MiB (case {self.most_mib.case}), "
                f"{self.most_seconds.seconds:.1f} s (case {self.most_seconds.case})"
            )
        return lines

    def short(self, least: int) -> list[str]:
        """The steps of a conversion that fewer cases reached than they have to."""
        return [stage for stage in STAGES if self.reached[stage] < least]
