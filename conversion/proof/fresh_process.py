"""Answers a request in a new interpreter, which loads only what its program imports."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import WorkError
from ..reading.json_files import read_python_json

HEAD = "import sys; sys.path[:] = [place for place in sys.path if place]; "
"""Prevents the import of a torch.py in the current folder."""

GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": str(2**23)}
"""Makes glibc return freed weights at once: by default it keeps blocks of up to 32 MB, the size of widened layers.

Smaller blocks are mostly activations between two layers; allocating them again each time costs a fifth of a proof's
time.
"""


def answered(program: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Runs Python source that reads a JSON request from its input and writes the answer to the file `sys.argv[1]`.

    Raises:
        WorkError: the program fails or answers nothing; the message has its output.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        done = subprocess.run(
            [sys.executable, "-c", HEAD + program, str(answer)],
            input=json.dumps(request).encode(),
            capture_output=True,
            env={**os.environ, **GIVES_BACK},
        )
        if done.returncode or not answer.exists():
            said = done.stderr.decode("utf-8", "replace").strip() or f"exit code {done.returncode}"
            raise WorkError(f"The process that verifies failed:\n{said}")
        return read_python_json(answer)
