"""Class names and templates: from text files, or from the Python lists of cn_clip, which are read and never run.

Source: cn_clip/eval/cvinw_zeroshot_templates.py (sets such as `openai_templates`) and imagenet_zeroshot_templates.py
(`imagenet_classnames`, `openai_imagenet_template`). cn_clip's datasets come with a label file: line i is class i.
"""

import ast
import io
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from ..budget import MOST_TEXT_BYTES, check_regular
from ..errors import InputError
from ..json_files import brief
from ..steady import steady
from ..telling import near

PACKAGE = "cn_clip"
MODULES = ("cvinw_zeroshot_templates.py", "imagenet_zeroshot_templates.py")
GAP = "{}"
"""What the class name replaces in a template."""


def read_classes(place: str) -> list[str]:
    """Reads class names from a text file with a name a line, from `FILE.py:LIST`, or from an installed `cn_clip:LIST`.

    Raises:
        InputError: there is no such file, list or package, or a name is empty.
    """
    names = [name.strip() for name in _read(place)]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise InputError(f"{place} holds no class name; a name on each line was wanted.")
    if "" in names:
        raise InputError(f"{place} has no name for class {names.index('')} (line {names.index('') + 1}). Fill it in.")
    if holding := [name for name in names if GAP in name]:
        raise InputError(f"{place} holds {brief(holding[0])}: that is a template. Class names were wanted.")
    return names


def read_templates(place: str) -> list[str]:
    """Reads templates, from the same kinds of place as class names; `{}` stands for the class name in each.

    Raises:
        InputError: there is no such file, list or package, or a template has not exactly one `{}`.
    """
    templates = [line.strip() for line in _read(place) if line.strip()]
    if not templates:
        raise InputError(f"{place} holds no template; a text with {GAP} on each line was wanted.")
    if wrong := [each for each in templates if each.count(GAP) != 1]:
        raise InputError(
            f"{place} has the template {brief(wrong[0])}; a text with {GAP} once, where the name stands, was wanted."
        )
    return templates


def _read(place: str) -> list[str]:
    path, _, name = place.rpartition(":") if ".py:" in place else (place, "", "")
    if place.partition(":")[0] == PACKAGE and not Path(place).exists():
        return _of_lists(_installed_lists(), place.partition(":")[2], place)
    if name:
        return _of_lists(python_lists(Path(path)), name, place)
    if place.endswith(".py"):
        raise InputError(f"{place} holds Python lists; name one of them: {place}:LIST.")
    return _text(Path(place)).split("\n")  # as a file's lines, which end at no U+2028 or form feed


def _text(path: Path) -> str:
    check_regular(path, "a list of names or templates")
    if path.stat().st_size > MOST_TEXT_BYTES:
        raise InputError(f"{path} has more than {MOST_TEXT_BYTES:,} bytes; a list of names or templates was wanted.")
    try:
        with io.TextIOWrapper(steady(path), encoding="utf-8-sig") as file:
            return file.read()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8. Save it as UTF-8.") from error


def _of_lists(lists: Mapping[str, list[str]], name: str, place: str) -> list[str]:
    for each in (name, f"{name}_templates"):
        if each in lists:
            return lists[each]
    known = [*lists, *(each.removesuffix("_templates") for each in lists)]
    raise InputError(f"{place} names no list.{near(name, known)} There are: {', '.join(lists)}.")


def _installed_lists() -> dict[str, list[str]]:
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"{PACKAGE} is not installed, so its lists cannot be read. Install it (pip install --no-deps "
            f"{PACKAGE}), or name a file."
        )
    folder = Path(spec.submodule_search_locations[0]) / "eval"
    return {name: values for module in MODULES for name, values in python_lists(folder / module).items()}


def python_lists(path: Path) -> dict[str, list[str]]:
    """The lists of a Python file that hold only texts, or only functions of a class name that return a text.

    `lambda c: f"a photo of {c}"` becomes the template `a photo of {}`. The file is parsed and not run.

    Raises:
        InputError: the file does not exist or is no Python.
    """
    content = _text(path)
    try:
        tree = ast.parse(content, filename=str(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{path} is no Python file: {error}.") from error
    return dict(_lists(tree))


def _lists(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.List(elts=items)):
                found = [text for text in map(_as_text, items) if text is not None]
                if items and len(found) == len(items):
                    yield name, found


def _as_text(item: ast.expr) -> str | None:
    match item:
        case ast.Constant(value=str(text)):
            return text
        case ast.Lambda(args=ast.arguments(args=[ast.arg(arg=name)]), body=ast.JoinedStr(values=parts)):
            return "".join(_part(part, name) for part in parts)
    return None


def _part(part: ast.expr, name: str) -> str:
    match part:
        case ast.Constant(value=str(text)):
            return text
        case ast.FormattedValue(value=ast.Name(id=found), conversion=-1, format_spec=None) if found == name:
            return GAP
    return GAP * 2  # which `read_templates` refuses
