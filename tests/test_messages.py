"""No message sends its reader in a circle: every way out that a message names is walked by a test.

A way out is a command, an option, a call in Python, or a file to fetch, to put or to write. A new message that names
one fails here until `tests/walked_messages.py` says which test walks it.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import pytest

from tests.conversion.test_ways_out import WALKS
from tests.newcomer import ROOT
from tests.walked_messages import NO_WAYS, WALKED

COMMANDS = "|".join(path.stem for path in (ROOT / "src" / "zhclip_cli").glob("[a-z]*.py"))
WAY = re.compile(
    rf"zhclip (?:{COMMANDS})\b|(?<![\w-])--[a-z][a-z_-]+"
    r"|\b(?:save_pretrained|from_pretrained|merge_and_unload|resize_token_embeddings|to_dense)\b|`(?:python|hf|pip) "
    r"|\b(?:[Ff]etch|[Pp]ut|Take|Save|Move|Write|Merge)\b"
    r"|\{(?:finish_it\(|finishing\(|CONVERT_AGAIN\}|OTHER_VOCABULARY\}|MERGE)"  # sentences that messages share
)
CHINESE = re.compile("[\u4e00-\u9fff]")
OF_ARGPARSE = ("help", "description", "epilog", "metavar")


@dataclass(frozen=True)
class Message:
    """A text of the code that names a way out; `place` is its file with the function or the constant."""

    place: str
    text: str

    def is_at(self, row: str) -> bool:
        """Whether a row of the table means this message."""
        place, _, words = row.partition(": ")
        return place == self.place and words in self.text


def text_of(node: ast.AST) -> str | None:
    """A literal's text, with the code of an f-string's fields in braces."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if not isinstance(node, ast.JoinedStr):
        return None
    parts = (
        each.value if isinstance(each, ast.Constant) else f"{{{ast.unparse(each.value)}}}" for each in node.values
    )
    return "".join(map(str, parts))


def texts(node: ast.AST, inside: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Every literal text, except docstrings and the help of options, with the names of what it stands in."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    if isinstance(node, ast.keyword) and node.arg in OF_ARGPARSE:
        return
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        inside = (*inside, node.name)
    if isinstance(node, ast.Assign | ast.AnnAssign) and not inside:
        inside = (ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target),)
    if (text := text_of(node)) is not None:
        yield ".".join(inside), text
        return
    for child in ast.iter_child_nodes(node):
        yield from texts(child, inside)


@cache
def messages() -> tuple[Message, ...]:
    files = sorted(path for room in ("conversion", "src") for path in (ROOT / room).rglob("*.py"))
    names = {file: file.relative_to(ROOT).as_posix() for file in files}
    return tuple(
        Message(f"{names[file]} {inside}".strip(), text)
        for file in files
        for inside, text in texts(ast.parse(file.read_text(encoding="utf-8")))
        if WAY.search(text) and " " in text.strip() and not CHINESE.search(text)
    )


def rows() -> list[str]:
    return [row for table in (*WALKED.values(), NO_WAYS) for places in table.values() for row in places]


def test_every_message_that_names_a_way_out_is_walked_or_says_why_not():
    missing = [message for message in messages() if sum(map(message.is_at, rows())) != 1]
    told = "\n".join(f"{message.place}: {message.text}" for message in missing)
    assert not missing, (
        f"Add these messages to tests/walked_messages.py, each once, with a test that walks them:\n{told}"
    )


def test_every_row_of_the_table_means_one_message():
    found = Counter({row: sum(message.is_at(row) for message in messages()) for row in rows()})
    assert {row: count for row, count in found.items() if count != 1} == {}


@pytest.mark.parametrize("file", sorted(WALKED))
def test_every_walk_exists(file):
    code = ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8")))
    there = {node.name for node in code if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
    assert WALKED[file].keys() - there - TABLES.get(file, set()) == set()


def test_every_walk_of_a_table_is_of_a_message():
    for file, walks in TABLES.items():
        assert walks - WALKED[file].keys() == TWICE.get(file, set())


CONVERT = "tests/conversion/test_ways_out.py"
DATA = "tests/data/test_ways_out.py"


def keys_of_walks(file: str) -> set[str]:
    """The keys of the dict WALKS in a file, which is not imported."""
    (walks,) = (
        node.value
        for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "WALKS"
    )
    assert isinstance(walks, ast.Dict)
    return {ast.literal_eval(key) for key in walks.keys if key is not None}


TABLES = {
    CONVERT: set(WALKS),
    **{
        file: keys_of_walks(file)
        for file in (DATA, "tests/evaluation/test_ways_out.py", "tests/training/test_training.py")
    },
}
"""The files whose walks are rows of a table, and the names of the walks."""

TWICE = {
    CONVERT: {
        "a_config_json_is_fetched_into_the_folder",
        "a_config_json_that_contradicts_the_image_tower_is_replaced",
        "a_config_json_without_heads_is_replaced",
        "a_dtype_that_is_too_narrow_is_another",
        "a_file_s_vocabulary_is_passed",
        "a_format_is_one_of_the_list",
        "an_image_part_beside_a_whole_model_is_left_out",
        "fields_that_contradict_the_shapes_are_left_out",
    },
    DATA: {"a_blind_split_is_not_divided"},
    "tests/training/test_training.py": {"bfloat16_without_a_device_that_computes_in_it_is_left_out"},
}
"""Second walks of messages that stand under another walk, and walks of messages without an option's name."""


def test_a_text_that_names_something_to_do_is_found_wherever_it_stands():
    code = """
def f(x):
    'Pass --doc.'
    raise E(f"{x} is wrong. " "Pass --config FILE.")
HINT = {"a": "Leave out --b."}
"""
    found = [("f", "{x} is wrong. Pass --config FILE."), ("HINT", "a"), ("HINT", "Leave out --b.")]
    assert list(texts(ast.parse(code))) == found


FIELD = re.compile(r"\{([^{}]+)\}")
COMMAND = re.compile(
    r"`(?:zhclip|hf|python|git|pip) [^`]*`|(?<![\w-])zhclip [a-z]+ [^\n`]*"
    r"|--(?:tokenizer|config|vision) \{[^{}]+\}(?!:)"
)
IN_A_COMMAND = {
    **dict.fromkeys(("quoted", "ours", "theirs"), "is quoted where it is made"),
    **dict.fromkeys(("arguments", "found", "PACKAGED", "entry.vision"), "is no path of the user's"),
    "repo": "is user/name of a hub",
    "stated.source": "says what was found",
    **dict.fromkeys(("64", "_digest(text)"), "is a mark of a card"),
}
"""Fields of texts that look like a command, and why nobody quotes them there."""


def test_every_path_in_a_command_is_quoted_as_a_shell_reads_it():
    bare = [
        (message.place, command)
        for message in messages()
        for command in COMMAND.findall(message.text)
        for field in FIELD.findall(command)
        if "shlex." not in field and field not in IN_A_COMMAND
    ]
    assert bare == []
