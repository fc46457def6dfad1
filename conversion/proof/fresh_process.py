"""Answers a request in a new interpreter, which loads only what its program imports."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from hf_zhclip.amounts import STEPS, shown_amount, steps_of
from hf_zhclip.json_files import read_python_json

from ..errors import WorkError

HEAD = """
import sys
sys.path[:] = [place for place in sys.path if place]
import os, threading
def end_with_parent():
    os.read(0, 1)
    os._exit(1)
threading.Thread(target=end_with_parent, daemon=True).start()
"""
"""What every program begins with.

The first lines prevent the import of a threading.py or torch.py in the current folder. Nothing is ever written to the
standard input, which ends when this process ends, however it ends: the new process then ends, too.
"""

GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": str(2**24), "MALLOC_TRIM_THRESHOLD_": str(2**25)}
"""Makes glibc return the large weights of a layer at once: by default it keeps blocks of up to 32 MB in pieces.

Smaller blocks are used again: to get their memory from the system each time costs twice the time of widening them.
"""

SLEEPS = {"GOMP_SPINCOUNT": "1000"}
"""Lets a thread sleep soon that waits for the other threads of a product: by default it takes a core for milliseconds.

The hashes of the same run need this core, and so does other work on the machine: beside such work a proof took three
times as long. The user's own value takes precedence.
"""


def _watch(process: subprocess.Popen[bytes], steps: Path) -> None:
    """Shows how many steps a process has done, until its end."""
    shown = 0
    with shown_amount("Verifying", None, "computations") as advance:
        while True:
            try:
                process.wait(timeout=0.5)
                return
            except subprocess.TimeoutExpired:
                done, expected = steps_of(steps)
                advance(done - shown, expected)
                shown = done


FILES = ("request.json", "answer.json", "said", "steps")

Answer = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Gives the only request to a process, and waits for the answer."""


def answered(program: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Runs Python source that reads a JSON request from `sys.argv[1]` and writes its answer to the file `sys.argv[2]`.

    The new process ends with this one.

    Raises:
        WorkError: the program fails or answers nothing; the message says in a line how it ended.
    """
    with started(program, request) as answer:
        return answer(request)


@contextmanager
def started(program: str, request: Mapping[str, Any] | None = None) -> Iterator[Answer]:
    """Runs such a program in the background until its request is known, or the block ends.

    Without a `request` the program imports what it needs, and then waits: see `awaited`.
    """
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            asked, answer, said, steps = (Path(folder, name) for name in FILES)
            if request is not None:
                _ask(asked, request)
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", HEAD + program, str(asked), str(answer)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=stack.enter_context(said.open("wb")),
                    env={**SLEEPS, **os.environ, **GIVES_BACK, STEPS: str(steps), "TMPDIR": folder},
                )
            )
        except OSError as error:
            raise WorkError(f"The process that verifies could not start: {error.strerror or error}.") from error

        def answer_to(request: Mapping[str, Any]) -> dict[str, Any]:
            if not asked.exists():
                _ask(asked, request)
            _watch(process, steps)
            if process.returncode or not answer.exists():
                raise WorkError(f"The process that verifies {_end(process.returncode, said.read_bytes())}")
            return read_python_json(answer)

        try:
            yield answer_to
        finally:
            process.kill()  # it has ended already, unless this process was interrupted or needs no answer


def _ask(file: Path, request: Mapping[str, Any]) -> None:
    """Writes the request in one step, so that nobody reads a part of it."""
    part = file.with_suffix(".part")
    part.write_text(json.dumps(request), encoding="utf-8")
    part.replace(file)


def awaited(file: Path) -> Any:
    """In the new process: the request, as soon as there is one."""
    while not file.exists():
        time.sleep(0.01)
    return json.loads(file.read_text(encoding="utf-8"))


def _end(code: int, said: bytes) -> str:
    """How a process ended: by a signal, or with the last line that it said, which is a traceback's error."""
    if code < 0:
        return f"was ended by the signal {_signal(-code)}{CAUSES.get(_signal(-code), '')}."
    lines = said.decode("utf-8", "replace").strip().splitlines()
    return f"failed: {lines[-1] if lines else f'it ended with exit code {code} and said nothing'}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal has a number alone
        return str(number)


CAUSES = {
    "SIGKILL": ", as by a system that has no memory left; free some memory and try again",
    "SIGBUS": ", as where a file becomes shorter while it is read",
}
"""What most often lies behind a signal."""
