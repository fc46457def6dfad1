"""Recipes: small YAML files with the arguments of a training, their source beside them."""

from importlib import resources
from pathlib import Path
from typing import Any

from ..budget import MOST_RECIPE_BYTES
from ..errors import InputError
from ..json_files import brief
from ..telling import near
from ..yaml_files import parse_yaml

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


def _parsed(content: bytes, where: str) -> dict[str, Any]:
    value = parse_yaml(content, where)
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise InputError(f"{where} holds {brief(value)}; a value for each argument's name was wanted.")
    if not isinstance(value.get("lora", {}), dict):
        raise InputError(
            f"{where} holds the lora {brief(value['lora'])}; the fields of PEFT's LoraConfig were wanted."
        )
    return value
