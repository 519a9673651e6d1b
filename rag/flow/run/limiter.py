"""A limit on how many may do something at the same time, over all event loops and threads."""

from __future__ import annotations

import asyncio
import threading
from collections import deque

from rag.flow.run.signal import Signal


class Limiter:
    """`async with limiter:` waits its turn, first come first served.

    Args:
        limit: At most so many inside.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._lock = threading.Lock()
        self._waiting: deque[Signal] = deque()

    async def __aenter__(self) -> None:
        turn = Signal()
        with self._lock:
            if self._free > 0:
                self._free -= 1
                return
            self._waiting.append(turn)
        try:
            await turn.wait()
        except asyncio.CancelledError:
            with self._lock:
                if turn in self._waiting:
                    self._waiting.remove(turn)
                    raise
            self._next()  # the turn had been given: somebody else gets it
            raise

    async def __aexit__(self, *_: object) -> None:
        self._next()

    def _next(self) -> None:
        with self._lock:
            if not self._waiting:
                self._free += 1
                return
            turn = self._waiting.popleft()
        turn.set()
