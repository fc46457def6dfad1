"""A small repo, and data for it."""

import pytest

import zhclip_cli
from hf_zhclip.conversion import convert

from tests.checkpoints import FAMILIES
from tests.conversion.helpers import save_time
from tests.data.made import picture


@pytest.fixture(scope="session")
def repo(tmp_path_factory):
    """A converted checkpoint; to be copied before it is changed."""
    folder = tmp_path_factory.mktemp("evaluated")
    original = FAMILIES["cn_clip_vit"](folder)
    with pytest.MonkeyPatch.context() as patch:
        save_time(patch)
        convert(original.source, folder / "repo", **original.arguments)
    return folder / "repo"


@pytest.fixture
def run(capsys):
    """Runs the command; gives its exit code, its output and what it says beside."""

    def run(*arguments):
        code = zhclip_cli.main(["evaluate", *map(str, arguments)])
        found = capsys.readouterr()
        return code, found.out, found.err

    return run


@pytest.fixture
def classes(tmp_path):
    """Two class folders with two pictures each, with names and templates."""
    for name, colours in (("a", ("red", "pink")), ("b", ("blue", "navy"))):
        (tmp_path / "classes" / name).mkdir(parents=True)
        for colour in colours:
            (tmp_path / "classes" / name / f"{colour}.png").write_bytes(picture(colour))
    (tmp_path / "names.txt").write_text("红色\n蓝色\n", encoding="utf-8")
    (tmp_path / "templates.txt").write_text("{}\n{}的图片\n", encoding="utf-8")
    return tmp_path / "classes"


@pytest.fixture
def pairs(tmp_path):
    """Labelled pairs."""
    for colour in ("red", "blue"):
        (tmp_path / f"{colour}.png").write_bytes(picture(colour))
    rows = ("red", "红色", "true"), ("blue", "蓝色", "true"), ("red", "蓝色", "false")
    lines = (f'{{"image": "{name}.png", "text": "{text}", "fits": {fits}}}\n' for name, text, fits in rows)
    (tmp_path / "pairs.jsonl").write_text("".join(lines), encoding="utf-8")
    return tmp_path / "pairs.jsonl"
