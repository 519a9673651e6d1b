"""All work of a model goes through one thread; what is decoded goes through it together."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from rag.kvcache.passes import Pass

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
Work = Generator["T | Pass", "torch.Tensor | None", None]
"""Yields results, and passes whose logits it is sent."""

TOGETHER = 16
"""Requests whose states are held at once."""
SLICE = 0.05
"""Seconds that a request which wants no pass may work before others get their turn."""
_END = object()


class Scheduler:
    """Continuous batching (Orca, Yu et al. 2022, section 3.1).

    Every round takes in one waiting request, which computes its prompt, and then makes one pass
    for all requests that are being decoded: at a few tokens a pass costs what one token costs.
    The thread ends when there is nothing to do.

    Args:
        together: Passes to their logits, each [tokens, vocabulary].
    """

    def __init__(self, together: Callable[[list[Pass]], list[torch.Tensor]]) -> None:
        self._together = together
        self._lock = threading.Lock()
        self._waiting: deque[_Task] = deque()
        self._thread: threading.Thread | None = None

    async def stream(self, work: Work[T]) -> AsyncGenerator[T]:
        """The results of `work` as they come; closing this generator stops the work."""
        loop = asyncio.get_running_loop()
        results: asyncio.Queue[Any] = asyncio.Queue()
        stop = threading.Event()

        def put(result: object) -> None:
            if not stop.is_set():  # the loop may be gone when the reader is
                loop.call_soon_threadsafe(results.put_nowait, result)

        with self._lock:
            self._waiting.append(_Task(work, put, stop))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="rag-llm", daemon=True)
                self._thread.start()
        try:
            while (result := await results.get()) is not _END:
                if isinstance(result, _Failed):
                    raise result.error
                yield result
        finally:
            stop.set()

    def _run(self) -> None:
        import torch

        active: list[_Task] = []
        with torch.inference_mode():
            while True:
                with self._lock:
                    if self._waiting and len(active) < TOGETHER:
                        active.append(self._waiting.popleft())
                    elif not active:
                        self._thread = None
                        return
                self._round(active)
                active = [task for task in active if not task.ended]

    def _round(self, active: list[_Task]) -> None:
        for task in active:
            if task.wants is None:
                task.advance(None)
        decoded = [(task, task.wants) for task in active if task.wants is not None]
        if not decoded:
            return
        try:
            found = self._together([wanted for _, wanted in decoded])
        except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
            for task, _ in decoded:
                task.fail(error)
            return
        for (task, _), logits in zip(decoded, found, strict=True):
            task.advance(logits)


class _Task:
    """One request's work and where its results go."""

    def __init__(
        self,
        work: Generator[Any, torch.Tensor | None, None],
        put: Callable[[object], None],
        stop: threading.Event,
    ) -> None:
        self._work, self._put, self._stop = work, put, stop
        self.wants: Pass | None = None
        """The pass that it waits for."""
        self.ended = False

    def advance(self, logits: torch.Tensor | None) -> None:
        """Go on to the next pass, the end, or the end of the time slice."""
        self.wants = None
        until = perf_counter() + SLICE
        try:
            while not self._stop.is_set():
                result = self._work.send(logits)
                logits = None
                if isinstance(result, Pass):
                    self.wants = result
                    return
                self._put(result)
                if perf_counter() > until:
                    return
            self._work.close()
            self.ended = True
        except StopIteration:
            self._put(_END)
            self.ended = True
        except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Tell the reader, and end."""
        self.wants = None
        self.ended = True
        self._put(_Failed(error))


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error
