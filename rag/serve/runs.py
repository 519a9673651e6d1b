"""Runs: those that go on in memory too, all in the server's file."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any, Literal

from pydantic import BaseModel, Field

from rag.serve.state.database import Database
from rag.serve.state.server_state import ServerState

RUNS_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, changed DOUBLE PRECISION NOT NULL,
    record TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS runs_by_owner ON runs (owner, changed)
"""

Status = Literal["waiting", "running", "done", "failed", "cancelled"]


class RunStep(BaseModel):
    """A step that ended."""

    node: str = Field(description="its place in the flow, as `data-node` in the drawing")
    seconds: float
    writes: dict[str, str] = Field(description="channel: a summary of what was written")


class ServedRun(BaseModel):
    """A run, as `GET /runs/{id}` shows it."""

    id: str
    pipeline: str
    status: Status = "waiting"
    created: float = Field(description="seconds since the epoch")
    waited: float | None = Field(default=None, description="seconds in the queue")
    first_token: float | None = Field(default=None, description="seconds to it, since the start")
    seconds: float | None = None
    steps: list[RunStep] = []
    llm_calls: int = 0
    tokens: int = 0
    reuse: dict[str, Any] | None = Field(
        default=None, description="what of the prompt was taken from stored states"
    )
    error: dict[str, Any] | None = None


class Runs:
    """The runs of a server; its other processes see them as they were when they began or ended.

    Args:
        state: Keeps them.
        limit: How many of them, of each user.
    """

    def __init__(self, state: ServerState, limit: int) -> None:
        self._state, self._limit = state, limit
        self._active: dict[str, tuple[str, ServedRun]] = {}

    def begin(self, user: str, pipeline: str) -> ServedRun:
        """A new run."""
        run = ServedRun(id=uuid.uuid4().hex, pipeline=pipeline, created=time.time())
        self._active[run.id] = (user, run)
        self._store(user, run)
        return run

    def end(self, run: ServedRun) -> None:
        """Store a run that ended; the user's oldest ones beyond the limit are deleted."""
        user, _ = self._active.pop(run.id)
        self._store(user, run)
        self._state.post(
            lambda db: db.execute(
                "DELETE FROM runs WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER "
                "(ORDER BY changed DESC) AS place FROM runs WHERE owner = ?) AS placed "
                "WHERE place > ?)",
                (user, self._limit),
            )
        )

    async def get(self, user: str, name: str) -> ServedRun | None:
        """The run of that id, if it is this user's."""
        found = self._active.get(name)
        if found is not None:
            return found[1] if found[0] == user else None

        def read(db: Database) -> Any:
            return db.row("SELECT record FROM runs WHERE id = ? AND owner = ?", (name, user))

        row = await self._state.do(read)
        return ServedRun(**json.loads(row["record"])) if row else None

    def _store(self, user: str, run: ServedRun) -> None:
        row = (run.id, user, time.time(), run.model_dump_json())
        self._state.post(
            lambda db: db.execute(
                "INSERT INTO runs VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
                "changed = excluded.changed, record = excluded.record",
                row,
            )
        )
