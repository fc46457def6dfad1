"""YAML of strangers: each name once, no aliases, no deep nesting."""

from typing import Any

import yaml

from .budget import MOST_DEPTH, MOST_DIGITS
from .errors import InputError


def parse_yaml(content: bytes, where: str) -> Any:
    """Parses a YAML text in UTF-8; `where` is its name in messages.

    Raises:
        InputError: it is no YAML, or holds an alias, a name twice, or too deep nesting.
    """
    try:
        text = content.decode("utf-8-sig")
        _check_events(text, where)
        return yaml.load(text, Loader=_Loader)
    except InputError:
        raise
    except Exception as error:  # a stated tag (!!int "") makes the parser raise errors of many kinds
        raise InputError(f"{where} is no YAML: {type(error).__name__}: {error}.") from error


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which takes a name once, and whole numbers that a program can use."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        found = super().construct_mapping(node, deep=deep)
        if len(found) < len(node.value):
            raise ValueError("a name stands twice in it")
        return found

    def construct_yaml_int(self, node: Any) -> int:
        if len(node.value) > MOST_DIGITS:
            raise ValueError(f"a whole number of {len(node.value)} digits was found")
        return super().construct_yaml_int(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def _check_events(text: str, where: str) -> None:
    """Refuses aliases, and deep nesting, whose parsing takes time with the square of the depth."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise InputError(f"{where} holds an alias (*name), which can stand for any amount. Write the value out.")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise ValueError(f"it is nested more than {MOST_DEPTH} deep")
