"""Text that others wrote, as Markdown shows it: it ends no block, no table and no code, and is no HTML and no link."""

import re

from hf_zhclip.telling import shown


def plain(text: str) -> str:
    """A text that Markdown shows unchanged."""
    return re.sub(r"([\\`*\[\]<>|~#])", r"\\\1", _line(text))


def code(text: str) -> str:
    """A text as a code span: its fence is longer than every run of backticks in it (CommonMark 0.31, 6.1)."""
    line = shown(text)
    fence = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def sentence(text: str) -> str:
    """A sentence of a report: its code between single backticks stays; other markup is shown as it is written."""
    line = _line(text)
    if "``" in line or line.count("`") % 2:
        return plain(line)
    parts = line.split("`")
    return "`".join(part if number % 2 else _without_markup(part) for number, part in enumerate(parts))


def _without_markup(text: str) -> str:
    return re.sub(r"(\\|<(?=[A-Za-z/!?])|\](?=[(\[:]))", r"\\\1", text)


def _line(text: str) -> str:
    return shown(" ".join(str(text).split()))
