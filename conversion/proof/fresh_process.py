"""Answers a request in a new interpreter, which loads only what its program imports."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_zhclip.amounts import STEPS, shown_amount, steps_of
from hf_zhclip.json_files import read_python_json

from ..errors import WorkError

HEAD = "import sys; sys.path[:] = [place for place in sys.path if place]; "
"""Prevents the import of a torch.py in the current folder."""

GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": str(2**23)}
"""Makes glibc return freed weights at once: by default it keeps blocks of up to 32 MB, the size of widened layers.

Smaller blocks are mostly activations between two layers; allocating them again each time costs a fifth of a proof's
time.
"""


def _watched(process: subprocess.Popen[bytes], request: bytes, steps: Path) -> bytes:
    """Gives a process its request, shows how many steps it has done, and returns what it wrote to stderr."""
    shown, given = 0, request or None
    with shown_amount("Verifying", None, "computations") as advance:
        while True:
            try:
                return process.communicate(given, timeout=0.5)[1]
            except subprocess.TimeoutExpired:
                given = None  # the first call has it, and goes on with it
                done, expected = steps_of(steps)
                advance(done - shown, expected)
                shown = done


def answered(program: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Runs Python source that reads a JSON request from its input and writes the answer to the file `sys.argv[1]`.

    Raises:
        WorkError: the program fails or answers nothing; the message has its output.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer, steps = Path(folder) / "answer.json", Path(folder) / "steps"
        with subprocess.Popen(
            [sys.executable, "-c", HEAD + program, str(answer)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **GIVES_BACK, STEPS: str(steps)},
        ) as process:
            try:
                stderr = _watched(process, json.dumps(request).encode(), steps)
            except BaseException:
                process.kill()  # as subprocess.run does
                raise
        if process.returncode or not answer.exists():
            said = stderr.decode("utf-8", "replace").strip() or f"exit code {process.returncode}"
            raise WorkError(f"The process that verifies failed:\n{said}")
        return read_python_json(answer)
