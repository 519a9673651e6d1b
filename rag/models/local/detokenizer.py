"""From tokens to text, while they come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Text:
    """Turns tokens into text as they come; holds back what may yet become a stop string."""

    def __init__(self, tokenizer: Any, stop: tuple[str, ...]) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(s for s in stop if s)
        self._ids: list[int] = []
        self._start = 0
        """Tokens before it are decoded for good."""
        self._pending = ""
        self.said = ""

    @property
    def tokens(self) -> int:
        """How many there are so far."""
        return len(self._ids)

    def add(self, token: int) -> tuple[str, bool]:
        """Take a token; returns the text that is certain now, and whether a stop string came."""
        self._ids.append(token)
        new = self._fresh(final=False)
        self._pending += new
        for stop in self._stop:
            at = self._pending.find(stop)
            if at >= 0:
                piece, self._pending = self._pending[:at], ""
                self._start = len(self._ids)
                self.said += piece
                return piece, True
        held = max((_overlap(self._pending, stop) for stop in self._stop), default=0)
        piece = self._pending[: len(self._pending) - held]
        self._pending = self._pending[len(piece) :]
        self.said += piece
        return piece, False

    def rest(self) -> str:
        """What was held back, at the end."""
        piece = self._pending + self._fresh(final=True)
        self._pending = ""
        self.said += piece
        return piece

    def _fresh(self, *, final: bool) -> str:
        # Decoding with the tokens before gives the right spaces; an unfinished character waits.
        context = self._ids[max(0, self._start - 8) : self._start]
        before = self._tokenizer.decode(context)
        after = self._tokenizer.decode(context + self._ids[self._start :])
        if after.endswith("\ufffd") and not final:
            return ""
        self._start = len(self._ids)
        return str(after[len(before) :])


def cut(pieces: Sequence[str], text: str) -> list[str]:
    """The pieces that make up the text, without what stands behind it."""
    found, left = [], len(text)
    for piece in pieces:
        found.append(piece[: max(left, 0)])
        left -= len(piece)
    return found


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` may be the beginning of `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
