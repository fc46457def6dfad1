"""Starts two processes over gloo, as torchrun does."""

import os
import subprocess
import sys
from pathlib import Path

from tests.newcomer import ROOT


def two_processes_of(*words: str | Path, cwd: Path = ROOT) -> str:
    """Runs `python -m MODULE …` in two processes, which have to succeed, and returns what they print."""
    ran = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", *map(str, words)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(ROOT)])},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout
