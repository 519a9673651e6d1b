"""The event loop of synchronous callers: one for the process, in a thread of its own.

An asynchronous client (of a model's API, of a database) belongs to the loop that it was first
used in. Synchronous calls therefore share one loop that lives as long as the process; a loop per
call would break the client at the second call.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any, Generic, TypeVar

from rag.flow.run.threads import THREADS

T = TypeVar("T")


class Submitted(Generic[T]):
    """A coroutine on a loop in another thread.

    Args:
        work: The coroutine.
        loop: The loop.
        thread: The loop's thread.
    """

    def __init__(
        self,
        work: Coroutine[Any, Any, T],
        loop: asyncio.AbstractEventLoop,
        thread: threading.Thread | None,
    ) -> None:
        self._loop, self._thread = loop, thread
        self._task: asyncio.Task[T] | None = None
        self._ended: concurrent.futures.Future[T] = concurrent.futures.Future()

        def start() -> None:
            self._task = loop.create_task(work)
            self._task.add_done_callback(self._end)

        loop.call_soon_threadsafe(start)

    def _end(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self._ended.set_exception(concurrent.futures.CancelledError())
        elif (error := task.exception()) is not None:
            self._ended.set_exception(error)
        else:
            self._ended.set_result(task.result())

    def result(self) -> T:
        """Wait for the coroutine's result."""
        return self._ended.result()

    def when_ended(self, callback: Callable[[], None]) -> None:
        """Call `callback` once the coroutine has ended, well or not."""
        self._ended.add_done_callback(lambda _: callback())

    def cancel(self) -> None:
        """Cancel the coroutine, unless it has ended, and wait until it has."""
        if self._ended.done():
            return
        self._loop.call_soon_threadsafe(lambda: self._task and self._task.cancel())
        # A generator may be finalised on the loop itself, which cannot wait for its own task.
        if threading.current_thread() is not self._thread:
            concurrent.futures.wait([self._ended])


class Runtime:
    """An event loop in a daemon thread, started at first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._nested: Runtime | None = None

    def submit(self, work: Coroutine[Any, Any, T]) -> Submitted[T]:
        """Run a coroutine on the loop; it sees the caller's context variables."""
        loop = self._running()
        if threading.current_thread() is self._thread:
            # A step on this loop calls a flow synchronously and waits: another loop must run it.
            if self._nested is None:
                self._nested = Runtime()
            return self._nested.submit(work)
        return Submitted(work, loop, self._thread)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine; an interrupt from the keyboard cancels it."""
        submitted = self.submit(work)
        with THREADS.waiting():
            try:
                return submitted.result()
            except BaseException:
                submitted.cancel()
                raise

    def iterate(self, items: AsyncGenerator[T, None]) -> Iterator[T]:
        """The items of an asynchronous generator, which is closed in the end."""

        async def following() -> T | None:
            return await anext(items, None)

        try:
            while (item := self.run(following())) is not None:
                yield item
        finally:
            self.run(_closed(items))

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._pid != os.getpid():  # a forked process has no thread
                self._loop, self._pid = asyncio.new_event_loop(), os.getpid()
                self._thread = threading.Thread(target=self._host, name="rag-loop", daemon=True)
                self._thread.start()
            return self._loop

    def _host(self) -> None:
        loop = self._loop
        assert loop is not None  # noqa: S101 - set before the thread starts
        asyncio.set_event_loop(loop)
        while True:
            # A step that raises SystemExit ends its caller's run, which the loop tells next.
            with suppress(SystemExit, KeyboardInterrupt):
                loop.run_forever()


async def _closed(items: AsyncGenerator[Any, None]) -> None:
    await items.aclose()


RUNTIME = Runtime()
"""The process's loop."""
