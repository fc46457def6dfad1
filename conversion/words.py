"""A fact's sentence in both languages as one value, so that cards and messages need no translation table.

This module stands above the rooms and imports nothing, because every room states facts: a source its limits, a proof
what it compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Words:
    """A sentence, or a part of a sentence, in English and in Chinese; a name shared by both is stored twice."""

    en: str
    zh: str

    @classmethod
    def same(cls, name: str) -> "Words":
        """A name that both languages write the same."""
        return cls(name, name)

    @classmethod
    def in_english(cls, text: str) -> "Words":
        """Words without a known Chinese text, as in another version's report; the Chinese half says so."""
        return cls(text, f"（英文原文）{text}")

    @classmethod
    def from_json(cls, value: Any) -> "Words":
        """The inverse of `dataclasses.asdict`.

        Raises:
            TypeError: the value is of another kind.
        """
        if not isinstance(value, dict) or value.keys() != {"en", "zh"}:
            raise TypeError(f"{value!r} has not the fields en and zh alone")
        if not all(isinstance(each, str) for each in value.values()):
            raise TypeError(f"{value!r} is no text in en and zh")
        return cls(**value)

    def filled(self, **values: Any) -> "Words":
        """Puts values in place of the names in braces; a value of type Words has its own text for each language."""
        return Words(self.en.format(**_in("en", values)), self.zh.format(**_in("zh", values)))


COMMA, SEMICOLON = Words(", ", "、"), Words("; ", "；")


def joined(words: Sequence[Words], between: Words = COMMA) -> Words:
    """The words joined as a list in each language."""
    return Words(between.en.join(each.en for each in words), between.zh.join(each.zh for each in words))


def _in(language: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: getattr(each, language) if isinstance(each, Words) else each for name, each in values.items()}
