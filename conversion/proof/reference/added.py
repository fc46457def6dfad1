"""Added tokens: words beside a tokenizer's model, at which a text is cut before the model sees it.

Source: huggingface/tokenizers, tokenizer/added_vocabulary.rs (`find_matches`, `extract_and_normalize`).
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

# Unicode's White_Space, the meaning of \s in the library's patterns; Python's \s also matches U+001C to U+001F.
WHITE_SPACE = frozenset("\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000")
WHITE_SPACE |= frozenset(map(chr, range(0x2000, 0x200B)))


@dataclass(frozen=True)
class Added:
    """An added token: its text, and how it is found.

    A `normalized` token is found in the normalised text, any other in the text itself. A `single_word` is found only
    where no letter or digit stands beside it. `left` and `right`: it includes the white space there.
    """

    text: str
    normalized: bool = False
    single_word: bool = False
    left: bool = False
    right: bool = False


def parts(text: str, added: Sequence[Added], normalise: Callable[[str], str]) -> Iterator[Added | str]:
    """The text cut at added tokens: the tokens themselves, and the other parts, normalised."""
    raw = [(token.text, token) for token in added if not token.normalized]
    prepared = [(normalise(token.text), token) for token in added if token.normalized]
    for part in _cut(text, raw):
        if isinstance(part, Added):
            yield part
        else:
            yield from _cut(normalise(part), prepared)


def _cut(text: str, patterns: Sequence[tuple[str, Added]]) -> Iterator[Added | str]:
    """The text cut at the patterns; of two at one place, the longer counts."""
    tokens = {pattern: token for pattern, token in patterns if pattern}
    start = 0
    for match in re.finditer("|".join(map(re.escape, sorted(tokens, key=len, reverse=True))), text) if tokens else ():
        token, (first, end) = tokens[match[0]], match.span()
        if token.single_word and (_is_word(text[first - 1 : first]) or _is_word(text[end : end + 1])):
            continue
        while token.left and first > start and text[first - 1] in WHITE_SPACE:
            first -= 1
        while token.right and end < len(text) and text[end] in WHITE_SPACE:
            end += 1
        if start < first:
            yield text[start:first]
        yield token
        start = end
    if start < len(text):
        yield text[start:]


def _is_word(character: str) -> bool:
    return character != "" and (unicodedata.category(character)[0] in "LM" or _is_number_or_joint(character))


def _is_number_or_joint(character: str) -> bool:
    return unicodedata.category(character) in ("Nd", "Nl", "Pc") or character in "\u200c\u200d"
