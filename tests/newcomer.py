"""What a newcomer has: a clone of this repository and a fresh environment."""

import importlib.metadata
import os
import shutil
import subprocess
import sysconfig
import venv
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
INPUTS = ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "src", "conversion", "examples", "model_cards")


def clone(folder: Path) -> Path:
    """Copies what is installed: what an earlier build left in the checkout must not get into it."""
    folder.mkdir(exist_ok=True)
    for name in INPUTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def environment(folder: Path) -> Path:
    """Makes an environment that sees this environment's packages, but not the checkout; gives its scripts."""
    venv.create(folder, symlinks=os.name != "nt")
    paths = {"base": str(folder), "platbase": str(folder)}
    # The .pth files of a folder that a .pth adds are not read, that of an editable install among them.
    outer = Path(sysconfig.get_path("purelib", "venv", paths)) / "outer.pth"
    outer.write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    return Path(sysconfig.get_path("scripts", "venv", paths))


OF_ZHCLIP_ONNX = ("onnxruntime", "tokenizers", "numpy", "pillow")
"""What zhclip_onnx.py imports."""

ONLY_DECLARED = ("huggingface-hub",)
"""What tokenizers names and does not import: to leave it out keeps a dozen packages out."""


def environment_of(folder: Path, *packages: str) -> Path:
    """Makes an environment of some of this environment's packages and of what these need; gives its scripts."""
    venv.create(folder, symlinks=os.name != "nt")
    paths = {"base": str(folder), "platbase": str(folder)}
    there = Path(sysconfig.get_path("purelib", "venv", paths))
    for package in _with_what_they_need(packages):
        files = importlib.metadata.files(package) or []
        here = Path(str(importlib.metadata.distribution(package).locate_file("")))
        for name in {file.parts[0] for file in files} - {".."}:
            _link(here / name, there / name)
    return Path(sysconfig.get_path("scripts", "venv", paths))


def _with_what_they_need(packages: Iterable[str]) -> set[str]:
    todo, found = list(packages), set()
    while todo:
        if (name := todo.pop().lower().replace("_", "-")) in (*found, *ONLY_DECLARED):
            continue
        found.add(name)
        needed = map(Requirement, importlib.metadata.requires(name) or [])
        todo += [each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    return found


def _link(source: Path, destination: Path) -> None:
    if os.name != "nt":
        destination.symlink_to(source)
    elif source.is_dir():
        shutil.copytree(source, destination)
    else:
        shutil.copy(source, destination)


def run(*command: object, cwd: Path | None = None) -> str:
    """Runs a program; gives what it printed.

    Raises:
        AssertionError: the exit code is not 0.
    """
    return _run([str(part) for part in command], cwd=cwd, env=_variables())


def run_line(line: str, cwd: Path, scripts: Path) -> str:
    """Runs a line as the shell would after `scripts` was activated; gives what it printed.

    Raises:
        AssertionError: the exit code is not 0.
    """
    variables = _variables()
    variables["PATH"] = f"{scripts}{os.pathsep}{variables['PATH']}"
    return _run(line, cwd=cwd, env=variables, shell=True)


def _variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def _run(command: str | list[str], **options) -> str:
    done = subprocess.run(command, capture_output=True, encoding="utf-8", **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout
