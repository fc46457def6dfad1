"""What a tokenizer's files would cost the libraries that read them, which trust every number in them.

transformers compares special tokens with each other, and the tokenizers library ends the process where a character map
leads out of its bytes, or where a token is so long that its tree is too deep.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .budget import MOST_ADDED_TOKENS, MOST_MAP_DEPTH, MOST_REPLACEMENT, MOST_TOKEN_LENGTH
from .errors import InputError
from .json_files import brief, read_any_json

SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
"""Files beside a vocabulary that add tokens to it."""


def check_added_tokens(folder: Path) -> None:
    """Refuses settings beside a vocabulary that name more tokens than a tokenizer has.

    Raises:
        InputError: see above; or a file is no JSON.
    """
    for file in (folder / name for name in SETTINGS):
        content = read_any_json(file) if file.is_file() else {}
        fields = content.values() if isinstance(content, dict) else ()
        for tokens in (content, *fields):
            if isinstance(tokens, dict | list) and len(tokens) > MOST_ADDED_TOKENS:
                raise InputError(
                    f"found {len(tokens):,} tokens or settings in {file}; at most {MOST_ADDED_TOKENS:,} were wanted."
                )


def check_steps(content: Mapping[str, Any], file: Path) -> None:
    """Refuses a tokenizer.json with too many added tokens, or with a step that would end the process.

    Raises:
        InputError: see above.
    """
    added = content.get("added_tokens")
    if isinstance(added, list) and len(added) > MOST_ADDED_TOKENS:
        raise InputError(f"found {len(added):,} added tokens in {file}; at most {MOST_ADDED_TOKENS:,} were wanted.")
    check_lengths((each.get("content") for each in added or () if isinstance(each, dict)), file)
    for step in _steps(content.get("normalizer")):
        if isinstance(text := step.get("content"), str) and len(text.encode(errors="replace")) > MOST_REPLACEMENT:
            raise InputError(f"found a normalizer in {file} that replaces something by {len(text):,} characters.")
        if isinstance(text := step.get("precompiled_charsmap"), str) and (fault := _fault_of_map(text)):
            raise InputError(f"found a character map in {file} that {fault}; wanted SentencePiece's.")
    for step in (*_steps(content.get("normalizer")), *_steps(content.get("pre_tokenizer"))):
        pattern = step["pattern"].get("Regex") if isinstance(step.get("pattern"), dict) else None
        if isinstance(pattern, str) and _may_take_long(pattern):
            raise InputError(
                f"found the pattern {brief(pattern)} in {file}, whose search may take minutes for a single text; a "
                "pattern of few repetitions was wanted."
            )


def check_lengths(tokens: Iterable[Any], file: Path | str) -> None:
    """Refuses tokens that are longer than words are.

    Raises:
        InputError: the message names the first such token.
    """
    if long := next((each for each in tokens if isinstance(each, str) and len(each) > MOST_TOKEN_LENGTH), None):
        raise InputError(
            f"found a token of {len(long):,} characters in {file} ({brief(long)}); at most {MOST_TOKEN_LENGTH:,} were "
            "wanted."
        )


def _steps(step: Any) -> Iterator[Mapping[str, Any]]:
    """The steps of a normaliser or of a pre-tokenizer, those of its sequences included.

    JSON is not nested deep enough to exhaust the stack.
    """
    if isinstance(step, dict):
        yield step
        for name in ("normalizers", "pretokenizers"):
            for each in step[name] if isinstance(step.get(name), list) else ():
                yield from _steps(each)


TOKEN = re.compile(
    r"""(?P<skipped>\\[pPxuUkg]\{[^}]*\}|\\.|\[\^?\]?(?:\\.|\[:[^\]]*:\]|[^\]\\])*\])
    |(?P<open>\((?:\?(?:[:=!>#]|<[=!]|<[^>]*>|[a-zA-Z-]*:))?)|(?P<close>\))|(?P<either>\|)
    |(?P<repeat>[*+]|\{\d*(?:,\d*)?\})[?+]?|(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
"""A part of a regular expression as Oniguruma reads it."""

MOST_REPEATS = 2
"""The repetitions that one alternative of a pattern may hold: those of CLIP, GPT-4 and Qwen hold one or two."""


def _may_take_long(pattern: str) -> bool:
    """Whether a search may try very many ways: a repeated group that repeats something, or many repetitions."""
    if len(pattern) > MOST_TOKEN_LENGTH:
        return True
    groups, closed = [[0, 0]], 0  # per open group: repetitions of this alternative, and the most of the others
    for found in TOKEN.finditer(pattern):
        kind, group = found.lastgroup, groups[-1]
        if kind == "open":
            groups.append([0, 0])
        elif kind == "either":
            groups[-1] = [0, max(group)]
        elif kind == "repeat":
            if closed:
                return True
            group[0] += 1
        closed = max(groups.pop()) if kind == "close" and len(groups) > 1 else 0
        groups[-1][0] += closed
        if groups[-1][0] > MOST_REPEATS:
            return True
    return False


def _fault_of_map(text: str) -> str | None:
    """What would make a lookup in a character map fail, whatever text is looked up; or None.

    Source: spm_precompiled/src/lib.rs and s-yata/darts-clone. A unit of 32 bits holds the byte that leads to it, an
    offset to its children, and whether a value lies among them.
    """
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        return f"is no base64 ({error})"
    size = int.from_bytes(content[:4], "little")
    if size < 4 or size % 4 or len(content) < 4 + size:
        return f"has {len(content)} bytes and states {size} bytes of units"
    units = np.frombuffer(content, "<u4", size // 4, 4).astype(np.int64)
    return _fault_of_values(_values(units), content[4 + size :])


def _values(units: np.ndarray) -> np.ndarray | None:
    """The values that lookups find, level by level of the tree; None if a lookup would lead out of the units."""
    letters = np.arange(1, 256)
    bases = _offsets(units[:1])
    seen = np.zeros(len(units) + 256, dtype=bool)
    values = [np.zeros(0, dtype=np.int64)]
    for _ in range(MOST_MAP_DEPTH):
        if not len(bases):
            return np.concatenate(values)
        if (bases | 255).max() >= len(units):
            return None
        seen[bases] = True
        found = []
        for part in np.array_split(bases, len(bases) // 4096 + 1):
            places = part[:, None] ^ letters
            is_child = (units[places] & 0x800000FF) == letters
            children = places[is_child]
            inner = children ^ _offsets(units[children])
            leaves = inner[(units[children] >> 8 & 1) == 1]
            if len(leaves) and leaves.max() >= len(units):
                return None
            values.append(units[leaves] & 0x7FFFFFFF)
            found.append(inner)
        inner = np.unique(np.concatenate(found))
        if len(inner) and inner.max() >= len(units):
            return None
        bases = inner[~seen[inner]]
    return None


def _offsets(units: np.ndarray) -> np.ndarray:
    return units >> 10 << ((units & 0x200) >> 6)


def _fault_of_values(values: np.ndarray | None, replacements: bytes) -> str | None:
    if values is None:
        return "leads out of its own bytes"
    try:
        replacements.decode("utf-8")
    except UnicodeDecodeError:
        return "holds replacements that are no UTF-8"
    if not len(values):
        return None
    letters = np.frombuffer(replacements, np.uint8)
    if values.max() >= len(letters) or ((letters[values] & 0xC0) == 0x80).any():
        return "leads out of its replacements"
    ends = np.append(np.flatnonzero(letters == 0), len(letters))
    if (ends[np.searchsorted(ends, values)] - values).max() > MOST_REPLACEMENT:
        return f"replaces a character by more than {MOST_REPLACEMENT} bytes"
    return None
