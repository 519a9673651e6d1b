"""An event that is set once, and that coroutines of any event loop may wait for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress


class Signal:
    """`set` may be called from any thread, `wait` awaited in any event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []
        self.is_set = False

    def set(self) -> None:
        """Wake all who wait; later ones do not wait at all."""
        with self._lock:
            self.is_set = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def when_set(self, callback: Callable[[], None]) -> None:
        """Call `callback` once it is set, from whichever thread sets it."""
        with self._lock:
            if not self.is_set:
                self._callbacks.append(callback)
                return
        callback()

    async def wait(self) -> None:
        """Wait until it is set."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not future.done():
                future.set_result(None)

        def from_any_thread() -> None:
            with suppress(RuntimeError):  # the loop has been closed meanwhile
                loop.call_soon_threadsafe(wake)

        self.when_set(from_any_thread)
        await future
