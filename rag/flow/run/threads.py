"""Threads for functions that may take long: one bounded pool for steps, one for stores.

The threads are daemons: a function that never returns does not keep the process from exiting.
A job whose caller stopped waiting (a timeout, a cancelled run) cannot be stopped; its thread is
replaced until it ends, and it can see that nobody waits (`RunContext.cancelled`).
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

from rag.flow.run.signal import Signal

LIMIT = 64
"""Functions that run at the same time, over all runs of the process."""

_IDLE_SECONDS = 10.0


class Job:
    """One call of a function in a thread; the function sees the caller's context variables."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function, self._context = function, copy_context()
        self.ended = Signal()
        self.abandoned = False
        """Whether nobody waits for the result any more."""
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Call the function."""
        try:
            if not self.abandoned:
                self.result = self._context.run(self._function)
        except BaseException as error:  # noqa: BLE001 - raised again where the result is awaited
            self.error = error
        self.ended.set()


class Threads:
    """A pool that starts threads when they are needed, and ends them when they are not.

    Args:
        limit: Jobs at the same time, those left out that are abandoned or wait for other runs.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._reset()

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[Job] = deque()
        self._threads = self._idle = self._replaced = 0
        self._pid = os.getpid()
        self._local = threading.local()

    async def call(
        self, function: Callable[[], Any], started: Callable[[Job], None] | None = None
    ) -> Any:
        """The function's result.

        Args:
            function: Takes nothing.
            started: Gets the job before it begins.

        Raises:
            asyncio.CancelledError: The caller was cancelled; the function goes on by itself.
        """
        job = Job(function)
        if started is not None:
            started(job)
        self._submit(job)
        try:
            await job.ended.wait()
        except asyncio.CancelledError:
            job.abandoned = True
            self._replace()
            job.ended.when_set(self._end_replacement)
            raise
        if job.error is not None:
            raise job.error
        return job.result

    async def call_to_the_end(self, function: Callable[[], Any]) -> Any:
        """As `call`, but a caller that is cancelled goes on waiting until the function ended."""
        job, cancelled = Job(function), None
        self._submit(job)
        while not job.ended.is_set:
            try:
                await job.ended.wait()
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled
        if job.error is not None:
            raise job.error
        return job.result

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While a thread of the pool waits for another run, another one works in its place."""
        if not getattr(self._local, "worker", False):
            yield
            return
        self._replace()
        try:
            yield
        finally:
            self._end_replacement()

    def _replace(self) -> None:
        with self._changed:
            self._replaced += 1
            self._start_if_needed()

    def _end_replacement(self) -> None:
        with self._changed:
            self._replaced -= 1

    def _submit(self, job: Job) -> None:
        if self._pid != os.getpid():
            self._reset()  # a forked process has none of the threads
        with self._changed:
            self._queue.append(job)
            self._start_if_needed()

    def _start_if_needed(self) -> None:
        self._changed.notify()
        if len(self._queue) > self._idle and self._threads < self._limit + self._replaced:
            self._threads += 1
            threading.Thread(target=self._work, name="rag-step", daemon=True).start()

    def _work(self) -> None:
        self._local.worker = True
        while (job := self._next()) is not None:
            job.run()
            del job

    def _next(self) -> Job | None:
        """The next job; None ends the thread."""
        with self._changed:
            if self._threads > self._limit + self._replaced:
                self._threads -= 1
                return None
            self._idle += 1
            self._changed.wait_for(lambda: self._queue, _IDLE_SECONDS)
            self._idle -= 1
            if self._queue:
                return self._queue.popleft()
            self._threads -= 1
            return None


THREADS = Threads()
"""The process's pool for steps."""

STORES = Threads(limit=8)
"""The process's pool for reading and writing stores: nothing waits there behind steps."""
