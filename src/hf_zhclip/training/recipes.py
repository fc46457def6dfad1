"""Recipes: small YAML files with the arguments of a training, their source beside them."""

from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from ..budget import MOST_DEPTH, MOST_DIGITS, MOST_RECIPE_BYTES
from ..errors import InputError
from ..json_files import brief
from ..telling import near

PLACE = "hf_zhclip.examples"
"""The package whose folder `recipes` holds the recipes that ship."""

FIELDS = ("source", "lora")
"""What a recipe may hold beside arguments: where its values are published, and the fields of PEFT's LoraConfig."""


def names() -> list[str]:
    """The names of the recipes that ship."""
    folder = resources.files(PLACE) / "recipes"
    return sorted(each.name.removesuffix(".yaml") for each in folder.iterdir() if each.name.endswith(".yaml"))


def read_recipe(recipe: str) -> dict[str, Any]:
    """Reads a recipe that ships, by its name, or a YAML file, by its path.

    Raises:
        InputError: there is no such recipe, or the file is no YAML with a value for each name.
    """
    if not recipe.endswith((".yaml", ".yml")):
        if recipe not in names():
            raise InputError(
                f"{recipe} is no recipe.{near(recipe, names())} The recipes are {', '.join(names())}; or name a YAML "
                "file (.yaml, .yml)."
            )
        return _parsed((resources.files(PLACE) / "recipes" / f"{recipe}.yaml").read_bytes(), recipe)
    path = Path(recipe)
    if not path.is_file():
        raise InputError(f"{recipe} does not exist; a YAML file, or one of {', '.join(names())}, was wanted.")
    if path.stat().st_size > MOST_RECIPE_BYTES:
        raise InputError(f"{recipe} has more than {MOST_RECIPE_BYTES:,} bytes; a recipe was wanted.")
    return _parsed(path.read_bytes(), recipe)


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


def _parsed(content: bytes, where: str) -> dict[str, Any]:
    try:
        text = content.decode("utf-8-sig")
        _check_events(text, where)
        value = yaml.load(text, Loader=_Loader)
    except InputError:
        raise
    except Exception as error:  # a stated tag (!!int "") makes the parser raise errors of many kinds
        raise InputError(f"{where} is no YAML: {type(error).__name__}: {error}.") from error
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise InputError(f"{where} holds {brief(value)}; a value for each argument's name was wanted.")
    if not isinstance(value.get("lora", {}), dict):
        raise InputError(
            f"{where} holds the lora {brief(value['lora'])}; the fields of PEFT's LoraConfig were wanted."
        )
    return value
