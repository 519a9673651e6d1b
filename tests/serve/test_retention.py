"""What is older than the settings say is deleted, once, by one process, and never anything else."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from rag import Flow
from rag.errors import IndexStateError
from rag.operators import BM25
from rag.serve import Settings, app
from rag.serve.conversations.feedback import Feedback
from rag.serve.errors import Problem
from rag.serve.identity.identity import Identity
from rag.serve.retention import BATCH, DAY, Days, Retention
from rag.serve.runs.runs import new_run
from rag.serve.runs.table import ServedRun
from rag.serve.service import Service
from rag.testing.encoders import ScriptedEmbedder
from tests.serve.conftest import running, toy
from tests.serve.waiting import until

LONG_AGO = 1_000_000.0
"""When what is old was made, in seconds since the epoch."""


class Clock:
    """The time, as a test says."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Service]:
    """A service whose state is open, and nothing else."""
    service = Service(toy(), settings)
    await service.state.open()
    try:
        yield service
    finally:
        await service.state.close()


def retention(
    service: Service, days: Days, now: float, delete: Callable[..., Any] | None = None
) -> Retention:
    return Retention(service.state, days, delete or service.upload_worker.delete, Clock(now))


async def date_back(service: Service, table: str, column: str, *names: str) -> None:
    """Let rows be of long ago."""
    statement = f"UPDATE {table} SET {column} = ? WHERE id = ?"  # noqa: S608
    for name in names:
        await service.state.do(lambda db, name=name: db.execute(statement, (LONG_AGO, name)))


async def a_run(service: Service, user: str, conversation: str | None, *, ends: bool) -> ServedRun:
    run = new_run("toy", conversation, background=True)
    await service.runs.begin(user, run)
    if ends:
        run.status = "done"
        await service.runs.end(run)
    return run


async def count(service: Service, table: str) -> int:
    rows = await service.state.do(lambda db: db.rows(f"SELECT count(*) AS n FROM {table}"))  # noqa: S608
    return int(rows[0]["n"])


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(one.getMessage()) for one in caplog.records if one.name == "rag.audit"]


@pytest.fixture
def audit(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "rag.audit")
    return caplog


async def test_old_conversations_go_with_all_that_is_kept_of_them(
    kept: Settings, audit: pytest.LogCaptureFixture
) -> None:
    async with opened(kept) as service:
        old, busy, young = [(await service.conversations.begin("ann")).id for _ in range(3)]
        await a_run(service, "ann", old, ends=True)
        goes_on = await a_run(service, "ann", busy, ends=False)
        await service.state.do(
            lambda db: db.execute(
                "INSERT INTO messages (conversation, role, text, about, created) "
                "VALUES (?, 'assistant', 'a', '{}', 0)",
                (old,),
            )
        )
        await service.feedback.put("ann", old, 1, Feedback(rating="good"))
        await date_back(service, "conversations", "updated", old, busy)
        policy = retention(service, Days(conversations=30), LONG_AGO + 31 * DAY)
        assert await policy.apply()
        found = {one.id for one in await service.conversations.heads("ann")}
        assert found == {busy, young}
        for table in ("messages", "feedback"):
            assert await count(service, table) == 0
        assert [one.id for one in await service.runs.listed("ann")] == [goes_on.id]
        expected = {"deed": "delete_conversation", "user": "ann", "by": "retention"}
        assert lines(audit) == [{**expected, "conversation": old}]


async def test_a_conversation_is_kept_to_the_last_second(kept: Settings) -> None:
    async with opened(kept) as service:
        one = (await service.conversations.begin("ann")).id
        await date_back(service, "conversations", "updated", one)
        assert await retention(service, Days(conversations=30), LONG_AGO + 30 * DAY).apply()
        assert await count(service, "conversations") == 1
        assert await retention(service, Days(conversations=29), LONG_AGO + 30 * DAY).apply()
        assert await count(service, "conversations") == 0


async def test_old_runs_go_that_ended(kept: Settings, audit: pytest.LogCaptureFixture) -> None:
    async with opened(kept) as service:
        old = await a_run(service, "ann", None, ends=True)
        young = await a_run(service, "bob", None, ends=True)
        goes_on = await a_run(service, "ann", None, ends=False)
        await date_back(service, "runs", "changed", old.id, goes_on.id)
        assert await retention(service, Days(runs=1), LONG_AGO + 2 * DAY).apply()
        assert [one.id for one in await service.runs.listed("ann")] == [goes_on.id]
        assert [one.id for one in await service.runs.listed("bob")] == [young.id]
        assert [(one["deed"], one["user"], one["run"]) for one in lines(audit)] == [
            ("delete_run", "ann", old.id)
        ]


