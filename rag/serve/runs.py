"""Runs: those that go on in memory, those that ended in the server's file."""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections import OrderedDict
from typing import Any, Literal

from pydantic import BaseModel, Field

from rag.serve.state import ServerState

RUNS_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, tenant TEXT NOT NULL, ended REAL NOT NULL, record TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS runs_by_end ON runs (ended)
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
    """The runs of a server.

    Args:
        state: Keeps those that ended.
        limit: How many of them.
    """

    def __init__(self, state: ServerState, limit: int) -> None:
        self._state, self._limit = state, limit
        self._recent: OrderedDict[str, tuple[str, ServedRun]] = OrderedDict()
        self._ended = 0

    def begin(self, tenant: str, pipeline: str) -> ServedRun:
        """A new run."""
        run = ServedRun(id=uuid.uuid4().hex, pipeline=pipeline, created=time.time())
        self._recent[run.id] = (tenant, run)
        return run

    def end(self, run: ServedRun) -> None:
        """Keep a run that ended."""
        tenant, _ = self._recent[run.id]
        self._ended += 1
        prune = self._ended % 100 == 1

        def write(db: sqlite3.Connection) -> None:
            row = (run.id, tenant, time.time(), run.model_dump_json())
            db.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?)", row)
            if prune:
                db.execute(
                    "DELETE FROM runs WHERE id NOT IN "
                    "(SELECT id FROM runs ORDER BY ended DESC LIMIT ?)",
                    (self._limit,),
                )

        self._state.post(write)
        while len(self._recent) > self._limit:
            oldest = next(iter(self._recent))
            if self._recent[oldest][1].status in ("waiting", "running"):
                break
            del self._recent[oldest]

    async def get(self, tenant: str, name: str) -> ServedRun | None:
        """The run of that id, if it is this tenant's."""
        found = self._recent.get(name)
        if found is not None:
            return found[1] if found[0] == tenant else None

        def read(db: sqlite3.Connection) -> Any:
            return db.execute(
                "SELECT record FROM runs WHERE id = ? AND tenant = ?", (name, tenant)
            ).fetchone()

        row = await self._state.do(read)
        return ServedRun(**json.loads(row["record"])) if row else None
