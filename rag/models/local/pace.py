"""How much of a prompt is computed between two tokens of a request that is decoding."""

from __future__ import annotations

from rag.kvcache.passes import SLICE

GAP = 2.0
"""Time of a slice at most, beside a request that decodes, in passes of decoding."""
LEAST = 32
"""Tokens of a slice at least: smaller ones read all weights for little work."""
_WEIGHT = 0.2
"""Of the newest measurement in the moving averages."""


class Pace:
    """The budget of a round in tokens of prompts: what has been measured decides.

    A slice of `SLICE` tokens costs hardly more than the same tokens at once, but on a processor as
    much as ten tokens of decoding. So while a request decodes, a slice takes at most `GAP` times as
    long as a pass that only decodes.
    """

    def __init__(self) -> None:
        self._decode: float | None = None
        self._token: float | None = None

    @property
    def decode(self) -> float:
        """Seconds of a pass that only decodes; 0: none was measured."""
        return self._decode or 0.0

    def record(self, tokens: int, seconds: float, *, decoding: bool) -> None:
        """Learn from a round.

        Args:
            tokens: Of prompts.
            seconds: That it took.
            decoding: Whether requests decoded in it.
        """
        if not tokens:
            self._decode = _mean(self._decode, seconds)
        elif tokens >= LEAST:
            own = max(0.0, seconds - (self._decode or 0.0)) if decoding else seconds
            self._token = _mean(self._token, own / tokens)

    def tokens(self, *, decoding: bool) -> int:
        """Tokens of prompts in the next round at most.

        Args:
            decoding: Whether a request waits for its next token.
        """
        if not decoding or self._decode is None or not self._token:
            return SLICE
        return max(LEAST, min(SLICE, int(GAP * self._decode / self._token)))


def _mean(before: float | None, now: float) -> float:
    return now if before is None else (1 - _WEIGHT) * before + _WEIGHT * now
