"""Makes text that others wrote safe to print: without control characters, passwords and tokens."""

import os
import re
from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice

HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0, DEL and C1: a terminal obeys them
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction marks can make a line read as another line
    "\u2028\u2029"  # line and paragraph separators
    "\ufeff"
    "\ud800-\udfff]"  # surrogates, which UTF-8 cannot encode
)

USER_INFO = re.compile(r"(?<=://)[^\s/?#@]*(?:@[^\s/?#@]*)*@")
"""The `user:password@` part of an address."""

TOKEN = re.compile(
    r"\b(?:(hf_)[A-Za-z0-9]{30,}|(ms-)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(Bearer )[\w.~+/-]{8,}=*)"
)
"""The hubs' tokens, recognised by their first characters, and the content of an Authorization header."""

TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "MODELSCOPE_API_TOKEN")

SHORTEST_TOKEN = 8
"""The least length of a token from a variable; a shorter token could match ordinary words."""


def shown(text: str) -> str:
    r"""The text on one line, safe for a message, a log or a card: `\u001b` replaces an escape character.

    The escapes are JSON's, so that a JSON text keeps its value. An escaped text stays the same.
    """
    return HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def shown_lines(text: str) -> str:
    """Like `shown`, for our own text of several lines: its line breaks stay."""
    return "\n".join(map(shown, text.split("\n")))


def masked(text: str) -> str:
    """The text with `***` in place of passwords in addresses and of hub tokens."""
    for name in TOKEN_VARIABLES:
        if len(token := os.environ.get(name, "").strip()) >= SHORTEST_TOKEN:
            text = text.replace(token, "***")
    return TOKEN.sub(r"\1\2\3***", USER_INFO.sub("***@", text))


LONGEST_NAME, MOST_NAMES = 100, 1_000
"""A longer name is no typing error; comparing takes a millisecond for each known name of this length."""


def near(name: str, known: Iterable[str]) -> str:
    """A sentence that proposes the known names nearest to a mistyped name, with a space before it; or nothing."""
    if len(name) > LONGEST_NAME:
        return ""
    known = islice(known, MOST_NAMES)
    names = {each.casefold(): each for each in known if len(each) <= LONGEST_NAME}
    found = [names[each] for each in get_close_matches(name.casefold(), names, n=3, cutoff=0.75)]
    return f" Did you mean {' or '.join(found)}?" if found else ""
