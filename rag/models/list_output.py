"""Lists that a model wrote, as lines."""

from __future__ import annotations

import re

from rag.prompts.sanitize import harmless
from rag.text.abstention import refuses

_BULLET = re.compile(r"^\s*(?:(?:[-*\u2022\u2013]|\(?\d{1,2}[.):]|[a-z][.)])\s+)?")


def lines(text: str, most: int, *, but: str = "") -> list[str]:
    """The different lines of a list that a model wrote, without numbers and bullets.

    A line that declines to write the list is none of it.

    They may quote documents, and are put into prompts as questions, so they are sanitised.

    Args:
        text: What it wrote.
        most: Lines at most.
        but: A line to leave out, such as the question itself.
    """
    found: dict[str, str] = {}
    for line in text.splitlines():
        plain = harmless(_BULLET.sub("", line, count=1).strip().strip("\"'`*"))
        key = plain.casefold()
        wanted = re.search(r"\w", plain) and not plain.endswith(":") and not refuses(plain)
        if wanted and key != but.strip().casefold():
            found.setdefault(key, plain)
    return list(found.values())[:most]


def first_line(text: str) -> str:
    """The first line with a word in it, without quotes and bullets; empty if there is none."""
    return next(iter(lines(text, 1)), "")
