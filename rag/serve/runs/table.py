"""The table of runs and their events: what is written, found, and left behind by dead processes."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, Field

from rag.serve.answer import Answer
from rag.serve.conversations.conversations import add_answer
from rag.serve.errors import Problem, details
from rag.serve.runs.trace import TraceStep
from rag.serve.state.database import Database, Row

RUNS_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, ended INTEGER NOT NULL DEFAULT 0,
    created DOUBLE PRECISION NOT NULL, changed DOUBLE PRECISION NOT NULL,
    conversation TEXT REFERENCES conversations (id) ON DELETE CASCADE,
    background INTEGER NOT NULL, lease DOUBLE PRECISION NOT NULL,
    cancelled INTEGER NOT NULL DEFAULT 0, events BIGINT NOT NULL DEFAULT 0,
    record TEXT NOT NULL, answer TEXT
);
CREATE INDEX IF NOT EXISTS runs_by_owner ON runs (owner, created);
CREATE INDEX IF NOT EXISTS runs_by_conversation ON runs (conversation);
CREATE INDEX IF NOT EXISTS runs_active ON runs (lease) WHERE ended = 0;
CREATE TABLE IF NOT EXISTS run_events (
    run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    last BIGINT NOT NULL, events TEXT NOT NULL, PRIMARY KEY (run, last)
)
"""
CANCELLED = "cancelled"

Status = Literal["waiting", "running", "done", "failed", "cancelled"]


class RunStep(BaseModel):
    """A step that ended."""

    node: str = Field(description="its place in the flow, as `data-node` in the drawing")
    seconds: float
    writes: dict[str, str] = Field(description="channel: a summary of what was written")


class ServedRun(BaseModel):
    """A run."""

    id: str
    pipeline: str
    status: Status = "waiting"
    created: float = Field(description="seconds since the epoch")
    conversation: str | None = None
    background: bool = Field(
        default=False, description="it goes on when nobody listens, and its events are kept"
    )
    waited: float | None = Field(default=None, description="seconds in the queue")
    first_token: float | None = Field(default=None, description="seconds to it, since the start")
    seconds: float | None = None
    steps: list[RunStep] = []
    llm_calls: int = 0
    tokens: int = 0
    completion_tokens: int = Field(default=0, description="of these, written by models")
    reuse: dict[str, Any] | None = Field(
        default=None, description="what of the prompt was taken from stored states"
    )
    error: dict[str, Any] | None = None
    trace: list[TraceStep] = Field(
        default=[],
        description="of a run that ended: prompts, outputs and rankings, if the server keeps them",
    )

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.status not in ("waiting", "running")


class RunResult(ServedRun):
    """A run with its answer, as `GET /runs/{id}` shows it."""

    answer: Answer | None = Field(default=None, description="of a background run that is done")


@dataclass(frozen=True)
class Change:
    """What is to be stored of a run.

    Args:
        run: As it is now.
        count: Its events so far.
        events: The latest of them, which are not stored: names and JSON.
        drop: Events up to this one are not kept.
    """

    run: ServedRun
    count: int
    events: list[tuple[str, Any]]
    drop: int


@dataclass(frozen=True)
class Message:
    """What a run leaves in its conversation: the text, and what is said of it."""

    text: str
    about: dict[str, Any]


@dataclass(frozen=True)
class RunEvent:
    """An event of a background run; the last one is `done` or `error`."""

    number: int
    name: str
    data: Any


def cancelled() -> Problem:
    """What those get who wait for a run that somebody cancels."""
    return Problem(409, CANCELLED, "the run was cancelled", fix="ask again")


def interrupted() -> Problem:
    """What those get who wait for a run whose process has died."""
    return Problem(503, "interrupted", "the process that answered has ended", fix="ask again")


def insert(db: Database, user: str, run: ServedRun, lease: float) -> None:
    """Store a new run."""
    db.execute(
        "INSERT INTO runs (id, owner, created, changed, conversation, background, lease, record) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            run.id, user, run.created, run.created, run.conversation,
            int(run.background), db.now() + lease, run.model_dump_json(),
        ),
    )  # fmt: skip


def save(db: Database, changes: Sequence[Change]) -> None:
    """Store how far runs have come."""
    for change in changes:
        _update(db, change)


def end(db: Database, change: Change, answer: Answer | None, message: Message | None) -> None:
    """Store the end of a run, and its message; not of one that was deleted or given up."""
    if not _update(db, change):
        return
    if answer is not None:
        kept = (answer.model_dump_json(), change.run.id)
        db.execute("UPDATE runs SET answer = ? WHERE id = ?", kept)
    if message is not None and change.run.conversation is not None:
        add_answer(db, change.run.conversation, message.text, message.about)


def _update(db: Database, change: Change) -> bool:
    run = change.run
    found = db.execute(
        "UPDATE runs SET ended = ?, changed = ?, events = ?, record = ? WHERE id = ? AND ended = 0",
        (int(run.ended), time.time(), change.count, run.model_dump_json(), run.id),
    )
    if found and change.events:
        row = (run.id, change.count, json.dumps(change.events, ensure_ascii=False))
        db.execute("INSERT INTO run_events VALUES (?, ?, ?)", row)
        if change.drop:
            db.execute("DELETE FROM run_events WHERE run = ? AND last <= ?", (run.id, change.drop))
    return found > 0


