"""The wheel: what is in it, and that its command works where there is no checkout."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests import checkpoints

ROOT = Path(__file__).parents[1]
INPUTS = ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "src", "conversion", "examples", "model_cards")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel built offline, from a copy: what an earlier build left in the checkout must not get into it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in INPUTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(ROOT / name, source / name)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, source)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def scripts(wheel, tmp_path_factory) -> Path:
    """The scripts of a fresh environment that sees this one's packages, but not the checkout."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=os.name != "nt")
    paths = {"base": str(folder), "platbase": str(folder)}
    scripts = Path(sysconfig.get_path("scripts", "venv", paths))
    python = scripts / Path(sys.executable).name
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    # The .pth files of a folder that a .pth adds are not read, that of an editable install among them.
    outer = Path(sysconfig.get_path("purelib", "venv", paths)) / "outer.pth"
    outer.write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    return scripts


def run(*command: object, cwd: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_wheel_holds_what_the_checkout_ships(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*.py")}
    for folder in ("conversion", "examples", "model_cards"):
        modules |= {f"hf_zhclip/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / folder).rglob("*.py")}
    data = {"hf_zhclip/py.typed"}
    data |= {f"hf_zhclip/conversion/tokenizers/{name}" for name in ("vocab.txt", "bpe_simple_vocab_16e6.txt.gz")}
    data |= {f"hf_zhclip/examples/scenes/{path.name}" for path in (ROOT / "examples" / "scenes").iterdir()}
    data |= {
        f"hf_zhclip/model_cards/{path.name}"
        for path in (ROOT / "model_cards").iterdir()
        if path.suffix in (".md", ".yaml")
    }
    described = {name for name in names if ".dist-info/" in name}
    assert names - described == modules | data
    assert {Path(name).name for name in described} >= {"LICENSE", "NOTICE", "METADATA", "entry_points.txt"}


def test_the_command_of_an_installed_wheel_inspects_and_lists(scripts, tmp_path):
    checkpoints.cn_clip.cn_clip_file(tmp_path / "epoch_latest.pt")
    where = "from importlib.util import find_spec; print(find_spec('hf_zhclip').origin)"
    assert Path(run(scripts / "python", "-c", where, cwd=tmp_path).strip()).is_relative_to(scripts.parent)
    assert "cn_clip" in run(scripts / "zhclip", "inspect", "epoch_latest.pt", cwd=tmp_path)
    assert "chinese-clip-rn50" in run(scripts / "zhclip", "list", cwd=tmp_path)


@pytest.mark.thorough  # the demo itself runs in tests/examples/test_demo.py
def test_the_command_of_an_installed_wheel_runs_the_demo(scripts, tmp_path):
    printed = run(scripts / "zhclip", "demo", "out", cwd=tmp_path)
    picture = tmp_path / printed.strip().splitlines()[-1]
    assert picture.is_file() and picture.suffix == ".png"
    (report,) = tmp_path.glob("out/**/conversion_report.json")
    assert json.loads(report.read_text(encoding="utf-8"))["passed"]
