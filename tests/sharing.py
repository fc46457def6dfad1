"""What costs seconds to make is made once in a run, by the first of the workers that needs it."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from filelock import FileLock

Made = TypeVar("Made")


def made_once(
    factory: pytest.TempPathFactory, worker_id: str, name: str, make: Callable[[Path], Made]
) -> tuple[Path, Made]:
    """A folder that all workers share, and what `make` gave when it filled the folder: something to be pickled."""
    base = factory.getbasetemp()
    # Not in a worker's own folder, which goes with the worker while others still run.
    shared = (base if worker_id == "master" else base.parent) / "shared"
    shared.mkdir(exist_ok=True)
    kept = shared / f"{name}.pickle"
    with FileLock(kept.with_suffix(".lock")):
        if not kept.exists():
            (shared / name).mkdir()
            kept.write_bytes(pickle.dumps(make(shared / name)))
    return shared / name, pickle.loads(kept.read_bytes())
