"""Continuous batching: one thread does all work of a model, in slices of its requests' passes."""

from __future__ import annotations

import asyncio
import atexit
import threading
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from rag.kvcache.passes import Pass, Slices
from rag.models.local.pace import Pace

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reserve:
    """Asks for memory, once and before it is allocated; work goes on when there is room.

    Attributes:
        bytes: Of the buffers that the request will hold until its end.
    """

    bytes: int


Work = Generator["T | Pass | Reserve", "torch.Tensor | None", None]
"""Yields results; passes, whose logits it is sent; and at most one reservation."""

BATCH = 16
"""Requests at most that are worked on at once."""
BUFFERS = 2 << 30
"""Bytes of the buffers of all requests that are worked on."""
SHORT = 16
"""A pass of at most so many tokens is made in every round: it decodes, or is soon done."""
TURN = 0.05
"""Seconds that a request without a pass may work before it is the others' turn."""
_END = object()
_SCHEDULERS: weakref.WeakSet[Scheduler] = weakref.WeakSet()


class Scheduler:
    """Continuous batching (Orca, Yu et al. 2022, section 3.1) with sliced prefill.

    Every round makes one pass for all requests that are decoding, which costs about what one token
    costs. What is left of the round's budget of tokens goes to prompts, in slices (Sarathi-Serve,
    Agrawal et al. 2024, section 4.2): to the one that has waited longest since its last slice. So
    a round admits one waiting request, and more as long as their prompts fit into the budget: of
    prompts whose states are stored little is computed, and together they cost hardly more than one.
    A request that is cancelled ends before its next slice, and one whose pass fails ends alone. The
    thread ends when there is nothing to do.

    Args:
        forward: Passes to the logits of each, as `ModelView.steps`.
        buffers: Bytes that requests may reserve together. A request that needs more runs alone.
    """

    def __init__(
        self, forward: Callable[[list[Pass]], list[torch.Tensor]], buffers: int = BUFFERS
    ) -> None:
        self._forward = forward
        self._buffers = buffers
        self._pace = Pace()
        self._rounds = 0
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
                    if not self._active and not self._waiting:
                        self._thread = None
                        return
                self._round(self._active)

    def _round(self, active: list[_Task]) -> None:
        for task in active:
            if task.stopped:
                task.close()
            elif task.idle:
                task.advance(None)
        self._grant(active)
        self._admit(active)
        made = self._slices(active)
        if not made:
            return
        self._rounds += 1
        before = [one.buffer.length for _, one in made]
        started = perf_counter()
        try:
            logits = self._forward([one for _, one in made])
        except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
            if len(made) == 1:
                made[0][0].fail(error)
            else:
                self._one_by_one(made, before)
            return
        seconds = perf_counter() - started
        long = [len(one.ids) for _, one in made if len(one.ids) > SHORT]
        self._pace.record(sum(long), seconds, decoding=len(long) < len(made))
        for (task, _), own in zip(made, logits, strict=True):
            task.add(own)

    def _admit(self, active: list[_Task]) -> None:
        """Take up waiting requests, in the order in which they came.

        What each does before its first pass, nobody shares: the others wait for it at most about as
        long as for a pass.
        """
        until, task = perf_counter() + max(TURN, self._pace.decode), None
        while len(active) < BATCH and (task is None or self._has_room(active, until)):
            with self._lock:
                if not self._waiting:
                    return
                task = self._waiting.popleft()
                active.append(task)
            if task.stopped:
                task.close()
            else:
                task.advance(None)
                self._grant(active)

    def _has_room(self, active: list[_Task], until: float) -> bool:
        """Whether the round's budget holds more prompts, memory does, and there is time."""
        if perf_counter() >= until or any(task.asks is not None for task in active):
            return False
        sizes = [task.tokens for task in active]
        decoding = any(0 < size <= SHORT for size in sizes)
        return sum(s for s in sizes if s > SHORT) < self._pace.tokens(decoding=decoding)

    def _grant(self, active: list[_Task]) -> None:
        """Let requests that wait for memory go on, in the order in which they came."""
        held = sum(task.holds for task in active if not task.ended)
        for task in active:
            if task.asks is None or task.ended:
                continue
            if held and held + task.asks > self._buffers:
                return
            held += task.asks
            task.grant()

    def _slices(self, active: list[_Task]) -> list[tuple[_Task, Pass]]:
        """What the round computes: all short passes, and slices of others up to the budget."""
        wanting = [task for task in active if task.tokens]
        short = [task for task in wanting if task.tokens <= SHORT]
        long = [task for task in wanting if task.tokens > SHORT]
        made = [(task, task.take(SHORT)) for task in short]
        budget = self._pace.tokens(decoding=bool(short))
        for task in sorted(long, key=lambda task: task.served):
            if budget <= 0:
                break
            task.served = self._rounds
            made.append((task, task.take(budget)))
            budget -= len(made[-1][1].ids)
        return made

    def _one_by_one(self, made: Sequence[tuple[_Task, Pass]], before: Sequence[int]) -> None:
        """Make the passes of a round that failed: only requests whose own pass fails end."""
        for (task, one), length in zip(made, before, strict=True):
            one.buffer.cut(length)
            try:
                (logits,) = self._forward([one])
            except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
                task.fail(error)
            else:
                task.add(logits)


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
        self._wants: Slices | None = None
        self.asks: int | None = None
        """Bytes that it waits for."""
        self.holds = 0
        """Bytes that it was granted."""
        self.served = -1
        """The round of its last slice."""
        self.ended = False

    @property
    def stopped(self) -> bool:
        """Whether its reader is gone."""
        return self._stop.is_set()

    @property
    def idle(self) -> bool:
        """Whether it waits for nothing but its turn."""
        return self._wants is None and self.asks is None and not self.ended

    @property
    def tokens(self) -> int:
        """Of the pass that it waits for, those that are not computed yet."""
        rest = None if self._wants is None else self._wants.rest
        return 0 if rest is None else len(rest.ids)

    def take(self, tokens: int) -> Pass:
        """The next slice of its pass."""
        assert self._wants is not None  # noqa: S101 - it has tokens
        return self._wants.take(tokens)

    def add(self, logits: torch.Tensor) -> None:
        """Receive the logits of the slice; go on if it was the last."""
        assert self._wants is not None  # noqa: S101 - a slice was taken
        self._wants.add(logits)
        if self._wants.rest is None:
            self.advance(self._wants.logits)

    def grant(self) -> None:
        """Let it allocate what it asked for, and go on."""
        self.holds, self.asks = self.asks or 0, None
        self.advance(None)

    def advance(self, logits: torch.Tensor | None) -> None:
        """Go on to the next pass or reservation, the end, or the end of the turn."""
        self._wants = None
        until = perf_counter() + TURN
        try:
            while not self.stopped:
                result = self._work.send(logits)
                logits = None
                if isinstance(result, Pass):
                    self._wants = Slices(result)
                    return
                if isinstance(result, Reserve):
                    self.asks = result.bytes
                    return
                self._put(result)
                if perf_counter() > until:
                    return
            self.close()
        except StopIteration:
            self._put(_END)
            self.ended = True
        except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
            self.fail(error)

    def cancel(self) -> None:
        """End at the next opportunity, without a result."""
        self._stop.set()

    def close(self) -> None:
        """End now, and let go of its buffers."""
        self._wants, self.asks, self.ended = None, None, True
        self._work.close()

    def fail(self, error: BaseException) -> None:
        """End, and pass the error to the reader."""
        self.close()
        self._put(_Failed(error))


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error
