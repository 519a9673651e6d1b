"""Lines that a narrow page broke, put together again."""

from __future__ import annotations

import re
from itertools import pairwise

_OPENS = re.compile(r"\s*(?:[|#>]|[-*+\u2022]\s|\(?(?:\d{1,3}|[A-Za-z])[.)]\s|```)")
"""What begins a line of its own: a table's row, a heading, a quotation, an item of a list."""
_CLOSED = re.compile(r"\s*[|#].*|.*[.!?:\u2026\u3002\uff01\uff1f][\"'\u201d\u2019)\]*_]*\s*")
"""What ends with its line: a table's row, a heading, a sentence."""
NARROWEST = 40
"""Characters: text is not broken into shorter lines, a list or verse is."""
NEAR = 0.9
"""Share of the widest line, for proportional type has no fixed number of characters."""
BROKEN = 0.6
"""Share of the widest line from which on a lower-case letter goes on with it."""


def unwrapped(text: str) -> list[str]:
    """The text's lines, those together that were broken because the next word did not fit.

    Tables, lists and headings keep their lines; so does text without a common width. Only white
    space changes.

    Args:
        text: Paragraphs with lines of any width, as a PDF or a text file has them.
    """
    lines = text.splitlines()
    widest, second = ([*sorted(map(len, lines), reverse=True), 0, 0])[:2]
    page = second >= NEAR * widest  # one line alone is no width
    found = lines[:1]
    for line, following in pairwise(lines):
        if _goes_on(line, following, widest, page=page):
            found[-1] = f"{found[-1].rstrip()} {following.lstrip()}"
        else:
            found.append(following)
    return found


def _goes_on(line: str, following: str, widest: int, *, page: bool) -> bool:
    word = following.split(maxsplit=1)[:1]
    if not word or len(line) < NARROWEST or _CLOSED.fullmatch(line) or _OPENS.match(following):
        return False
    if word[0][0].islower():
        return len(line) >= BROKEN * widest
    return page and len(line) + 1 + len(word[0]) >= NEAR * widest
