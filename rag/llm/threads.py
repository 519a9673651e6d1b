"""Work that yields in a thread of its own, read without blocking the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from typing import TypeVar

T = TypeVar("T")

_END = object()


async def streamed(
    work: Callable[[Callable[[], bool]], Iterator[T]], lock: AbstractContextManager[object]
) -> AsyncIterator[T]:
    """What `work` yields, as it comes; closing this generator stops the work.

    Args:
        work: Gets a function that tells whether to stop, and is asked between its results.
        lock: Held while it works.
    """
    loop = asyncio.get_running_loop()
    results: asyncio.Queue[object] = asyncio.Queue()
    stop = threading.Event()

    def put(result: object) -> None:
        if not stop.is_set():  # the loop may be gone when the reader is
            loop.call_soon_threadsafe(results.put_nowait, result)

    def run() -> None:
        try:
            with lock:
                for result in work(stop.is_set):
                    put(result)
            put(_END)
        except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
            put(_Failed(error))

    threading.Thread(target=run, name="rag-llm", daemon=True).start()
    try:
        while (result := await results.get()) is not _END:
            if isinstance(result, _Failed):
                raise result.error
            yield result  # type: ignore[misc]  # the work's own
    finally:
        stop.set()


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error
