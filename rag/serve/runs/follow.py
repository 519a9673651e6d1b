"""Following the events of a run from any process of a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from functools import partial

from rag.serve.errors import Problem
from rag.serve.runs import table
from rag.serve.runs.runs import Runs
from rag.serve.runs.table import RunEvent
from rag.serve.state.server_state import ServerState

POLL = 0.1
"""Seconds between looks at the runs of other processes, while somebody follows one."""


class Follow:
    """Reads events where they are kept, as soon as they are.

    The process of a run signals what it has stored. The runs of other processes are looked at
    regularly, all that are followed at once.

    Args:
        state: Where events are kept.
        runs: The runs of this process.
        stopping: Whether the server is shutting down; then nobody follows another process's run
            any longer, but may go on at another server.
    """

    def __init__(self, state: ServerState, runs: Runs, stopping: Callable[[], bool]) -> None:
        self._state, self._runs, self._stopping = state, runs, stopping
        self._looking: asyncio.Task[None] | None = None

    async def events(self, user: str, name: str, after: int) -> AsyncGenerator[RunEvent] | None:
        """The events of a run behind the one of a number, to its end; closing them is no harm.

        Returns:
            None if the run has ended and there are no more.

        Raises:
            Problem: 404, the user has no such run; 409, its events are not kept.
        """
        found = await self._state.do(lambda db: table.events_after(db, user, name, after))
        if found is None:
            raise missing(name)
        events, ended = found
        return None if ended and not events else self._events(user, name, after)

    async def _events(self, user: str, name: str, after: int) -> AsyncGenerator[RunEvent]:
        while True:
            changed = self._runs.changed.next(name)
            found = await self._state.do(
                partial(table.events_after, user=user, name=name, number=after)
            )
            if found is None:
                return  # deleted meanwhile
            events, ended = found
            for event in events:
                if event.number > after + 1:
                    yield RunEvent(event.number - 1, "missed", {"events": event.number - after - 1})
                yield event
                after = event.number
            if ended:
                return
            if not self._runs.is_here(name):
                if self._stopping():
                    return
                self._look()
            await changed.wait()

    def _look(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_at_others())

    async def _look_at_others(self) -> None:
        """Signal what happens to runs of other processes, as long as somebody follows one."""
        seen: dict[str, tuple[int, int]] = {}
        while names := [n for n in self._runs.changed.awaited if not self._runs.is_here(n)]:
            await asyncio.sleep(POLL)
            try:
                now = await self._state.do(partial(table.progress, names=names))
            except Problem:
                continue  # the state will be there again
            for name in names:
                if self._stopping() or now.get(name) != seen.get(name):
                    self._runs.changed.fire(name)
            seen = now


def missing(name: str) -> Problem:
    """The answer to an unknown id."""
    what = f"there is no run {name[:64]!r}"
    return Problem(404, "no_run", what, fix="name one that GET /runs lists")
