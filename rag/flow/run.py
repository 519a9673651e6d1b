"""One run of a flow: its events, its worker threads, the resources it uses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any

from rag.flow.events import Event
from rag.flow.resources import Resource, Resources

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


class Run:
    """What the nodes of one run share. Nothing of it outlives the run.

    Args:
        resources: The flow's resources.
        threads: The run's worker threads.
        emit: Takes each event, from any thread; None: nobody listens, no event is made.
    """

    __slots__ = ("emit", "resources", "threads")

    def __init__(
        self,
        resources: Resources,
        threads: Threads,
        emit: Callable[[Event], None] | None = None,
    ) -> None:
        self.resources = resources
        self.threads = threads
        self.emit = emit

    async def resource(self, name: str, kind: type[Resource]) -> Resource:
        """The resource; opening it, which may take seconds, does not hold up other branches."""
        if self.resources.is_open(name, kind):
            return self.resources.get(name, kind)
        opened: Resource = await self.threads.call(self.resources.get, name=name, kind=kind)
        return opened

    def under(self, resources: Resources) -> Run:
        """The same run for an inner flow that has resources of its own."""
        return Run(resources, self.threads, self.emit)
