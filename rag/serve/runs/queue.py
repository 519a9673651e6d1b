"""The queue of questions: bounded, and fair between users."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict, deque
from collections.abc import Callable
from itertools import count
from time import perf_counter
from types import TracebackType
from typing import Self

from rag.serve.errors import Problem


class RunQueue:
    """Limits how many runs go on concurrently; the others wait.

    The next turn goes to the user with the fewest runs, among equals to the one served longest
    ago; within a user, first come, first served. Belongs to one event loop.

    Args:
        concurrency: Runs at once.
        limit: Runs that may wait.
        per_user: Of these, of one user.
        timeout: Seconds that one may wait.
    """

    def __init__(self, concurrency: int, limit: int, per_user: int, timeout: float) -> None:
        self._concurrency, self._limit = concurrency, limit
        self._per_user, self._timeout = per_user, timeout
        self._queues: defaultdict[str, deque[Ticket]] = defaultdict(deque)
        self._running: defaultdict[str, int] = defaultdict(int)
        self._served: dict[str, int] = {}
        self._clock = count(1)
        self._seconds = 1.0
        """How long runs took lately."""
        self._idle = asyncio.Event()
        self._idle.set()
        self.draining = False
        self._watcher: Callable[[int, int], None] = _nobody

    def watch(self, call: Callable[[int, int], None]) -> None:
        """Call something with the numbers of running and of waiting runs whenever they change."""
        self._watcher = call

    @property
    def running(self) -> int:
        """Runs that go on."""
        return sum(self._running.values())

    @property
    def waiting(self) -> int:
        """Runs that wait."""
        return sum(len(queue) for queue in self._queues.values())

    def admit(self, user: str) -> Ticket:
        """A place, reserved at once: a run's if one is free, else one in the queue.

        It is entered with `async with`, and must be closed, entered or not.

        Raises:
            Problem: 429, too many of the user's questions are waiting; 503, too many are in
                all, or the server is shutting down. Each says when to try again.
        """
        if self.draining:
            raise self._refusal(503, "stopping", "the server is shutting down")
        ticket = Ticket(self, user)
        if self._free() and not self.waiting:
            self._start(ticket)
        else:
            if len(self._queues.get(user, ())) >= self._per_user:
                what = f"as many of your questions are waiting as may: {self._per_user}"
                raise self._refusal(429, "too_many_requests", what)
            if self.waiting >= self._limit:
                what = f"as many questions are waiting as may: {self._limit}"
                raise self._refusal(503, "queue_full", what)
            ticket.before = self.waiting + 1
            self._queues[user].append(ticket)
        self._idle.clear()
        self._watcher(self.running, self.waiting)
        return ticket

    def drain(self) -> None:
        """Admit nobody any more; what was admitted goes on."""
        self.draining = True

    async def drained(self) -> None:
        """Wait until nothing runs or waits."""
        await self._idle.wait()

    def _refusal(self, status: int, code: str, what: str) -> Problem:
        pending = (self.waiting + self.running) / self._concurrency
        wait = min(max(math.ceil(self._seconds * pending), 1), 120)
        fix, headers = f"try again in {wait} s", {"Retry-After": str(wait)}
        return Problem(status, code, what, fix=fix, headers=headers)

    def _free(self) -> bool:
        return self.running < self._concurrency

    async def _turn(self, ticket: Ticket) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await ticket.turn.wait()
        except TimeoutError as error:
            if not ticket.started:  # else the turn came in the same moment
                what = f"the question waited {self._timeout:g} s for its turn"
                raise self._refusal(503, "queue_timeout", what) from error
        if ticket.refused is not None:
            raise ticket.refused

    def _start(self, ticket: Ticket) -> None:
        self._running[ticket.user] += 1
        self._served[ticket.user] = next(self._clock)
        ticket.started = True
        ticket.turn.set()

    def _leave(self, ticket: Ticket) -> None:
        if not ticket.started:
            self._queues[ticket.user].remove(ticket)
            self._settle()
            return
        self._running[ticket.user] -= 1
        if ticket.entered:
            self._seconds += 0.2 * (perf_counter() - ticket.entered - self._seconds)
        while self._free() and self.waiting:
            users = [user for user, queue in self._queues.items() if queue]
            chosen = min(users, key=lambda t: (self._running[t], self._served.get(t, 0)))
            self._start(self._queues[chosen].popleft())
        self._settle()

    def _settle(self) -> None:
        for user in [t for t, queue in self._queues.items() if not queue]:
            del self._queues[user]
        for user in [t for t, number in self._running.items() if not number]:
            del self._running[user]
            if user not in self._queues and not self.waiting:
                self._served.pop(user, None)
        if not self._running and not self._queues:
            self._idle.set()
        self._watcher(self.running, self.waiting)


def _nobody(running: int, waiting: int) -> None:
    """Watches a queue that nobody watches."""


class Ticket:
    """A place: entering it waits for the turn, closing it gives the turn to the next.

    Attributes:
        before: Runs that came before this one when it was admitted, itself included; 0: it did
            not have to wait.
    """

    def __init__(self, queue: RunQueue, user: str) -> None:
        self._queue, self.user = queue, user
        self.turn = asyncio.Event()
        self.before = 0
        self.started = self._closed = False
        self.refused: Problem | None = None
        self.entered = 0.0

    def refuse(self, why: Problem) -> None:
        """End the wait for the turn, if it waits."""
        if not self.started:
            self.refused = why
            self.turn.set()

    def close(self) -> None:
        """Give the place up; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self._queue._leave(self)

    async def __aenter__(self) -> Self:
        try:
            await self._queue._turn(self)
        except BaseException:
            self.close()
            raise
        self.entered = perf_counter()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
