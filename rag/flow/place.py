"""Where a node stands in its flow, and which of its occurrences in a run one speaks of.

Everything that names a part of a flow (events, errors, spans, the journal, drawings, the
server) takes the name from here.
"""

from __future__ import annotations

import re
from typing import Self

ITEM, TURN, DEPTH = "#", "@", "^"
"""The marks of an item of a map (from 0), a turn of a loop and a depth of recursion (from 1)."""

_SPECIAL = re.compile(r"[%/#@^:]|^\.")
_COUNT = re.compile(r"[#@^]\d+$")


class Place(tuple[str, ...]):
    """A path of segments, from the flow down: `search/words/bm25`, `answer@2/generate`.

    A segment is a step's or construct's label (`bm25`, or `bm25:2` for the second of that label
    in a sequence), the name of a branch, or a role with a leading dot (`.join`, `.default`,
    `.fallback`). Special characters in names are percent-encoded, so that no two nodes share a
    place. A place whose segments carry counts is one occurrence in a run: `#3` is an item of a
    map, `@2` a turn of a loop. `^1` is a depth of recursion, and the whole place from the flow
    down follows it. Equal places are equal values.
    """

    __slots__ = ()

    def __str__(self) -> str:
        return "/".join(self)

    def __repr__(self) -> str:
        return f"Place({str(self)!r})"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The place whose `str` is `text`."""
        return cls(text.split("/")) if text else cls()

    def below(self, *segments: str) -> Place:
        """A place below this one; empty segments are left out."""
        return Place((*self, *(segment for segment in segments if segment)))

    def counted(self, mark: str, number: int) -> Place:
        """This place as one occurrence: item, turn or depth number `number`."""
        return Place((*self[:-1], f"{self[-1]}{mark}{number}"))

    def call(self, number: int = 1) -> Place:
        """The flow that the step here runs itself, the first time or the `number`-th."""
        return self.below(".run").counted(ITEM, number - 1)

    @property
    def static(self) -> Place:
        """The place in the flow: without counts, and of a recursion the innermost flow's."""
        start = 0
        for index, text in enumerate(self):
            if DEPTH in text:
                start = index + 1
        return Place(_COUNT.sub("", text) for text in self[start:])

    @property
    def parent(self) -> Place:
        """One level up; the whole flow's is its own."""
        return Place(self[:-1])

    def is_within(self, other: Place) -> bool:
        """Whether this place is `other` or below it."""
        return self[: len(other)] == tuple(other)


def segment(name: str, ordinal: int = 1) -> str:
    """A name as one segment of a place.

    Args:
        name: Any text.
        ordinal: Which of the siblings of that name, from 1.
    """
    text = _SPECIAL.sub(lambda found: f"%{ord(found[0]):02X}", name) or "%"
    return text if ordinal == 1 else f"{text}:{ordinal}"
