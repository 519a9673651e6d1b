"""One run of a flow: its events, its worker threads, the resources it uses."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from rag.errors import BudgetError
from rag.flow.resources import R, Resources
from rag.flow.run.events import Event

if TYPE_CHECKING:
    from rag.flow.run.policy import Budget

State = dict[str, Any]
"""Channel to value, as one branch sees them."""

Runner = Callable[[State, "Run"], Awaitable[None]]
"""What a node is compiled to: it reads the state and writes into it."""

MAX_THREADS = 64
"""Blocking steps of one run that may go on at once."""


class Threads:
    """The worker threads of one run, made when the first blocking step comes."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None

    async def call(self, function: Callable[..., Any], /, **arguments: Any) -> Any:
        """Call a function that blocks, in a thread that sees the caller's context variables."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="rag-step")
        call = partial(copy_context().run, function, **arguments)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def close(self) -> None:
        """Let the threads end; one that still works ends with its work."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


class Spent:
    """What a run has used of its budget; safe from any thread."""

    def __init__(self, budget: Budget | None = None) -> None:
        self._budget = budget
        self._lock = threading.Lock()
        self.llm_calls = 0
        self.tokens = 0

    def add(self, llm_calls: int, tokens: int) -> None:
        """Count.

        Raises:
            BudgetError: The run has used more than it may.
        """
        with self._lock:
            self.llm_calls += llm_calls
            self.tokens += tokens
        budget = self._budget
        if budget is None:
            return
        for name, used, limit in (
            ("llm_calls", self.llm_calls, budget.llm_calls),
            ("tokens", self.tokens, budget.tokens),
        ):
            if limit is not None and used > limit:
                raise BudgetError(
                    f"the run used {used} {name}, its budget is {limit}",
                    where="budget",
                    fix=f"raise budget: {{{name}: ...}}, or make the flow do less",
                )


class Journal(Protocol):
    """Remembers what the steps of a run wrote, so that the run can go on after a crash."""

    def recall(self, place: str, kinds: Mapping[str, Any]) -> dict[str, Any] | None:
        """What was written at `place`, if it was: channel to value."""

    def record(
        self, place: str, kinds: Mapping[str, Any], wrote: Mapping[str, Any], seconds: float
    ) -> None:
        """Remember what was written at `place`, durably, before anything builds on it."""


@dataclass(slots=True)
class Run:
    """What the nodes of one run share. Nothing of it outlives the run.

    Args:
        resources: The flow's resources.
        threads: The run's worker threads.
        spent: Counts what the run uses.
        emit: Takes each event, from any thread; None: nobody listens, no event is made.
        journal: Remembers what steps wrote.
        tracer: An OpenTelemetry tracer.
        place: Which item of a map, turn of a loop or inner flow this is a view of; with a
            step's path it names one occurrence of the step.
        depth: How often the flow is nested in itself here.
    """

    resources: Resources
    threads: Threads
    spent: Spent
    emit: Callable[[Event], None] | None = None
    journal: Journal | None = None
    tracer: Any = None
    place: str = ""
    depth: int = 0

    async def resource(self, name: str, kind: type[R]) -> R:
        """The resource; opening it, which may take seconds, does not hold up other branches."""
        if self.resources.is_open(name, kind):
            return self.resources.get(name, kind)
        opened: R = await self.threads.call(self.resources.get, name=name, kind=kind)
        return opened

    def at(self, place: str) -> Run:
        """The same run seen from an item, a turn or an inner flow."""
        return self if self.journal is None else replace(self, place=f"{self.place}{place}/")

    def inside(self, place: str, resources: Resources) -> Run:
        """The same run for an inner flow, with its own resources where it has any."""
        if not resources.specs and self.journal is None and not self.depth:
            return self
        found = resources if resources.specs else self.resources
        return replace(self, resources=found, place=f"{self.place}{place}/", depth=0)
