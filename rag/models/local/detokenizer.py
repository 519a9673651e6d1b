"""From tokens to text, as they are generated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Detokenizer:
    """Turns tokens into text one by one; holds back what may become a stop text.

    Args:
        tokenizer: A `FastTokenizer`, or a tokenizer of transformers.
        stop: Texts that end the answer.
    """

    def __init__(self, tokenizer: Any, stop: tuple[str, ...]) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(s for s in stop if s)
        self._ids: list[int] = []
        self._start = 0
        """The tokens before it are decoded for good."""
        self._pending = ""
        self.text = ""
        """All text that was returned so far."""

    @property
    def tokens(self) -> int:
        """How many tokens were added so far."""
        return len(self._ids)

    def add(self, token: int) -> tuple[str, bool]:
        """Add a token; returns the text that is certain now, and whether a stop text came."""
        self._ids.append(token)
        self._pending += self._decode(final=False)
        for stop in self._stop:
            at = self._pending.find(stop)
            if at >= 0:
                piece, self._pending = self._pending[:at], ""
                self._start = len(self._ids)
                self.text += piece
                return piece, True
        held = max((_overlap(self._pending, stop) for stop in self._stop), default=0)
        piece = self._pending[: len(self._pending) - held]
        self._pending = self._pending[len(piece) :]
        self.text += piece
        return piece, False

    def rest(self) -> str:
        """What was held back; call it once, at the end."""
        piece = self._pending + self._decode(final=True)
        self._pending = ""
        self.text += piece
        return piece

    def _decode(self, *, final: bool) -> str:
        # Decoding with the tokens before gives the right spaces; an unfinished character waits.
        context = self._ids[max(0, self._start - 8) : self._start]
        before = self._tokenizer.decode(context)
        after = self._tokenizer.decode(context + self._ids[self._start :])
        if after.endswith("\ufffd") and not final:
            return ""
        self._start = len(self._ids)
        return str(after[len(before) :])


def cut(pieces: Sequence[str], text: str) -> list[str]:
    """The pieces that make up the text, cut where it ends."""
    result, left = [], len(text)
    for piece in pieces:
        result.append(piece[: max(left, 0)])
        left -= len(piece)
    return result


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of `text` that `stop` begins with."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
