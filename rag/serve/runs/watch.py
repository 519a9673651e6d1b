"""Watching the runs of a process: leases renewed, cancellations noticed, the dead given up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic

from rag.serve.errors import Problem
from rag.serve.runs import table
from rag.serve.runs.runs import Runs
from rag.serve.state.database import Database
from rag.serve.state.server_state import ServerState

log = logging.getLogger("rag.serve")

PAUSE = 0.25
"""Seconds until a cancellation in another process is noticed."""


class RunWatch:
    """Looks after runs in a task.

    Args:
        state: Where they are.
        runs: Those of this process.
        cancel: Ends a run of this process.
        keep_events: Seconds that events are kept behind the end of their run.
    """

    def __init__(
        self, state: ServerState, runs: Runs, cancel: Callable[[str], None], keep_events: float
    ) -> None:
        self._state, self._runs, self._cancel = state, runs, cancel
        self._keep_events = keep_events
        self._task: asyncio.Task[None] | None = None
        self._due = 0.0
        """When leases are to be looked at again."""

    def start(self) -> None:
        """Begin."""
        self._due = 0.0
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            if self._runs.active or monotonic() >= self._due:
                try:
                    await self._look()
                except Problem as error:
                    log.error("the runs cannot be looked after: %s", error)
            await asyncio.sleep(min(PAUSE, self._runs.lease / 3))

    async def _look(self) -> None:
        mine, due = self._runs.active, monotonic() >= self._due

        def look(db: Database) -> tuple[set[str], list[str]]:
            unwanted = table.unwanted(db, mine) if mine else set()
            dead: list[str] = []
            if due:
                table.renew(db, mine, self._runs.lease)
                dead = table.give_up(db)
                table.forget_events(db, self._keep_events)
            return unwanted, dead

        unwanted, dead = await self._state.do(look)
        if due:
            self._due = monotonic() + self._runs.lease / 3
            self._runs.save()
        for name in unwanted:
            self._cancel(name)
        for name in dead:
            self._runs.changed.fire(name)
