"""A prompt as a value: its parts, before they become the messages of a chat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Turn = tuple[Literal["user", "assistant"], str]
"""Who wrote, and what."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt in parts, so that an engine may reuse what it computed for one of them.

    Numbered chunks come after the history, before the question. Those whose states are to be
    reused come before the history, in the first turn: then what was computed for earlier turns
    stays right. A chunk's own text does not depend on its position, unless it is numbered.
    """

    question: str
    system: str = ""
    chunks: tuple[str, ...] = ()
    """The sources, best first."""
    history: tuple[Turn, ...] = ()
    """Earlier turns, oldest first."""
    numbered: bool = True
    """Whether the chunks are numbered from 1; False where their states are to be reused."""
    continues: bool = False
    """Whether a further turn may follow, for which an engine keeps the states of this one."""
    scopes: tuple[str, ...] = ()
    """Of each chunk the collection that it is of, if any: states of chunks are shared among those
    who may read the collection. Empty: of none."""
