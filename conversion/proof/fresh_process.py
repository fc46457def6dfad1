"""A new interpreter answers a request: it has loaded nothing but what its program brings."""

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
"""A torch.py that lies in the current folder is not the one to import."""

GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": str(2**23)}
"""Lets glibc give freed weights back at once: it keeps blocks of up to 32 MB, which widened layers are, for later.

Smaller blocks are mostly what lies between two layers: to fetch these anew each time costs a fifth of a proof.
"""


def answered(program: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Runs Python source that reads the request, JSON on its input, and writes its answer into the file `sys.argv[1]`.

    Raises:
        WorkError: with what it said, when it fails or answers nothing.
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
