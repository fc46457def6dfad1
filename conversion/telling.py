"""What others wrote, before a user reads it: no control character, no turn of direction, no password, no token."""

import os
import re

HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0, DEL and C1: a terminal obeys them
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # they turn the direction, so that a line reads as another one
    "\u2028\u2029"  # line and paragraph separators
    "\ufeff"
    "\ud800-\udfff]"  # halves of a character: no UTF-8 can be written of them
)

USER_INFO = re.compile(r"(?<=://)[^\s/?#@]*(?:@[^\s/?#@]*)*@")
"""`user:password@` of an address."""

TOKEN = re.compile(
    r"\b(?:(hf_)[A-Za-z0-9]{30,}|(ms-)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(Bearer )[\w.~+/-]{8,}=*)"
)
"""Tokens of the hubs, by how they begin, and whatever an Authorization header bears."""

TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "MODELSCOPE_API_TOKEN")

SHORTEST_TOKEN = 8
"""Characters of a token that is looked for by itself; a shorter one would be found in ordinary words."""


def shown(text: str) -> str:
    r"""The text on one line, as it may stand in a message, a log or a card: `\u001b` in place of an escape.

    These escapes are JSON's, so that JSON stays the same value. A text that has been through here stays as it is.
    """
    return HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def shown_lines(text: str) -> str:
    """The same for a text of several lines that we wrote: its line breaks stay."""
    return "\n".join(map(shown, text.split("\n")))


def masked(text: str) -> str:
    """The text without passwords in addresses and without tokens, as it may be told of a hub and by one."""
    for name in TOKEN_VARIABLES:
        if len(token := os.environ.get(name, "").strip()) >= SHORTEST_TOKEN:
            text = text.replace(token, "***")
    return TOKEN.sub(r"\1\2\3***", USER_INFO.sub("***@", text))
