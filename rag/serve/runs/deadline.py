"""The time limit of a run, which a shutdown or a cancellation brings forward."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from rag.serve.errors import Problem

T = TypeVar("T")


class Deadline:
    """A limit that begins with `start` and holds for everything awaited through `within`.

    It must be closed.

    Args:
        seconds: The limit.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: asyncio.Timeout | None = None
        self._over: Problem | None = None
        """Why the time is over."""

    def start(self) -> None:
        """The time begins now."""
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._expire)

    def close(self) -> None:
        """Nothing is awaited any more."""
        if self._timer is not None:
            self._timer.cancel()

    def interrupt(self, why: Problem) -> None:
        """The time is over now.

        Args:
            why: What whoever waits gets.
        """
        self._over = why
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())

    async def within(self, work: Awaitable[T]) -> T:
        """The result of some work.

        Raises:
            Problem: 504, the time is over; or why it was interrupted.
        """
        try:
            # One timer for the whole run: an own one for each event would cost more than the event.
            async with asyncio.timeout_at(0.0 if self._over else None) as self._waiting:
                return await work
        except TimeoutError as error:
            if self._over is None or self._waiting is None or not self._waiting.expired():
                raise
            raise self._over from error
        finally:
            self._waiting = None

    def _expire(self) -> None:
        if self._over is None:
            self.interrupt(
                Problem(
                    504, "run_timeout", f"the run took longer than {self._seconds:g} s",
                    fix="ask for less, or raise the server's run_timeout",
                )
            )  # fmt: skip
