"""A notice on a card that a person wrote: it says that nothing proves the model's computation, and why."""

import re

from ..words import Words

HEADER = re.compile(rb"\A(?:\xef\xbb\xbf)?---[ \t]*\r?\n.*?^---[ \t]*(\r?\n|\Z)", re.DOTALL | re.MULTILINE)
"""A card's metadata."""

NOTICE = (
    "> **Not verified / 未经验证**: nothing shows that this model computes what its original computes: {reason}. / "
    "没有证据表明该模型与原模型的计算结果一致。\n"
)

OLD_NOTICE = re.compile("\n> \\*\\*Not verified / 未经验证\\*\\*: [^\n]*\n\n?".encode())


def with_notice(card: bytes, reason: Words | None) -> bytes:
    """A card with a notice after its metadata that says why the model is not verified; without `reason`, no notice."""
    card, notices = OLD_NOTICE.subn(b"", card)
    if reason is None:
        return card
    header = HEADER.match(card)
    end = header.end() if header else 0
    head = card[:end] if card[:end].endswith(b"\n") or not end else card[:end] + b"\n"
    body = card[end:] if notices else card[end:].lstrip()
    return head + f"\n{NOTICE.format(reason=reason.en)}\n".encode() + body