def prune(db: Database, user: str, limit: int) -> None:
    """Delete a user's oldest runs beyond a limit."""
    db.execute(
        "DELETE FROM runs WHERE owner = ? AND ended = 1 AND created < (SELECT created FROM runs "
        "WHERE owner = ? ORDER BY created DESC LIMIT 1 OFFSET ?)",
        (user, user, limit - 1),
    )


def get(db: Database, user: str, name: str) -> RunResult | None:
    """A user's run."""
    row = db.row("SELECT record, answer FROM runs WHERE id = ? AND owner = ?", (name, user))
    return None if row is None else _result(row)


def _result(row: Row) -> RunResult:
    answer = row["answer"] and json.loads(row["answer"])
    return RunResult(**json.loads(row["record"]), answer=answer)


def listed(db: Database, user: str, most: int) -> list[ServedRun]:
    """A user's runs, the latest first, without their steps and traces."""
    rows = db.rows(
        "SELECT record FROM runs WHERE owner = ? ORDER BY created DESC LIMIT ?", (user, most)
    )
    return [ServedRun(**json.loads(row["record"]) | {"steps": [], "trace": []}) for row in rows]


def cancel(db: Database, user: str, name: str) -> RunResult | None:
    """Mark a user's run as one that is to end; returns it."""
    statement = "UPDATE runs SET cancelled = 1 WHERE id = ? AND owner = ? AND ended = 0"
    db.execute(statement, (name, user))
    return get(db, user, name)


def delete(db: Database, user: str, name: str) -> bool:
    """Delete a user's run; returns whether there was one."""
    return db.execute("DELETE FROM runs WHERE id = ? AND owner = ?", (name, user)) > 0


def events_after(
    db: Database, user: str, name: str, number: int
) -> tuple[list[RunEvent], bool] | None:
    """The events of a user's run behind the one of a number, and whether no more will come.

    Returns:
        None if the user has no such run.

    Raises:
        Problem: 409, no events are kept of the run.
    """
    row = db.row(
        "SELECT background, events, record, answer FROM runs WHERE id = ? AND owner = ?",
        (name, user),
    )
    if row is None:
        return None
    if not row["background"]:
        raise Problem(
            409, "no_events", "no events are kept of this run", fix="start it with POST /runs"
        )
    stored = db.rows(
        "SELECT last, events FROM run_events WHERE run = ? AND last > ? ORDER BY last",
        (name, number),
    )
    found = []
    for batch in stored:
        events = json.loads(batch["events"])
        first = batch["last"] - len(events) + 1
        found += [RunEvent(first + place, *event) for place, event in enumerate(events)]
    found = [event for event in found if event.number > number]
    run = _result(row)
    if run.ended and number <= row["events"]:
        last = ("done", run.answer.model_dump()) if run.answer else ("error", run.error)
        found.append(RunEvent(row["events"] + 1, *last))
    return found, run.ended


def give_up(db: Database) -> list[str]:
    """End the runs of processes whose leases have expired; returns their ids."""
    rows = db.rows("SELECT id, events, record FROM runs WHERE ended = 0 AND lease < ?", (db.now(),))
    for row in rows:
        run = ServedRun(**json.loads(row["record"]))
        run.status, run.error = "failed", details(interrupted())
        error = {name: run.error[name] for name in ("code", "what", "fix")}
        about = {"run": run.id, "stopped": False, "error": error}
        change = Change(run, row["events"], [], 0)
        end(db, change, None, Message(_text(db, run.id), about))
    return [row["id"] for row in rows]


def _text(db: Database, name: str) -> str:
    """The answer as far as it came, of the events that were kept."""
    batches = db.rows("SELECT events FROM run_events WHERE run = ? ORDER BY last", (name,))
    return "".join(
        data["text"]
        for batch in batches
        for kind, data in json.loads(batch["events"])
        if kind == "token" and data["answer"]
    )


def renew(db: Database, names: Sequence[str], lease: float) -> None:
    """Renew the lease of runs."""
    statement = "UPDATE runs SET lease = ? WHERE ended = 0 AND id IN"
    db.execute(statement + _list(names), (db.now() + lease, *names))


def unwanted(db: Database, names: Sequence[str]) -> set[str]:
    """Those of some runs that were cancelled, deleted or given up."""
    statement = "SELECT id FROM runs WHERE ended = 0 AND cancelled = 0 AND id IN"
    return {*names} - {row["id"] for row in db.rows(statement + _list(names), names)}


def forget_events(db: Database, seconds: float) -> None:
    """Delete the events of runs that ended so long ago."""
    db.execute(
        "DELETE FROM run_events WHERE run IN (SELECT id FROM runs WHERE changed < ? AND background "
        "= 1 AND ended = 1)",
        (time.time() - seconds,),
    )


def progress(db: Database, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """How far some runs are: whether they ended, and the number of their events."""
    statement = "SELECT id, ended, events FROM runs WHERE id IN"
    rows = db.rows(statement + _list(names), names)
    return {row["id"]: (row["ended"], row["events"]) for row in rows}


def _list(names: Sequence[str]) -> str:
    """As many question marks in parentheses; `NULL` is in no table."""
    return f" ({', '.join('?' * len(names)) or 'NULL'})"
