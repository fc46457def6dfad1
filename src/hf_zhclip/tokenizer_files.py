"""What a tokenizer's files would cost the libraries that read them, which trust every number in them.

transformers compares special tokens with each other, and the tokenizers library ends the process where a character map
leads out of its bytes, or where a token is so long that its tree is too deep.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np

from .budget import MOST_ADDED_TOKENS, MOST_AROUND, MOST_GROWTH, MOST_MAP_DEPTH, MOST_STEPS, MOST_TOKEN_LENGTH
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
    """Refuses a tokenizer.json with too many added tokens, or with steps that take far more than a text has.

    Raises:
        InputError: see above.
    """
    stated = content.get("added_tokens")
    added = stated if isinstance(stated, list) else []
    if len(added) > MOST_ADDED_TOKENS:
        raise InputError(f"found {len(added):,} added tokens in {file}; at most {MOST_ADDED_TOKENS:,} were wanted.")
    check_lengths((each.get("content") for each in added if isinstance(each, dict)), file)
    steps = [
        *_steps(content.get("normalizer"), RULES.keys() - OF_WORDS, file),
        *_steps(content.get("pre_tokenizer"), {*OF_WORDS, "ByteLevel"}, file),
    ]
    _check_growth(steps, file)
    for step in steps:
        pattern = step["pattern"].get("Regex") if isinstance(step.get("pattern"), dict) else None
        if isinstance(pattern, str) and _may_take_long(pattern):
            raise InputError(
                f"found the pattern {brief(pattern)} in {file}, whose search may take minutes for a single text; a "
                "pattern of few repetitions was wanted."
            )
    model = content.get("model")
    longest = model.get("max_input_chars_per_word") if isinstance(model, dict) else None
    if isinstance(longest, int) and longest > MOST_TOKEN_LENGTH:  # the search for its pieces takes its square
        raise InputError(
            f"found max_input_chars_per_word {brief(longest)} in {file}; at most {MOST_TOKEN_LENGTH:,} were wanted."
        )
    _check_templates(list(_templates(content.get("post_processor"), file)), file)


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


def _steps(step: Any, known: Set[str], file: Path) -> Iterator[Mapping[str, Any]]:
    """The steps of a normaliser or of a pre-tokenizer, those of its sequences in its place.

    JSON is not nested deep enough to exhaust the stack.

    Raises:
        InputError: a step is of no known type. The tokenizers library would look for one with the same fields.
    """
    if step is None:
        return
    kind = step.get("type") if isinstance(step, dict) else None
    if kind == "Sequence":
        for name in ("normalizers", "pretokenizers"):
            for each in step[name] if isinstance(step.get(name), list) else ():
                yield from _steps(each, known, file)
    elif isinstance(kind, str) and kind in known:
        yield step
    else:
        raise InputError(
            f"found {brief(step if kind is None else kind)} among the steps of {file}; wanted types that are known "
            f"here: {', '.join(sorted(known))}."
        )


# What is put around a text


def _templates(processor: Any, file: Path) -> Iterator[Mapping[str, Any]]:
    """The templates of a post-processor; the tokenizers library knows them by their fields, whatever their type says.

    Raises:
        InputError: a part is no object; the library would take a list for a template, too.
    """
    if processor is None:
        return
    if not isinstance(processor, dict):
        raise InputError(f"found {brief(processor)} as a post_processor in {file}; an object was wanted.")
    for each in processor["processors"] if isinstance(processor.get("processors"), list) else ():
        yield from _templates(each, file)
    if {"single", "pair", "special_tokens", "sep", "cls"} & processor.keys():
        yield processor


def _check_templates(templates: Iterable[Mapping[str, Any]], file: Path) -> None:
    """Refuses templates that repeat a text, put many tokens around it, or name one that they do not define."""
    around = 0
    for template in templates:
        around += 2 * bool({"sep", "cls"} & template.keys())  # of BERT's and RoBERTa's own processors
        counts = _counts(template.get("special_tokens"))
        for side, texts in (("single", 1), ("pair", 2)):
            found = template.get(side, [])
            pieces = [_piece(each, file) for each in (found if isinstance(found, list) else [found])]
            tokens = [name for kind, name in pieces if kind == "SpecialToken"]
            if len(pieces) - len(tokens) > texts:
                raise InputError(f"found a post_processor in {file} that repeats a text; once was wanted.")
            if lacking := [name for name in tokens if name not in counts]:
                raise InputError(
                    f"found a post_processor in {file} whose special_tokens lack {brief(lacking[0])}, which it puts "
                    "around a text. Copy the file again from where it comes."
                )
            around += sum(counts[name] for name in tokens)
    if around > MOST_AROUND:
        raise InputError(
            f"found a post_processor in {file} that puts {around:,} tokens around texts; at most {MOST_AROUND} were "
            "wanted."
        )


def _counts(tokens: Any) -> dict[str, int]:
    """How many ids or tokens each of a template's special tokens stands for."""
    found = tokens if isinstance(tokens, dict) else {}
    stated = {name: (each.get("ids"), each.get("tokens")) for name, each in found.items() if isinstance(each, dict)}
    lists = {name: [each for each in both if isinstance(each, list)] for name, both in stated.items()}
    return {name: max(map(len, both)) for name, both in lists.items() if len(both) == 2}


