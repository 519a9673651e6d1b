"""Independent calls of a model together: so many at once, the results in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


async def together(
    call: Callable[[S], Awaitable[T]], inputs: Iterable[S], concurrency: int
) -> list[T]:
    """The results of a call for each of the inputs, in their order.

    When one fails, the others are cancelled, and no further one begins.

    Args:
        call: Makes one.
        inputs: One for each call.
        concurrency: Calls at once.

    Raises:
        Exception: What the first call that failed raised.
    """
    given = list(inputs)
    results: dict[int, T] = {}
    waiting = iter(range(len(given)))

    async def work() -> None:
        for at in waiting:
            results[at] = await call(given[at])

    workers = [asyncio.ensure_future(work()) for _ in range(min(concurrency, len(given)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return [results[at] for at in range(len(given))]
