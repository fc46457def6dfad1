"""The wheel: what is in it, and that its command works where there is no checkout."""

import sys
import zipfile
from pathlib import Path

import pytest

from tests import checkpoints
from tests.newcomer import ROOT, clone, environment, run


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel built offline."""
    source, out = clone(tmp_path_factory.mktemp("source")), tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, source)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def scripts(wheel, tmp_path_factory) -> Path:
    """The scripts of a fresh environment that the wheel is installed in."""
    scripts = environment(tmp_path_factory.mktemp("environment"))
    python = scripts / Path(sys.executable).name
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    return scripts


def test_the_wheel_holds_what_the_checkout_ships(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*.py")}
    for folder in ("conversion", "examples", "model_cards"):
        modules |= {f"hf_zhclip/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / folder).rglob("*.py")}
    data = {"hf_zhclip/py.typed"}
    data |= {"hf_zhclip/conversion/repos/released_code.json"}
    data |= {f"hf_zhclip/conversion/tokenizers/{name}" for name in ("vocab.txt", "bpe_simple_vocab_16e6.txt.gz")}
    data |= {f"hf_zhclip/examples/scenes/{path.name}" for path in (ROOT / "examples" / "scenes").iterdir()}
    data |= {f"hf_zhclip/examples/recipes/{path.name}" for path in (ROOT / "examples" / "recipes").iterdir()}
    data |= {
        f"hf_zhclip/model_cards/{path.name}"
        for path in (ROOT / "model_cards").iterdir()
        if path.suffix in (".md", ".yaml")
    }
    described = {name for name in names if ".dist-info/" in name}
    assert names - described == modules | data
    assert {Path(name).name for name in described} >= {"LICENSE", "NOTICE", "METADATA", "entry_points.txt"}


def test_the_command_of_an_installed_wheel_lists_and_its_package_lies_there(scripts, tmp_path):
    where = "from importlib.util import find_spec; print(find_spec('hf_zhclip').origin)"
    assert Path(run(scripts / "python", "-c", where, cwd=tmp_path).strip()).is_relative_to(scripts.parent)
    assert "chinese-clip-rn50" in run(scripts / "zhclip", "list", cwd=tmp_path)


@pytest.mark.thorough
def test_the_command_of_an_installed_wheel_inspects(scripts, tmp_path):
    """`zhclip demo` of an installed package is run with the opening of README.md."""
    checkpoints.cn_clip.cn_clip_file(tmp_path / "epoch_latest.pt")
    facts = checkpoints.cn_clip.cn_clip_config(tmp_path / "facts.json")
    assert "cn_clip" in run(scripts / "zhclip", "inspect", "epoch_latest.pt", "--config", facts, cwd=tmp_path)
