"""Class names and templates: text files, and Python lists that are read and never run."""

import sys

import pytest

from hf_zhclip.errors import InputError
from hf_zhclip.evaluation.lists import python_lists, read_classes, read_templates

LISTS = """
from pathlib import Path
Path({canary!r}).write_text("run")

one_templates = [
    lambda c: f"{{c}}的照片",
    lambda c : f'“{{c}}”, {{{{x}}}} {{c}}。',
    lambda name: f"一张" f"{{name}}",
]
names = ["猫", "狗" "狗", ""]
mixed = [lambda c: f"{{c}}", "{{}}"]
computed = [str(n) for n in range(3)]
called = ["a".upper()]
closes = [lambda c: f"{{c}}{{other}}", lambda c: f"{{c!r}}", lambda c: f"{{c:>5}}", lambda c: f"{{c.x}}"]
plain = [lambda c: "x"]
empty = []
number = 3
"""


@pytest.fixture
def python_file(tmp_path):
    path = tmp_path / "lists.py"
    path.write_text(LISTS.format(canary=str(tmp_path / "canary")), encoding="utf-8")
    return path


def test_a_python_file_is_never_run(python_file, tmp_path):
    python_lists(python_file)
    read_templates(f"{python_file}:mixed")
    assert not (tmp_path / "canary").exists()


def test_lambdas_become_what_they_return_when_they_are_called(python_file, tmp_path):
    held: dict = {}
    exec(python_file.read_text("utf-8"), held)  # the test may
    called = {name: [each("{}") if callable(each) else each for each in held[name]] for name in ("names", "mixed")}
    called["one_templates"] = [each("{}").replace("{x}", "<x>") for each in held["one_templates"]]

    found = python_lists(python_file)

    assert {name: found[name] for name in ("names", "mixed")} == {name: called[name] for name in ("names", "mixed")}
    assert [each.replace("{x}", "<x>") for each in found["one_templates"]] == called["one_templates"]


def test_lists_that_a_reader_cannot_know_are_no_lists(python_file):
    assert set(python_lists(python_file)) == {"one_templates", "names", "mixed", "closes"}
    with pytest.raises(InputError, match="names no list.*There are: one_templates, names, mixed, closes"):
        read_classes(f"{python_file}:computed")


@pytest.mark.parametrize("name", ["closes", "one"])
def test_a_template_that_uses_the_name_otherwise_is_refused(name, python_file):
    with pytest.raises(InputError, match="a text with {} once"):
        read_templates(f"{python_file}:{name}")


def test_lines_end_where_cn_clip_ends_them(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes("\ufeff 猫 \r\n狗\u2028狗\x0c狗\x85\n鸟\n\n".encode())
    assert read_classes(str(path)) == ["猫", "狗\u2028狗\x0c狗", "鸟"]


def test_templates_may_have_empty_lines_between_them(tmp_path):
    path = tmp_path / "templates.txt"
    path.write_text("{}的照片\n\n一张{}\n", encoding="utf-8")
    assert read_templates(str(path)) == ["{}的照片", "一张{}"]


@pytest.mark.parametrize(
    "content, match",
    [
        ("猫\n\n狗\n", r"no name for class 1 \(line 2\)"),
        ("", "holds no class name"),
        (" \n\n", "holds no class name"),
        ("{}的照片\n", "that is a template"),
        ("红色\n".encode("gbk"), "no text in UTF-8"),
    ],
)
def test_class_names_that_are_none_are_refused(content, match, tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=match):
        read_classes(str(path))


@pytest.mark.parametrize("content, match", [("照片\n", "'照片'"), ("{}和{}\n", "{} once"), ("\n", "no template")])
def test_templates_that_are_none_are_refused(content, match, tmp_path):
    path = tmp_path / "templates.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=match):
        read_templates(str(path))


@pytest.mark.parametrize(
    "content, match",
    [("x = [", "is no Python file"), ("x = 1\0", "is no Python file"), ("x = [" * 9999, "is no Python")],
)
def test_a_file_that_is_no_python_is_refused(content, match, tmp_path):
    path = tmp_path / "lists.py"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=match):
        read_classes(f"{path}:x")


def test_a_python_file_without_the_name_of_a_list_is_refused(python_file):
    with pytest.raises(InputError, match="name one of them"):
        read_classes(str(python_file))


def test_what_does_not_exist_is_refused(tmp_path):
    for place in ("nothing.txt", "nothing.py:x", tmp_path):
        with pytest.raises(InputError, match="does not exist|is a folder"):
            read_classes(str(place))


@pytest.fixture
def cn_clip_installed(tmp_path, monkeypatch):
    """An installed cn_clip, as far as its lists are concerned; its modules fail if they are imported."""
    folder = tmp_path / "site" / "cn_clip"
    (folder / "eval").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise SystemExit('cn_clip was imported')")
    sets = (
        "raise SystemExit('run')\nopenai_templates = [lambda c: f'{c}的照片']\nfood_templates = [lambda c: f'吃{c}']\n"
    )
    (folder / "eval" / "cvinw_zeroshot_templates.py").write_text(sets, encoding="utf-8")
    (folder / "eval" / "imagenet_zeroshot_templates.py").write_text("imagenet_classnames = ['鱼']", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path / "site")
    for name in [name for name in sys.modules if name.partition(".")[0] == "cn_clip"]:
        monkeypatch.delitem(sys.modules, name)


def test_the_lists_of_an_installed_cn_clip_are_read_without_an_import(cn_clip_installed):
    assert read_templates("cn_clip:openai") == read_templates("cn_clip:openai_templates") == ["{}的照片"]
    assert read_classes("cn_clip:imagenet_classnames") == ["鱼"]
    with pytest.raises(InputError, match="cn_clip:foot names no list. Did you mean food\\?"):
        read_templates("cn_clip:foot")


def test_a_cn_clip_that_is_not_installed_is_installed_or_a_file_is_named(cn_clip_installed, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("hf_zhclip.evaluation.lists.find_spec", lambda name: None)
        with pytest.raises(InputError, match=r"Install it \(pip install --no-deps cn_clip\), or name a file\."):
            read_templates("cn_clip:openai")
        (tmp_path / "templates.txt").write_text("{}的照片\n", encoding="utf-8")
        assert read_templates(str(tmp_path / "templates.txt")) == ["{}的照片"]

    assert read_templates("cn_clip:openai") == ["{}的照片"]
