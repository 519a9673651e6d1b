"""Calls of a model's server: so many at once, and again after the time that it asks for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

T = TypeVar("T")

ATTEMPTS = 5
LONGEST = 60.0
"""Seconds that are waited at most; a server that asks for more gives its error at once."""
LIMITED = (429, 503, 529)
"""HTTP statuses of a server that is busy, or wants fewer requests."""
CONNECTIONS = 100
"""Connections of another event loop in a client's pool, at most: as httpx has them."""


class RateLimit:
    """The calls of one model.

    When the server refuses a call for now, all calls wait as long as it says (`Retry-After`), or
    1, 2, 4 and 8 seconds, since they share its limit.

    Args:
        concurrency: Calls at once.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self, concurrency: int, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._concurrency = concurrency
        self._sleep = sleep
        # What asyncio waits with belongs to the event loop that it was first used in.
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Gate] = WeakKeyDictionary()

    async def stream(self, call: Callable[[], AsyncIterator[T]]) -> AsyncGenerator[T]:
        """What a call gives, made again while it is refused for now and has given nothing.

        Args:
            call: Begins it.
        """
        gate = self._gate()
        attempt = moved = 0
        while True:
            await gate.opened()
            begun = False
            try:
                async with (
                    gate.places,
                    aclosing(cast("AsyncGenerator[T]", call())) as pieces,
                ):
                    async for piece in pieces:
                        begun = True
                        yield piece
                return
            except Exception as error:  # each provider's client has its own
                if not begun and _of_another_loop(error) and moved < CONNECTIONS:
                    moved += 1
                    continue
                seconds = waiting_time(error, attempt)
                if begun or seconds is None or attempt == ATTEMPTS - 1:
                    raise
            attempt += 1
            await gate.closed_for(self._sleep, seconds)

    async def once(self, call: Callable[[], Awaitable[T]]) -> T:
        """As `stream`, for a call that gives one result."""

        async def single() -> AsyncIterator[T]:
            yield await call()

        async with aclosing(self.stream(single)) as results:
            async for result in results:
                return result
        raise RuntimeError("a call ended without a result")

    def _gate(self) -> _Gate:
        return self._loops.setdefault(asyncio.get_running_loop(), _Gate(self._concurrency))


def _of_another_loop(error: BaseException) -> bool:
    """Whether a client took a connection that belongs to another event loop.

    A client that was called in one event loop and then in another has connections of the first
    in its pool, and drops each when it fails.
    """
    said = ("event loop is closed", "different event loop", "different loop")
    return isinstance(error, RuntimeError) and any(one in str(error).lower() for one in said)


class _Gate:
    """The calls of one event loop."""

    def __init__(self, concurrency: int) -> None:
        self.places = asyncio.Semaphore(concurrency)
        self._pause: asyncio.Future[None] | None = None

    async def opened(self) -> None:
        while self._pause is not None:
            await asyncio.shield(self._pause)

    async def closed_for(self, sleep: Callable[[float], Awaitable[None]], seconds: float) -> None:
        """Let nobody begin a call for so many seconds; calls refused together wait once."""
        if self._pause is None:
            self._pause = asyncio.ensure_future(self._paused(sleep, seconds))
        await asyncio.shield(self._pause)

    async def _paused(self, sleep: Callable[[float], Awaitable[None]], seconds: float) -> None:
        try:
            await sleep(seconds)
        finally:
            self._pause = None


def waiting_time(error: BaseException, attempt: int) -> float | None:
    """Seconds after which a refused call may be made again; None: it was not refused for now.

    Args:
        error: Of any provider's client; its status and headers are looked for where those of
            OpenAI, Anthropic and httpx have them.
        attempt: From 0; counts where the server does not say how long.
    """
    response = getattr(error, "response", None)
    status = getattr(error, "status_code", None) or getattr(response, "status_code", None)
    if status not in LIMITED:
        return None
    headers: Any = getattr(response, "headers", None) or {}
    seconds = _asked_for(headers)
    if seconds is None:
        return float(2**attempt)
    return seconds if seconds <= LONGEST else None


def _asked_for(headers: Any) -> float | None:
    """The seconds of `retry-after-ms` or `Retry-After`, which may be a date."""
    try:
        if (milliseconds := headers.get("retry-after-ms")) is not None:
            return max(float(milliseconds) / 1000, 0.0)
        value = headers.get("retry-after")
        if value is None:
            return None
        try:
            return max(float(value), 0.0)
        except ValueError:
            until = parsedate_to_datetime(value)
            return max((until - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None
