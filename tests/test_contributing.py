"""CONTRIBUTING.md, and the list in the Makefile: what they name exists."""

import re
from collections.abc import Iterator

import pytest

from tests.newcomer import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
TESTED = ("src", "conversion", "tests")
CODE = "\n".join(path.read_text(encoding="utf-8") for each in TESTED for path in (ROOT / each).rglob("*.py"))
NAMED = sorted({word for line in PAGE.splitlines() for word in re.findall("`([^`]+)`", line)})
PATHS = [word for word in NAMED if re.search(r"/|\.(py|md|toml|txt)$", word) and " " not in word]
NAMES = [word for word in NAMED if re.fullmatch(r"[A-Z_]{3,}|[a-z]+_[a-z_]+", word)]


def laid_out() -> Iterator[str]:
    """The paths of the layout: a line names a file or a folder, and is indented under the folder that holds it."""
    layout = PAGE.partition("## Layout")[2].partition("\n## ")[0]
    folders: dict[int, str] = {}
    for indent, name in re.findall(r"^    ( *)(\S+)  ", layout, re.MULTILINE):
        folders = {depth: folder for depth, folder in folders.items() if depth < len(indent)}
        yield "".join(folders.values()) + name
        if name.endswith("/"):
            folders[len(indent)] = name


def is_there(path: str) -> bool:
    """Whether a file has this path from the root, from conversion/ or from a room of it; `<name>` is any name."""
    pattern = path.rstrip("/").replace("<name>", "*")
    places = (ROOT, ROOT / "conversion", *(ROOT / "conversion").iterdir(), ROOT / "conversion" / "proof")
    return any(next(place.glob(pattern), None) for place in places if place.is_dir())


def test_the_layout_names_what_exists():
    assert [path for path in laid_out() if not (ROOT / path).exists()] == []


def test_the_layout_names_every_room():
    rooms = {path.parent for each in ("src", "conversion") for path in (ROOT / each).rglob("__init__.py")}
    assert {f"{room.relative_to(ROOT).as_posix()}/" for room in rooms} <= set(laid_out())


@pytest.mark.parametrize("path", PATHS)
def test_every_path_that_the_page_names_exists(path):
    assert is_there(path)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_code_that_the_page_names_is_defined(name):
    assert re.search(rf"^ *(def )?{name}(\(|:| =)", CODE, re.MULTILINE)


def test_what_the_floor_leaves_out_exists():
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    (listed,) = (line.partition(":=")[2] for line in lines if line.startswith("OF_ANY_VERSION"))
    alone, _, rest = listed.partition("$(addprefix ")
    folder, _, inside = rest.rstrip(" )").partition(",")
    paths = [*alone.split(), *(folder + name for name in inside.split())]

    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert len(paths) > 20
