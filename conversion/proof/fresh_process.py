"""Answers a request in a new interpreter, which loads only what its program imports."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_zhclip.amounts import STEPS, shown_amount, steps_of
from hf_zhclip.json_files import read_python_json

from ..errors import WorkError

HEAD = """
import os, sys, threading
def end_with_parent():
    os.read(0, 1)
    os._exit(1)
threading.Thread(target=end_with_parent, daemon=True).start()
sys.path[:] = [place for place in sys.path if place]
"""
"""What every program begins with.

Nothing is ever written to its standard input, which ends when this process ends, however it ends: the new process then
ends, too. The second half prevents the import of a torch.py in the current folder.
"""

GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": str(2**23)}
"""Makes glibc return freed weights at once: by default it keeps blocks of up to 32 MB, the size of widened layers.

Smaller blocks are mostly activations between two layers; allocating them again each time costs a fifth of a proof's
time.
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


def answered(program: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Runs Python source that reads a JSON request from `sys.argv[1]` and writes its answer to the file `sys.argv[2]`.

    The new process ends with this one.

    Raises:
        WorkError: the program fails or answers nothing; the message says in a line how it ended.
    """
    with tempfile.TemporaryDirectory() as folder:
        asked, answer, said, steps = (Path(folder, name) for name in ("request.json", "answer.json", "said", "steps"))
        asked.write_text(json.dumps(request), encoding="utf-8")
        with (
            said.open("wb") as stream,
            subprocess.Popen(
                [sys.executable, "-c", HEAD + program, str(asked), str(answer)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=stream,
                env={**os.environ, **GIVES_BACK, STEPS: str(steps)},
            ) as process,
        ):
            try:
                _watch(process, steps)
            except BaseException:
                process.kill()  # as subprocess.run does
                raise
        if process.returncode or not answer.exists():
            raise WorkError(f"The process that verifies {_end(process.returncode, said.read_bytes())}")
        return read_python_json(answer)


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
