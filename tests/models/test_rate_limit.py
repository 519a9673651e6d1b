"""Calls of a server: so many at once, all of them later where it says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import pytest

from rag.models.rate_limit import ATTEMPTS, RateLimit, waiting_time
from rag.models.together import together


class LimitedError(Exception):
    """As OpenAI's and Anthropic's clients raise it."""

    def __init__(self, status: int = 429, **headers: str) -> None:
        super().__init__("slow down")
        self.status_code = status
        self.response = SimpleNamespace(status_code=status, headers=headers)


@pytest.mark.parametrize(
    ("error", "attempt", "seconds"),
    [
        (LimitedError(**{"retry-after": "3"}), 0, 3),
        (LimitedError(**{"retry-after-ms": "250", "retry-after": "3"}), 0, 0.25),
        (LimitedError(), 0, 1),
        (LimitedError(529), 3, 8),
        (LimitedError(**{"retry-after": "soon"}), 1, 2),
        (LimitedError(**{"retry-after": "900"}), 0, None),
        (LimitedError(500), 0, None),
        (LimitedError(400), 0, None),
        (ValueError("no"), 0, None),
        (LimitedError(**{"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}), 0, 0),
    ],
)
def test_how_long_it_waits(error: Exception, attempt: int, seconds: float | None) -> None:
    assert waiting_time(error, attempt) == seconds


def test_a_date_is_waited_for() -> None:
    until = datetime.now(UTC) + timedelta(seconds=30)
    error = LimitedError(**{"retry-after": format_datetime(until, usegmt=True)})
    assert 25 < (waiting_time(error, 0) or 0) <= 30


def test_calls_refused_together_wait_once_and_others_with_them() -> None:
    waits: list[float] = []
    refused: list[int] = []
    begun: list[int] = []
    paused = asyncio.Event()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        paused.set()
        for _ in range(20):  # everybody else may run meanwhile
            await asyncio.sleep(0)
        begun_meanwhile.append(len(begun))

    begun_meanwhile: list[int] = []
    limit = RateLimit(4, sleep)

    async def call(number: int) -> int:
        begun.append(number)
        if len(begun) <= 4:
            refused.append(number)
            await asyncio.sleep(0)
            raise LimitedError(**{"retry-after": "7"})
        return number

    async def everything() -> list[int]:
        return list(
            await asyncio.gather(*(limit.once(lambda n=n: call(n)) for n in range(8)))  # type: ignore[misc]
        )

    assert asyncio.run(everything()) == list(range(8))
    assert (waits, len(refused)) == ([7.0], 4)
    assert begun_meanwhile[0] <= 8  # those that had a place already, nobody new
    assert len(begun) == 12


def test_it_gives_up_in_the_end() -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def call() -> int:
        raise LimitedError

    with pytest.raises(LimitedError):
        asyncio.run(RateLimit(1, sleep).once(call))
    assert waits == [1, 2, 4, 8]
    assert len(waits) == ATTEMPTS - 1


def test_a_stream_that_has_begun_is_not_begun_again() -> None:
    calls: list[int] = []

    async def call() -> AsyncIterator[int]:
        calls.append(1)
        yield 1
        raise LimitedError

    async def collect() -> list[Any]:
        return [piece async for piece in RateLimit(1).stream(call)]

    with pytest.raises(LimitedError):
        asyncio.run(collect())
    assert calls == [1]


def test_it_serves_one_event_loop_after_another() -> None:
    limit = RateLimit(1)

    async def call() -> int:
        await asyncio.sleep(0)
        return 1

    async def both() -> list[int]:
        return list(await asyncio.gather(limit.once(call), limit.once(call)))

    assert asyncio.run(both()) == asyncio.run(both()) == [1, 1]


@pytest.mark.parametrize("concurrency", [1, 3, 20])
def test_independent_calls_run_together_in_order(concurrency: int) -> None:
    now: set[int] = set()
    most = 0

    async def call(number: int) -> int:
        nonlocal most
        now.add(number)
        most = max(most, len(now))
        for _ in range(10 - number):  # the first one ends last
            await asyncio.sleep(0)
        now.discard(number)
        return number * 2

    found = asyncio.run(together(call, range(8), concurrency))
    assert found == [0, 2, 4, 6, 8, 10, 12, 14]
    assert most == min(concurrency, 8)
    assert asyncio.run(together(call, [], 3)) == []


def test_a_failed_call_ends_the_others() -> None:
    begun: list[int] = []
    ended: list[int] = []

    async def call(number: int) -> int:
        begun.append(number)
        if number == 1:
            raise ValueError("no")
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)
        return number

    with pytest.raises(ValueError, match="no"):
        asyncio.run(together(call, range(8), 3))
    assert (begun, ended) == ([0, 1, 2], [0, 2])
