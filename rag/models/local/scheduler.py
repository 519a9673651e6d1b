"""Continuous batching: one thread does all work of a model, and decodes its requests together."""

from __future__ import annotations

import asyncio
import atexit
import threading
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from rag.kvcache.passes import SLICE, Pass, Slices

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
Work = Generator["T | Pass", "torch.Tensor | None", None]
"""Yields results, and passes, whose logits it is sent."""

BATCH = 16
"""Requests at most whose states are in memory at once."""
TURN = 0.05
"""Seconds that a request without a pass may work before it is the others' turn."""
_END = object()
_SCHEDULERS: weakref.WeakSet[Scheduler] = weakref.WeakSet()


class Scheduler:
    """Continuous batching (Orca, Yu et al. 2022, section 3.1).

    Every round admits one waiting request, which computes its prompt, and then makes one pass for
    all requests that are being decoded: a pass over a few tokens costs what one token costs. The
    thread ends when there is nothing to do.

    Args:
        forward: Passes to their logits, each [tokens, vocabulary].
    """

    def __init__(self, forward: Callable[[list[Pass]], list[torch.Tensor]]) -> None:
        self._forward = forward
        self._lock = threading.Lock()
        self._waiting: deque[_Task] = deque()
        self._active: list[_Task] = []
        self._thread: threading.Thread | None = None
        _SCHEDULERS.add(self)

    async def stream(self, work: Work[T]) -> AsyncGenerator[T]:
        """The results of `work` as they come; closing this generator stops the work."""
        loop = asyncio.get_running_loop()
        results: asyncio.Queue[Any] = asyncio.Queue()
        stop = threading.Event()

        def put(result: object) -> None:
            if stop.is_set():
                return
            try:
                loop.call_soon_threadsafe(results.put_nowait, result)
            except RuntimeError:  # the loop is closed: its reader is gone
                stop.set()

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

    def stop(self) -> None:
        """Cancel all requests, and wait for the thread."""
        with self._lock:
            for task in (*self._waiting, *self._active):
                task.cancel()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        import torch

        with torch.inference_mode():
            while True:
                with self._lock:
                    self._active = [task for task in self._active if not task.ended]
                    if self._waiting and len(self._active) < BATCH:
                        self._active.append(self._waiting.popleft())
                    elif not self._active:
                        self._thread = None
                        return
                self._round(self._active)

    def _round(self, active: list[_Task]) -> None:
        for task in active:
            if task.wants is None:
                task.advance(None)
        waiting = [(task, task.wants.take(SLICE)) for task in active if task.wants is not None]
        if not waiting:
            return
        try:
            logits = self._forward([one for _, one in waiting])
        except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
            for task, _ in waiting:
                task.fail(error)
            return
        for (task, _), own in zip(waiting, logits, strict=True):
            assert task.wants is not None  # noqa: S101 - it waits
            task.wants.add(own)
            if task.wants.rest is None:
                task.advance(task.wants.logits)


@atexit.register
def _stop_all() -> None:
    """Python must not end while a thread computes: torch would abort the process."""
    for scheduler in list(_SCHEDULERS):
        scheduler.stop()


class _Task:
    """One request's work and where its results go."""

    def __init__(
        self,
        work: Generator[Any, torch.Tensor | None, None],
        put: Callable[[object], None],
        stop: threading.Event,
    ) -> None:
        self._work, self._put, self._stop = work, put, stop
        self.wants: Slices | None = None
        """The pass that it waits for."""
        self.ended = False

    def advance(self, logits: torch.Tensor | None) -> None:
        """Go on to the next pass, the end, or the end of the time slice."""
        self.wants = None
        until = perf_counter() + TURN
        try:
            while not self._stop.is_set():
                result = self._work.send(logits)
                logits = None
                if isinstance(result, Pass):
                    self.wants = Slices(result)
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

    def cancel(self) -> None:
        """End at the next opportunity, without a result."""
        self._stop.set()

    def fail(self, error: BaseException) -> None:
        """End, and pass the error to the reader."""
        self.wants = None
        self.ended = True
        self._put(_Failed(error))


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error
