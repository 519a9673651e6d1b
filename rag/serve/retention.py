"""Retention: what is older than the settings say is deleted, once a day, by one process."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import asdict, dataclass

from rag.errors import RagError
from rag.serve.errors import Problem
from rag.serve.observe.audit import Deed, audit
from rag.serve.state.database import Database, Row
from rag.serve.state.server_state import ServerState

log = logging.getLogger("rag.serve")

RETENTION_SCHEMA = """
CREATE TABLE IF NOT EXISTS retention (
    one INTEGER PRIMARY KEY, done DOUBLE PRECISION NOT NULL, kept TEXT NOT NULL
)
"""
DAY = 86_400.0
"""Seconds."""
PAUSE = 3600.0
"""Seconds until a process looks again whether it is time."""
BATCH = 500
"""Rows that one transaction deletes: the state is not held up by more."""
BY = "retention"
"""Who deletes, in the audit log."""

_OLD_CONVERSATIONS = (
    "DELETE FROM conversations WHERE id IN (SELECT id FROM conversations WHERE updated < ? AND "
    "NOT EXISTS (SELECT 1 FROM runs WHERE conversation = conversations.id AND ended = 0) "
    "LIMIT ?) RETURNING id, owner"
)
_OLD_RUNS = (
    "DELETE FROM runs WHERE id IN (SELECT id FROM runs WHERE ended = 1 AND changed < ? LIMIT ?) "
    "RETURNING id, owner"
)
_OLD_UPLOADS = (
    "SELECT id, owner FROM documents WHERE status IN ('ready', 'failed') AND created < ? "
    "ORDER BY created"
)


@dataclass(frozen=True)
class Days:
    """Days that things are kept; None: for ever.

    Args:
        conversations: Behind the last message of each, with their runs and ratings.
        runs: Behind the end of each.
        uploads: Behind the upload of each.
    """

    conversations: float | None = None
    runs: float | None = None
    uploads: float | None = None


class Retention:
    """Deletes what is too old, in a task. Each deletion is a line of the audit log.

    Any number of processes may do this over one state: the one that finds it due notes that before
    it begins, and the others leave it alone. It is due a day after the last time, and where the
    days were changed. What a process that is killed has not deleted is left for the next day.

    Args:
        state: Has what is deleted.
        days: How long it is kept.
        delete_upload: Takes an upload (its user, its id) out of its index, and deletes it.
        now: Seconds since the epoch.
    """

    def __init__(
        self,
        state: ServerState,
        days: Days,
        delete_upload: Callable[[str, str], Awaitable[None]],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._state, self._days, self._now = state, days, now
        self._delete_upload = delete_upload
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, if anything is not kept for ever."""
        if self._days != Days():
            # Not in the context of the request that may have started the server.
            self._task = asyncio.create_task(self._work(), context=Context())

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def apply(self) -> bool:
        """Delete what is too old, if that is due; what fails is logged, and due again.

        Returns:
            Whether it was due.
        """
        done = False
        try:
            if not await self._state.do(self._claim):
                return False
            done = await self._delete()
        except Exception as error:
            known = isinstance(error, RagError)
            log.error("what is too old cannot be deleted: %s", error, exc_info=not known)
        if not done:
            self._state.post(lambda db: db.execute("DELETE FROM retention"))
        return True

    async def _work(self) -> None:
        while True:
            await self.apply()
            await asyncio.sleep(PAUSE)

    def _claim(self, db: Database) -> bool:
        db.lock("retention")
        last, now = db.row("SELECT done, kept FROM retention"), self._now()
        kept = json.dumps(asdict(self._days))
        if last is not None and last["kept"] == kept and 0 <= now - last["done"] < DAY:
            return False
        db.execute(
            "INSERT INTO retention VALUES (1, ?, ?) ON CONFLICT (one) DO UPDATE SET "
            "done = excluded.done, kept = excluded.kept",
            (now, kept),
        )
        return True

    async def _delete(self) -> bool:
        """Delete what is too old; returns whether all of it could be deleted."""
        days = self._days
        if days.conversations is not None:
            await self._delete_rows(_OLD_CONVERSATIONS, days.conversations, "delete_conversation")
        if days.runs is not None:
            await self._delete_rows(_OLD_RUNS, days.runs, "delete_run")
        return days.uploads is None or await self._delete_uploads(days.uploads)

    async def _delete_rows(self, statement: str, days: float, deed: Deed) -> None:
        values = (self._before(days), BATCH)
        while True:
            rows = await self._state.do(lambda db: db.rows(statement, values))
            for row in rows:
                _note(deed, row)
            if len(rows) < BATCH:
                return

    async def _delete_uploads(self, days: float) -> bool:
        values = (self._before(days),)
        rows = await self._state.do(lambda db: db.rows(_OLD_UPLOADS, values))
        left = 0
        for row in rows:
            try:
                await self._delete_upload(row["owner"], row["id"])
            except Exception as error:
                if isinstance(error, Problem) and error.status == 404:  # its user was faster
                    continue
                known = isinstance(error, RagError)
                log.error("an old upload cannot be deleted: %s", error, exc_info=not known)
                left += 1
            else:
                _note("delete_document", row)
        return not left

    def _before(self, days: float) -> float:
        return self._now() - days * DAY


def _note(deed: Deed, row: Row) -> None:
    about = {deed.removeprefix("delete_"): row["id"]}
    audit(deed, row["owner"], by=BY, **about)
