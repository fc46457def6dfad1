"""Makes text that others wrote safe to print: without control characters, passwords and tokens."""

import os
import re

HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0, DEL and C1: a terminal obeys them
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # they turn the writing, so that a line reads as another line
    "\u2028\u2029"  # line and paragraph separators
    "\ufeff"
    "\ud800-\udfff]"  # halves of a character, which UTF-8 cannot hold
)

USER_INFO = re.compile(r"(?<=://)[^\s/?#@]*(?:@[^\s/?#@]*)*@")
"""`user:password@` of an address."""

TOKEN = re.compile(
    r"\b(?:(hf_)[A-Za-z0-9]{30,}|(ms-)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(Bearer )[\w.~+/-]{8,}=*)"
)
"""Tokens of the hubs, by their first characters, and the content of an Authorization header."""

TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "MODELSCOPE_API_TOKEN")

SHORTEST_TOKEN = 8
"""The fewest characters of a token from a variable; a shorter token would be found in ordinary words."""


def shown(text: str) -> str:
    r"""The text on a single line, safe for a message, a log or a card: `\u001b` replaces an escape character.

    The escapes are JSON's, so that JSON keeps its value. A text that was already escaped stays the same.
    """
    return HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def shown_lines(text: str) -> str:
    """Like `shown`, for a text of several lines that we wrote: its line breaks stay."""
    return "\n".join(map(shown, text.split("\n")))


def masked(text: str) -> str:
    """The text with passwords in addresses and tokens of a hub replaced by `***`."""
    for name in TOKEN_VARIABLES:
        if len(token := os.environ.get(name, "").strip()) >= SHORTEST_TOKEN:
            text = text.replace(token, "***")
    return TOKEN.sub(r"\1\2\3***", USER_INFO.sub("***@", text))
