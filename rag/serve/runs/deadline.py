"""The time limit of a run, which a shutdown or a cancellation brings forward."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from rag.serve.errors import Problem

T = TypeVar("T")


class Deadline:
    """A limit that begins with `start` and holds for everything awaited through `within`.

    Args:
        seconds: The limit.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._when: float | None = None
        self._waiting: asyncio.Timeout | None = None
        self._interrupted: Problem | None = None

    def start(self) -> None:
        """The time begins now."""
        self._when = asyncio.get_running_loop().time() + self._seconds

    def interrupt(self, why: Problem) -> None:
        """The time is over now.

        Args:
            why: What whoever waits gets.
        """
        self._interrupted = why
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())

    async def within(self, work: Awaitable[T]) -> T:
        """The result of some work.

        Raises:
            Problem: 504, the time is over; or why it was interrupted.
        """
        when = 0.0 if self._interrupted else self._when
        try:
            async with asyncio.timeout_at(when) as self._waiting:
                return await work
        except TimeoutError as error:
            if self._interrupted is not None:
                raise self._interrupted from error
            if self._waiting is None or not self._waiting.expired():
                raise
            raise Problem(
                504, "run_timeout", f"the run took longer than {self._seconds:g} s",
                fix="ask for less, or raise the server's run_timeout",
            ) from error  # fmt: skip
        finally:
            self._waiting = None
