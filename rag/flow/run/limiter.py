"""A limit on how many may do something at the same time, over all event loops and threads."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress


class Limiter:
    """`async with limiter:` waits its turn, first come first served.

    Args:
        limit: At most so many inside.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._lock = threading.Lock()
        self._waiting: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()

    async def __aenter__(self) -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            if self._free > 0:
                self._free -= 1
                return
            self._waiting.append((loop, future))
        try:
            await future
        except asyncio.CancelledError:
            with self._lock:
                if (loop, future) in self._waiting:
                    self._waiting.remove((loop, future))
                    raise
            await self.__aexit__()  # the turn had been given: it goes to the next
            raise

    async def __aexit__(self, *_: object) -> None:
        with self._lock:
            while self._waiting:
                loop, future = self._waiting.popleft()
                with suppress(RuntimeError):  # its loop was closed: nobody waits there
                    loop.call_soon_threadsafe(_give, future)
                    return
            self._free += 1


def _give(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
