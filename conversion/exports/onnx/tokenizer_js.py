"""A tokenizer.json for transformers.js: other words for the same steps, where its library reads a step otherwise.

Its library: package @huggingface/tokenizers 0.2.0. Each change gives the same ids in the tokenizers library of Python.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ...tokenizers.builders import ACCENT, CJK, REMOVED

Step = dict[str, Any]

SMALL_SIGMA: Step = {"type": "Replace", "pattern": {"String": "Σ"}, "content": "σ"}
"""JavaScript writes a capital sigma at the end of a word as ς; the tokenizers library sees single letters."""

WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""ByteLevel's own pattern. JavaScript's own `\\s`, which the library has there, also takes U+FEFF for a space."""

BY_WORDS: Step = {"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Removed", "invert": True}

# BertNormalizer has U+2B920 where the original of BERT has U+2B820 (tokenizers, src/normalizers/bert.rs).
CHINESE = CJK.replace("\U0002b820", "\U0002b920")
ALONE: Step = {"type": "Split", "pattern": {"Regex": f"[{CHINESE}]"}, "behavior": "Isolated", "invert": False}
"""What BertNormalizer does with Chinese characters. JavaScript's BertNormalizer does not see those beyond U+FFFF."""


def portable(content: Mapping[str, Any], split_special_tokens: bool) -> dict[str, Any]:
    """The content of a tokenizer.json that transformers.js reads as Python's library reads `content`.

    Args:
        content: what the repo's tokenizer saved.
        split_special_tokens: the setting of the repo's tokenizer. transformers.js does not know it, and takes every
            added token in a text for that token.
    """
    changed = {
        **content,
        "normalizer": _changed(content["normalizer"], "normalizers", _normalizer),
        "pre_tokenizer": _changed(content["pre_tokenizer"], "pretokenizers", _pre_tokenizer),
    }
    if split_special_tokens:
        words = content["model"]["vocab"]
        added = content["added_tokens"]
        changed["added_tokens"] = [each for each in added if not each["special"] or each["content"] not in words]
    return changed


def _changed(step: Step | None, parts: str, change: Callable[[Step], list[Step]]) -> Step | None:
    """A step, or a sequence of steps, in which each step is replaced by what `change` gives for it."""
    if step is None:
        return None
    if step["type"] == "Sequence":
        return {
            **step,
            parts: [each for part in step[parts] for each in _listed(_changed(part, parts, change), parts)],
        }
    steps = change(step)
    return step if steps == [step] else {"type": "Sequence", parts: steps}


def _listed(step: Step | None, parts: str) -> list[Step]:
    return step[parts] if step is not None and step["type"] == "Sequence" else [step] if step else []


def _normalizer(step: Step) -> list[Step]:
    if step["type"] == "Lowercase":
        return [SMALL_SIGMA, step]
    return list(_bert(step)) if step["type"] == "BertNormalizer" else [step]


def _bert(step: Step) -> Iterator[Step]:
    """BertNormalizer's steps without Chinese characters."""
    if step["clean_text"]:
        yield _replace(REMOVED)
    if step["lowercase"] if step["strip_accents"] is None else step["strip_accents"]:
        yield from ({"type": "NFD"}, _replace(ACCENT))
    if step["lowercase"]:
        yield from (SMALL_SIGMA, {"type": "Lowercase"})


def _replace(pattern: str) -> Step:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": ""}


def _pre_tokenizer(step: Step) -> list[Step]:
    if step["type"] == "BertPreTokenizer":
        return [ALONE, step]
    if step["type"] == "ByteLevel" and step["use_regex"] and not step["add_prefix_space"]:
        return [BY_WORDS, {**step, "use_regex": False}]
    return [step]
