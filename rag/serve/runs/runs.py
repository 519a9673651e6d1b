"""Runs: those of this process in memory, those of all processes in the server's state."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from rag.serve.answer import Answer
from rag.serve.runs import table
from rag.serve.runs.signals import Signals
from rag.serve.runs.table import Change, Message, RunResult, ServedRun
from rag.serve.state.database import Database
from rag.serve.state.server_state import ServerState

T = TypeVar("T")

log = logging.getLogger("rag.serve")

PAUSE = 0.1
"""Seconds between two states of a run that nobody follows, as other processes see them."""
PATIENCE = 1.0
"""Seconds that a question waits for its run to be stored; then it goes on without."""
CANCEL_WAIT = 2.0
"""Seconds that a cancellation waits for the run's end."""


@dataclass
class _Active:
    """A run of this process."""

    user: str
    run: ServedRun
    stored: bool = False
    events: list[tuple[str, Any]] = field(default_factory=list)
    """Those that are not stored yet."""
    count: int = 0
    """Of all its events."""

    @property
    def durable(self) -> bool:
        """Whether somebody may come back for what it answers.

        That has to be on the disk when it is acknowledged. Of any other run there is but the
        record, and that it was not lost by a power cut is not worth the wait for the disk.
        """
        return self.run.background or self.run.conversation is not None


