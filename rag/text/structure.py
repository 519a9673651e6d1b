"""What a reader knows of a text's structure that the text itself does not say."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

KEY = "structure"
"""Where it is in a document's metadata; splitting takes it out."""

Markup = Literal["markdown", "none"]


@dataclass(frozen=True)
class Structure:
    """How a text is divided.

    Attributes:
        markup: `markdown`: lines that begin with # are headings. `none`: they are not.
        headings: Where the text under a heading starts, the heading's level from 1, the heading;
            in the order of the text. With `markup: none` these are all headings there are.
        rows: Where a row of a table or a record starts, and its number in the file; in order.
    """

    markup: Markup = "markdown"
    headings: tuple[tuple[int, int, str], ...] = ()
    rows: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Self:
        """That of a document; without one its text is taken for Markdown."""
        found = metadata.get(KEY)
        if not isinstance(found, Mapping):
            return cls()
        return cls(
            "none" if found.get("markup") == "none" else "markdown",
            tuple((int(at), int(level), str(title)) for at, level, title in found["headings"]),
            tuple((int(at), int(row)) for at, row in found["rows"]),
        )

    def metadata(self) -> dict[str, Any]:
        """As metadata of a document, which can be JSON."""
        return {KEY: asdict(self)}

    def rows_of(self, start: int, end: int) -> tuple[int, int] | None:
        """First and last row that a part of the text has some of; None: it has none."""
        first = max(bisect_right(self.rows, start, key=_place) - 1, 0)
        last = bisect_left(self.rows, end, key=_place) - 1
        return (self.rows[first][1], self.rows[last][1]) if first <= last else None


def _place(row: tuple[int, int]) -> int:
    return row[0]


MARKDOWN = Structure()
"""Markdown, whose headings are found in the text."""
PLAIN = Structure(markup="none")
"""Text without headings."""