def _piece(piece: Any, file: Path) -> tuple[str, str]:
    """What a piece of a template is, Sequence or SpecialToken, and its name."""
    if isinstance(piece, dict) and len(piece) == 1:
        (kind, content), *_ = piece.items()
        if kind in ("Sequence", "SpecialToken") and isinstance(content, dict) and isinstance(content.get("id"), str):
            return kind, content["id"]
    raise InputError(f"found {brief(piece)} in the post_processor of {file}; a text's or a token's place was wanted.")


# How much longer a text becomes

Growth = dict[str | None, float]
"""How many times as many bytes a character may become by the steps from one on; under None that of all others."""

Rule = Callable[[Mapping[str, Any], Growth], Growth]
"""Takes a step, and the growth by the steps behind it; gives the growth by both."""


def _check_growth(steps: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Refuses steps that make a text far longer together: each next one works on what the last one made."""
    if len(steps) > MOST_STEPS:
        raise InputError(f"found {len(steps):,} steps in {file}; at most {MOST_STEPS:,} were wanted.")
    try:
        times = growth_of(steps)
    except ValueError as error:
        raise InputError(f"found a character map in {file} that {error}; wanted SentencePiece's.") from error
    if times > MOST_GROWTH:
        raise InputError(
            f"found steps in {file} that may make a text {times:,.4g} times as long; {MOST_GROWTH} times at most were "
            "wanted."
        )


def growth_of(steps: Sequence[Mapping[str, Any]]) -> float:
    """How many times as many bytes a text may have after these steps at most; a text has at least one byte.

    Raises:
        ValueError: a character map is damaged.
    """
    growth: Growth = {None: 1.0}
    for step in reversed(steps):
        growth = RULES[step["type"]](step, growth)
    return max(growth.values())


def _becomes(text: Any, growth: Growth) -> float:
    """The bytes that a text of a step may become by the steps behind it."""
    others = growth[None]
    return sum(len(each.encode(errors="replace")) * growth.get(each, others) for each in _text(text))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""  # the library refuses anything else


def _longer(growth: Growth, more: float) -> Growth:
    """Something is put before each character."""
    return {each: times + more for each, times in growth.items()}


def _instead(growth: Growth, character: str, length: float) -> Growth:
    """A character may become something else."""
    times = length / len(character.encode(errors="replace"))
    return {**growth, character: max(growth.get(character, growth[None]), times)}


def _same(step: Mapping[str, Any], growth: Growth) -> Growth:
    return growth


def _times(factor: float) -> Rule:
    """Any character may become any others, of so many times its bytes."""
    return lambda step, growth: {None: factor * max(growth.values())}


def _of_replace(step: Mapping[str, Any], growth: Growth) -> Growth:
    length = _becomes(step.get("content"), growth)
    pattern = step.get("pattern")
    found = pattern if isinstance(pattern, dict) else {}
    text, expression = _text(found.get("String")), _text(found.get("Regex"))
    if literal := text or (LITERAL.fullmatch(expression) and expression):
        return _instead(growth, literal[0], length)
    if expression and _takes_a_character(expression):
        return {each: max(times, length) for each, times in growth.items()}
    return _longer(growth, 2 * length)  # and behind the last character


def _of_byte_level(step: Mapping[str, Any], growth: Growth) -> Growth:
    others = 2 * max(growth.values())
    return {None: 2 * others if step.get("add_prefix_space") else others}


def _of_metaspace(step: Mapping[str, Any], growth: Growth) -> Growth:
    length = _becomes(step.get("replacement"), growth)
    return _longer(_instead(growth, " ", length), length)


def _of_prepend(step: Mapping[str, Any], growth: Growth) -> Growth:
    return _longer(growth, _becomes(step.get("prepend"), growth))


def _of_map(step: Mapping[str, Any], growth: Growth) -> Growth:
    content = step.get("precompiled_charsmap")
    return {None: max(1.0, _growth_of_map(content)) * max(growth.values())} if content else growth


DIVIDING = (
    *("BertPreTokenizer", "CharDelimiterSplit", "Digits", "FixedLength", "Punctuation", "Split", "UnicodeScripts"),
    *("Whitespace", "WhitespaceSplit"),
)

RULES: Mapping[str, Rule] = {
    "NFC": _times(3),  # these four: Unicode Standard Annex 15, in UTF-8
    "NFD": _times(3),
    "NFKC": _times(11),
    "NFKD": _times(11),
    "Lowercase": _times(1.5),
    "BertNormalizer": _times(3 * 1.5 * 5 / 3),  # NFD, lower case, and spaces around a character of three bytes
    "Nmt": _times(1),
    "Precompiled": _of_map,
    "Replace": _of_replace,
    "Prepend": _of_prepend,
    "ByteLevel": _of_byte_level,
    "Metaspace": _of_metaspace,
    **dict.fromkeys(("Strip", "StripAccents"), _same),
    **dict.fromkeys(DIVIDING, _same),
}
"""The types of steps that the tokenizers library has."""

OF_WORDS = {"Metaspace", *DIVIDING}
"""Those of a pre-tokenizer alone: in a normalizer, the library would look for one with the same fields."""


# Patterns

TOKEN = re.compile(
    r"""(?P<skipped>\\[pPxuUkg]\{[^}]*\}|\\.|\[\^?\]?(?:\\.|\[:[^\]]*:\]|[^\]\\])*\])
    |(?P<open>\((?:\?(?:[:=!>#]|<[=!]|<[^>]*>|[a-zA-Z-]*:))?)|(?P<close>\))|(?P<either>\|)
    |(?P<repeat>[*+]|\{\d*(?:,\d*)?\})[?+]?|(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
"""A part of a regular expression as Oniguruma reads it."""

MOST_REPEATS = 2
"""The repetitions that one alternative of a pattern may hold: those of CLIP, GPT-4 and Qwen hold one or two."""


LITERAL = re.compile(r"[^\\\[\](){}.*+?|^$]+")
"""An expression that fits itself alone."""

STRANGE = re.compile(r"\(\?[^:=!<>]|\\(?![pP]\{)[a-zA-Z0-9]")
"""Options, and escapes, of which some take no character or belong to what follows."""

MANDATORY = re.compile(r"\+.?|\{[1-9][0-9]*,?\}\+?")
"""A repetition that wants what it repeats at least once."""


def _takes_a_character(pattern: str) -> bool:
    """Whether each alternative surely takes a character: what may take none could be found before each character."""
    if STRANGE.search(pattern) or pattern.count("[") > 1:  # a class may hold classes
        return False
    depth, taken, pending = 0, False, False  # pending: a part that takes one, unless it is optional
    for found in TOKEN.finditer(pattern):
        kind, text = found.lastgroup, found[0]
        if kind == "repeat" or text == "?":
            pending = pending and MANDATORY.fullmatch(text) is not None
            continue
        taken = taken or pending
        if kind == "either" and depth == 0:
            if not taken:
                return False
            taken = False
        depth += (kind == "open") - (kind == "close")
        pending = depth == 0 and kind in ("skipped", "other") and text not in "^$"
    return taken or pending


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


def _growth_of_map(text: Any) -> float:
    """How many times as many bytes a text may have after a character map.

    Source: spm_precompiled/src/lib.rs and s-yata/darts-clone. A unit of 32 bits holds the byte that leads to it, an
    offset to its children, and whether a value lies among them.

    Raises:
        ValueError: a lookup would fail, whatever text is looked up.
    """
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError) as error:
        raise ValueError(f"is no base64 ({error})") from error
    size = int.from_bytes(content[:4], "little")
    if size < 4 or size % 4 or len(content) < 4 + size:
        raise ValueError(f"has {len(content)} bytes and states {size} bytes of units")
    units, replacements = np.frombuffer(content, "<u4", size // 4, 4).astype(np.int64), content[4 + size :]
    try:
        replacements.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError("holds replacements that are no UTF-8") from error
    letters = np.frombuffer(replacements, np.uint8)
    return max((_longest(found, letters) / depth for depth, found in _values(units) if len(found)), default=1.0)


def _values(units: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The values that lookups find, level by level of the tree: the bytes that lead to them, and the values.

    Raises:
        ValueError: a lookup would lead out of the units.
    """
    letters = np.arange(1, 256)
    bases = _offsets(units[:1])
    seen = np.zeros(len(units) + 256, dtype=bool)
    for depth in range(1, MOST_MAP_DEPTH + 1):
        if not len(bases):
            return
        _check_inside(bases | 255, units)
        seen[bases] = True
        found, values = [], []
        for part in np.array_split(bases, len(bases) // 4096 + 1):
            places = part[:, None] ^ letters
            is_child = (units[places] & 0x800000FF) == letters
            children = places[is_child]
            inner = children ^ _offsets(units[children])
            leaves = inner[(units[children] >> 8 & 1) == 1]
            _check_inside(leaves, units)
            values.append(units[leaves] & 0x7FFFFFFF)
            found.append(inner)
        yield depth, np.concatenate(values)
        inner = np.unique(np.concatenate(found))
        _check_inside(inner, units)
        bases = inner[~seen[inner]]
    if len(bases):
        raise ValueError(f"replaces more than {MOST_MAP_DEPTH} bytes at once")


def _check_inside(places: np.ndarray, units: np.ndarray) -> None:
    if len(places) and places.max() >= len(units):
        raise ValueError("leads out of its own bytes")


def _offsets(units: np.ndarray) -> np.ndarray:
    return units >> 10 << ((units & 0x200) >> 6)


def _longest(values: np.ndarray, letters: np.ndarray) -> int:
    """The bytes of the longest replacement; a value is the place where one begins, and a zero byte ends it."""
    if values.max() >= len(letters) or ((letters[values] & 0xC0) == 0x80).any():
        raise ValueError("leads out of its replacements")
    ends = np.append(np.flatnonzero(letters == 0), len(letters))
    return int((ends[np.searchsorted(ends, values)] - values).max())
