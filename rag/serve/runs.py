"""What is told of a run: while it goes on from memory, afterwards from the store."""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections import OrderedDict
from typing import Any, Literal

from pydantic import BaseModel, Field

from rag.serve.store import Store

Status = Literal["waiting", "running", "done", "failed", "cancelled"]


class RunStep(BaseModel):
    """A step that ended."""

    node: str
    seconds: float
    writes: dict[str, str] = Field(description="channel: how much was written")


class RunRecord(BaseModel):
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
    context: dict[str, Any] | None = Field(
        default=None, description="what of the prompt was taken from stored states"
    )
    error: dict[str, Any] | None = None


class Runs:
    """The runs of a server.

    Args:
        store: Keeps those that ended.
        keep: How many of them.
    """

    def __init__(self, store: Store, keep: int) -> None:
        self._store, self._keep = store, keep
        self._recent: OrderedDict[str, tuple[str, RunRecord]] = OrderedDict()
        self._ended = 0

    def begin(self, tenant: str, pipeline: str) -> RunRecord:
        """A new run."""
        record = RunRecord(id=uuid.uuid4().hex, pipeline=pipeline, created=time.time())
        self._recent[record.id] = (tenant, record)
        return record

    def end(self, record: RunRecord) -> None:
        """Remember a run that ended."""
        tenant, _ = self._recent[record.id]
        self._ended += 1
        prune = self._ended % 100 == 1

        def write(connection: sqlite3.Connection) -> None:
            row = (record.id, tenant, time.time(), record.model_dump_json())
            connection.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?)", row)
            if prune:
                connection.execute(
                    "DELETE FROM runs WHERE id NOT IN "
                    "(SELECT id FROM runs ORDER BY ended DESC LIMIT ?)",
                    (self._keep,),
                )

        self._store.post(write)
        while len(self._recent) > self._keep:
            oldest = next(iter(self._recent))
            if self._recent[oldest][1].status in ("waiting", "running"):
                break
            del self._recent[oldest]

    async def get(self, tenant: str, name: str) -> RunRecord | None:
        """The run of that id, if it is this tenant's."""
        found = self._recent.get(name)
        if found is not None:
            return found[1] if found[0] == tenant else None

        def read(connection: sqlite3.Connection) -> Any:
            return connection.execute(
                "SELECT record FROM runs WHERE id = ? AND tenant = ?", (name, tenant)
            ).fetchone()

        row = await self._store.do(read)
        return RunRecord(**json.loads(row["record"])) if row else None
