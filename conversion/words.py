"""What a card or a message says of a fact, in both languages as one value, so that no table of sentences is looked up.

It stands above the rooms and imports nothing: every room has facts to tell, from a source's limits to what a proof
compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Words:
    """A sentence, or a part of one, in English and in Chinese; a name that both languages share stands twice."""

    en: str
    zh: str

    @classmethod
    def same(cls, name: str) -> "Words":
        """A name that is written alike in both languages."""
        return cls(name, name)

    @classmethod
    def in_english(cls, text: str) -> "Words":
        """Words whose Chinese nobody knows, as of a report of another version: the Chinese half says so."""
        return cls(text, f"（英文原文）{text}")

    @classmethod
    def from_json(cls, value: Any) -> "Words":
        """The inverse of `dataclasses.asdict`.

        Raises:
            TypeError: when it is of another kind.
        """
        if not isinstance(value, dict) or value.keys() != {"en", "zh"}:
            raise TypeError(f"{value!r} has not the fields en and zh alone")
        if not all(isinstance(each, str) for each in value.values()):
            raise TypeError(f"{value!r} is no text in en and zh")
        return cls(**value)

    def filled(self, **values: Any) -> "Words":
        """The same with values in place of their names in braces, of which other words come in each language."""
        return Words(self.en.format(**_in("en", values)), self.zh.format(**_in("zh", values)))


COMMA, SEMICOLON = Words(", ", "、"), Words("; ", "；")


def joined(words: Sequence[Words], between: Words = COMMA) -> Words:
    """A list as each language writes it."""
    return Words(between.en.join(each.en for each in words), between.zh.join(each.zh for each in words))


def _in(language: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: getattr(each, language) if isinstance(each, Words) else each for name, each in values.items()}
