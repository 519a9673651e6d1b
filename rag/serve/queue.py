"""The queue of questions: bounded, and fair between tenants."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict, deque
from itertools import count
from time import perf_counter
from types import TracebackType
from typing import Self

from rag.serve.errors import Problem


class RunQueue:
    """Limits how many runs go on concurrently; the others wait.

    The next turn goes to the tenant with the fewest runs, among equals to the one served longest
    ago; within a tenant, first come, first served. Belongs to one event loop.

    Args:
        concurrency: Runs at once.
        limit: Runs that may wait.
        per_tenant: Of these, of one tenant.
        timeout: Seconds that one may wait.
    """

    def __init__(self, concurrency: int, limit: int, per_tenant: int, timeout: float) -> None:
        self._concurrency, self._limit = concurrency, limit
        self._per_tenant, self._timeout = per_tenant, timeout
        self._queues: defaultdict[str, deque[Ticket]] = defaultdict(deque)
        self._running: defaultdict[str, int] = defaultdict(int)
        self._served: dict[str, int] = {}
        self._clock = count(1)
        self._seconds = 1.0
        """How long runs took lately."""
        self._idle = asyncio.Event()
        self._idle.set()
        self.draining = False

    @property
    def running(self) -> int:
        """Runs that go on."""
        return sum(self._running.values())

    @property
    def waiting(self) -> int:
        """Runs that wait."""
        return sum(len(queue) for queue in self._queues.values())

    def admit(self, tenant: str) -> Ticket:
        """A place in the queue, to be entered with `async with`.

        Raises:
            Problem: 429, too many of the tenant's questions are waiting; 503, too many are in
                all, or the server is shutting down. Each says when to try again.
        """
        if self.draining:
            raise self._refusal(503, "stopping", "the server is shutting down")
        if self._free() and not self.waiting:
            return Ticket(self, tenant)
        if len(self._queues[tenant]) >= self._per_tenant:
            what = f"{self._per_tenant} of your questions are waiting already"
            raise self._refusal(429, "too_many_requests", what)
        if self.waiting >= self._limit:
            raise self._refusal(503, "queue_full", f"{self._limit} questions are waiting already")
        return Ticket(self, tenant)

    def drain(self) -> None:
        """Admit nobody any more; what was admitted goes on."""
        self.draining = True

    def refuse(self) -> None:
        """End the wait of all that wait."""
        for queue in self._queues.values():
            for ticket in queue:
                ticket.refused = True
                ticket.turn.set()

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

    async def _enter(self, ticket: Ticket) -> None:
        self._idle.clear()
        if self._free() and not self.waiting:
            self._start(ticket)
            return
        self._queues[ticket.tenant].append(ticket)
        try:
            async with asyncio.timeout(self._timeout):
                await ticket.turn.wait()
            if ticket.refused:
                raise self._refusal(503, "stopping", "the server is shutting down")
        except BaseException as error:
            if ticket.started:  # the turn came in the same moment
                self._leave(ticket)
            else:
                self._queues[ticket.tenant].remove(ticket)
                self._settle()
            if isinstance(error, TimeoutError):
                what = f"the question waited {self._timeout:g} s for its turn"
                raise self._refusal(503, "queue_timeout", what) from error
            raise

    def _start(self, ticket: Ticket) -> None:
        self._running[ticket.tenant] += 1
        self._served[ticket.tenant] = next(self._clock)
        ticket.started = perf_counter()
        ticket.turn.set()

    def _leave(self, ticket: Ticket) -> None:
        self._running[ticket.tenant] -= 1
        self._seconds += 0.2 * (perf_counter() - ticket.started - self._seconds)
        while self._free() and self.waiting:
            tenants = [tenant for tenant, queue in self._queues.items() if queue]
            chosen = min(tenants, key=lambda t: (self._running[t], self._served.get(t, 0)))
            self._start(self._queues[chosen].popleft())
        self._settle()

    def _settle(self) -> None:
        for tenant in [t for t, queue in self._queues.items() if not queue]:
            del self._queues[tenant]
        for tenant in [t for t, number in self._running.items() if not number]:
            del self._running[tenant]
            if tenant not in self._queues and not self.waiting:
                self._served.pop(tenant, None)
        if not self._running and not self._queues:
            self._idle.set()


class Ticket:
    """A place in the queue: entering waits for the turn, leaving gives it to the next."""

    def __init__(self, queue: RunQueue, tenant: str) -> None:
        self._queue, self.tenant = queue, tenant
        self.turn = asyncio.Event()
        self.started = 0.0
        self.refused = False

    @property
    def before(self) -> int:
        """Runs that come before this one, itself included, if it has to wait; else 0."""
        queue = self._queue
        return 0 if queue._free() and not queue.waiting else queue.waiting + 1

    async def __aenter__(self) -> Self:
        await self._queue._enter(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._queue._leave(self)