async def test_more_than_one_transaction_deletes(
    kept: Settings, audit: pytest.LogCaptureFixture
) -> None:
    number = 2 * BATCH + 1
    async with opened(kept) as service:
        await service.state.do(
            lambda db: [
                db.execute("INSERT INTO conversations VALUES (?, 'ann', '', 0, 0)", (f"{one}",))
                for one in range(number)
            ]
        )
        assert await retention(service, Days(conversations=1), 2 * DAY).apply()
        assert await count(service, "conversations") == 0
    assert len(lines(audit)) == len({one["conversation"] for one in lines(audit)}) == number


async def test_of_several_processes_one_deletes_once_a_day(
    kept: Settings, audit: pytest.LogCaptureFixture
) -> None:
    days, clock = Days(conversations=1), Clock(LONG_AGO)
    async with opened(kept) as one, opened(kept) as other:
        both = [
            Retention(each.state, days, each.upload_worker.delete, clock) for each in (one, other)
        ]

        async def applied() -> int:
            return sum(await asyncio.gather(*(each.apply() for each in both)))

        assert await applied() == 1
        assert await applied() == 0
        clock.now += DAY - 1
        assert await applied() == 0
        clock.now += 1
        assert await applied() == 1
        changed = Retention(one.state, Days(conversations=2), one.upload_worker.delete, clock)
        assert await changed.apply()
        assert not await changed.apply()
    assert lines(audit) == []


async def test_an_old_upload_goes_and_one_that_cannot_is_tried_again(
    kept: Settings, audit: pytest.LogCaptureFixture
) -> None:
    refused, asked = {"locked", "gone"}, []

    async def delete(user: str, key: str) -> None:
        asked.append((user, key))
        if key == "gone":
            raise Problem(404, "no_document", "its user was faster")
        if key in refused:
            raise IndexStateError("another process writes to the index")
        await service.state.do(lambda db: db.execute("DELETE FROM documents WHERE id = ?", (key,)))

    async with opened(kept) as service:
        rows = [
            ("ready", "ready", 0.0), ("failed", "failed", 1.0), ("locked", "ready", 2.0),
            ("gone", "ready", 3.0), ("waits", "queued", 0.0), ("begun", "ingesting", 0.0),
            ("young", "ready", 3 * DAY),
        ]  # fmt: skip
        statement = (
            "INSERT INTO documents (id, owner, collection, pipeline, name, path, bytes, status, "
            "created) VALUES (?, 'ann', 'c', 'toy', 'n', 'p', 1, ?, ?)"
        )
        await service.state.do(lambda db: [db.execute(statement, row) for row in rows])
        policy = retention(service, Days(uploads=2), 3 * DAY, delete)
        assert await policy.apply()
        assert "another process writes" in audit.text
        assert asked == [("ann", key) for key in ("ready", "failed", "locked", "gone")]
        assert [one["document"] for one in lines(audit)] == ["ready", "failed"]
        refused.clear()
        assert await policy.apply()
        assert [one["document"] for one in lines(audit)] == ["ready", "failed", "locked"]
        assert not await policy.apply()


def test_a_server_deletes_what_is_old_when_it_starts(
    tmp_path: Path, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A document is found, a server starts that keeps none so long, and it is not found."""
    resources = {"index": str(tmp_path / "index"), "embedder": ScriptedEmbedder()}
    forever = Settings(data=tmp_path / "data")
    expiring = forever.model_copy(
        update={"keep_uploads_days": 1e-9, "keep_conversations_days": 9.0}
    )

    def serving(settings: Settings) -> Any:
        flow = Flow(BM25(), name="p", resources=resources)
        may = frozenset({"ask", "upload"})
        return running(
            app(flow, settings=settings, identity=lambda: Identity("ann", ("ann",), may))
        )

    def found(http: httpx.Client) -> int:
        return len(http.post("/ask", json={"query": "swan"}).json()["sources"])

    with serving(forever) as address:
        http = client(address)
        (one,) = http.post("/documents", files={"files": ("a.md", b"# Swans\n\nA swan.\n")}).json()
        until(lambda: http.get("/documents").json()[0]["status"] == "ready", 60)
        assert found(http) == 1
        conversation = http.post("/conversations").json()["id"]
    file = next((tmp_path / "data" / "files").rglob("a.md"))
    with caplog.at_level(logging.INFO, "rag.audit"), serving(expiring) as address:
        http = client(address)
        until(lambda: http.get("/documents").json() == [], 60)
        until(lambda: not file.exists())
        assert found(http) == 0
        assert [one["id"] for one in http.get("/conversations").json()] == [conversation]
    deleted = [line for line in lines(caplog) if line["deed"] == "delete_document"]
    about = {"user": "ann", "by": "retention", "document": one["id"]}
    assert deleted == [{"deed": "delete_document", **about}]


def test_nothing_is_deleted_by_default() -> None:
    given = {name: value for name, value in Settings() if name.endswith("_days")}
    assert given == dict.fromkeys(
        ("keep_conversations_days", "keep_runs_days", "keep_uploads_days")
    )
    Service(toy(), Settings()).retention.start()  # else there would have to be an event loop