class Runs:
    """The runs of a server.

    A process renews its lease on the runs that it works on; see `RunWatch` for those that it leaves
    behind when it dies.

    Args:
        state: Keeps them.
        limit: How many of them, of each user.
        max_events: Events that are kept of a run: the latest.
        lease: Seconds until a run of a process that does not report back counts as failed.
    """

    def __init__(self, state: ServerState, limit: int, max_events: int, lease: float) -> None:
        self._state, self._limit, self._max_events = state, limit, max_events
        self.lease = lease
        self.changed = Signals()
        """By run: it has new events, or has ended."""
        self._active: dict[str, _Active] = {}
        self._unsaved: set[str] = set()
        self._saving: asyncio.Task[None] | None = None
        self._due: asyncio.TimerHandle | None = None

    @property
    def active(self) -> list[str]:
        """Ids of the runs of this process that are stored."""
        return [name for name, one in self._active.items() if one.stored]

    async def begin(
        self,
        user: str,
        run: ServedRun,
        also: Callable[[Database], T] | None = None,
        *,
        announced: bool = True,
    ) -> T | None:
        """Store a new run.

        Args:
            user: Whose it is.
            run: The run.
            announced: Its id is sent before its end, so that it has to be stored first.
            also: More work of the same transaction; its result is returned. Where there is none,
                and the run is none of the background, a state that cannot be written is logged.

        Raises:
            Problem: The state cannot be written, or what `also` raises.
        """
        active = self._active[run.id] = _Active(user, run)

        def write(db: Database) -> T | None:
            result = also(db) if also else None
            table.insert(db, user, run, self.lease)
            return result

        def begun(storing: asyncio.Future[T | None]) -> None:
            active.stored = not storing.exception()

        storing = self._state.begun(write, flushed=active.durable)
        storing.add_done_callback(begun)
        if also is None and not run.background:
            storing.add_done_callback(_logged)
            if announced:
                await _patiently(storing)
            return None
        try:
            return await asyncio.shield(storing)
        except asyncio.CancelledError:
            run.status = "cancelled"
            self.end_soon(run, Message("", {"run": run.id, "stopped": True}))
            raise
        except Exception:
            del self._active[run.id]
            raise

    def note(self, run: ServedRun) -> None:
        """Store what has changed of a run, soon; at once if it is one of the background."""
        if run.id not in self._active:
            return
        self._unsaved.add(run.id)
        if run.background:
            self.save()
        elif self._due is None:
            self._due = asyncio.get_running_loop().call_later(PAUSE, self._save_due)

    def add_event(self, run: ServedRun, name: str, data: Any) -> None:
        """Keep an event of a background run."""
        active = self._active[run.id]
        active.events.append((name, data))
        active.count += 1
        del active.events[: -self._max_events]
        self.note(run)

    def save(self) -> None:
        """Store what is not stored yet, soon."""
        if self._saving is None and self._unsaved:
            self._saving = asyncio.create_task(self._save())

    def _save_due(self) -> None:
        self._due = None
        self.save()

    async def end(
        self, run: ServedRun, answer: Answer | None = None, message: Message | None = None
    ) -> None:
        """Store a run that ended; the user's oldest ones beyond the limit are deleted.

        What cannot be stored is logged.

        Args:
            run: The run.
            answer: Its answer; of a background run it is kept.
            message: What becomes of it in its conversation.
        """
        durable = self._active[run.id].durable
        write = self._ended(run, answer, message)
        storing = self._state.begun(write, flushed=durable)
        storing.add_done_callback(lambda _: self.changed.fire(run.id))
        storing.add_done_callback(_logged)
        await _patiently(storing)

    def end_soon(self, run: ServedRun, message: Message | None) -> None:
        """As `end`, for a run that was never worked on."""
        self._state.post(self._ended(run, None, message))

    def _ended(
        self, run: ServedRun, answer: Answer | None, message: Message | None
    ) -> Callable[[Database], None]:
        active = self._active.pop(run.id)
        self._unsaved.discard(run.id)
        if self._due is not None and not self._unsaved:
            self._due.cancel()
            self._due = None
        change = self._change(active)
        kept = answer if run.background else None

        def write(db: Database) -> None:
            table.end(db, change, kept, message)
            table.prune(db, active.user, self._limit)

        return write

    async def get(self, user: str, name: str) -> RunResult | None:
        """The run of that id, if it is this user's."""
        active = self._active.get(name)
        if active is not None:
            return RunResult(**dict(active.run)) if active.user == user else None
        return await self._state.do(lambda db: table.get(db, user, name))

    async def listed(self, user: str) -> list[ServedRun]:
        """The user's runs, the latest first, without their steps."""
        return await self._state.do(lambda db: table.listed(db, user, self._limit))

    async def cancel(self, user: str, name: str) -> RunResult | None:
        """Ask the process of a run to end it, and wait for that a moment; it may have ended.

        Returns:
            The run, None if the user has none of this id.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CANCEL_WAIT):
                while True:
                    changed = self.changed.next(name)
                    found = await self._state.do(lambda db: table.cancel(db, user, name))
                    if found is None or found.ended:
                        return found
                    await changed.wait()
        return await self.get(user, name)

    async def delete(self, user: str, name: str) -> bool:
        """Forget a run; one that goes on is cancelled. Returns whether the user has it."""
        return await self._state.do(lambda db: table.delete(db, user, name))

    def is_here(self, name: str) -> bool:
        """Whether this process works on the run."""
        return name in self._active

    async def _save(self) -> None:
        """One transaction for all that has come while the last one was written."""
        try:
            while self._unsaved:
                changes = [self._change(self._active[name]) for name in self._unsaved]
                self._unsaved.clear()
                try:
                    await self._state.do(partial(table.save, changes=changes), flushed=False)
                except Exception:
                    log.exception("runs could not be stored")
                    self._put_back(changes)
                    return  # the watch tries again
                for change in changes:
                    self.changed.fire(change.run.id)
        finally:
            self._saving = None

    def _change(self, active: _Active) -> Change:
        events, active.events = active.events, []
        return Change(
            active.run.model_copy(), active.count, events, max(active.count - self._max_events, 0)
        )

    def _put_back(self, changes: list[Change]) -> None:
        for change in changes:
            active = self._active.get(change.run.id)
            if active is not None:
                active.events[:0] = change.events
                del active.events[: -self._max_events]
                self._unsaved.add(change.run.id)


async def _patiently(storing: asyncio.Future[Any]) -> None:
    """Wait for something to be stored, but not for long."""
    await asyncio.wait([storing], timeout=PATIENCE)


def _logged(storing: asyncio.Future[Any]) -> None:
    if not storing.cancelled() and (error := storing.exception()):
        log.error("a run could not be stored: %s", error)


def new_run(pipeline: str, conversation: str | None, *, background: bool) -> ServedRun:
    """A run that has not begun."""
    return ServedRun(
        id=uuid.uuid4().hex,
        pipeline=pipeline,
        created=time.time(),
        conversation=conversation,
        background=background,
    )
