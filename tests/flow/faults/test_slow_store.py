"""A store that is slow, or held by another process, while a run goes on."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rag import Checkpoints, Flow, Map, operator
from rag.flow.memory.sqlite_store import SqliteRunStore
from rag.flow.run.threads import LIMIT
from tests.flow.bricks import inc, nap

INT = {"x": int}
PATIENCE = 30.0


async def turns(count: int) -> None:
    """Let everything else on the loop run so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


def test_a_file_that_another_process_holds_does_not_hold_up_the_event_loop(tmp_path: Path) -> None:
    flow = Flow(nap(seconds=0) >> inc(), inputs=INT)

    async def both(other: sqlite3.Connection) -> tuple[Any, Any]:
        # The file is held when each begins, and again when its first write is due.
        invoked = asyncio.ensure_future(checkpoints.start(flow, x=1).ainvoke())
        run = checkpoints.start(flow, x=2)
        other.execute("BEGIN IMMEDIATE")

        async def streamed() -> Any:
            return [event async for event in run.astream()][-1]

        streaming = asyncio.ensure_future(streamed())
        await turns(200)
        assert not invoked.done()
        assert not streaming.done()
        other.execute("ROLLBACK")
        return await invoked, (await streaming).result

    path = tmp_path / "runs"
    with Checkpoints(path) as checkpoints, closing(sqlite3.connect(path)) as other:
        other.isolation_level = None
        assert asyncio.run(both(other)) == ({"x": 2}, {"x": 3})
        assert {run.status for run in checkpoints.runs()} == {"done"}


def test_a_cancelled_run_is_over_only_when_its_last_write_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow, real = Flow(inc(name="a") >> inc(name="b"), inputs=INT), SqliteRunStore.record
    begun, go = threading.Event(), threading.Event()

    def slow(self: SqliteRunStore, *args: Any) -> None:
        begun.set()
        assert go.wait(PATIENCE)
        real(self, *args)

    async def cancel() -> None:
        run = checkpoints.start(flow, x=0)
        running = asyncio.ensure_future(run.ainvoke())
        await asyncio.to_thread(begun.wait, PATIENCE)
        running.cancel()
        ended, _ = await asyncio.wait([running], timeout=0.2)
        assert not ended
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert [str(step.place) for step in checkpoints.steps(run.id)] == ["a"]
        assert await checkpoints.resume(flow, run.id).ainvoke() == {"x": 2}

    monkeypatch.setattr(SqliteRunStore, "record", slow)
    with Checkpoints(tmp_path / "runs") as checkpoints:
        asyncio.run(cancel())


def test_a_synchronous_stream_that_is_closed_waits_for_the_end_of_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow, real = Flow(inc(name="a") >> inc(name="b"), inputs=INT), SqliteRunStore.record
    begun, go = threading.Event(), threading.Event()
    order: list[str] = []

    def slow(self: SqliteRunStore, *args: Any) -> None:
        begun.set()
        assert go.wait(PATIENCE)
        real(self, *args)
        order.append("written")

    monkeypatch.setattr(SqliteRunStore, "record", slow)
    with Checkpoints(tmp_path / "runs") as checkpoints:
        run = checkpoints.start(flow, x=0)
        events = run.stream()
        next(events)
        assert begun.wait(PATIENCE)
        threading.Timer(0.05, go.set).start()
        events.close()  # type: ignore[attr-defined]
        order.append("closed")
    assert order == ["written", "closed"]


def test_writes_do_not_queue_behind_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored, real = threading.Event(), SqliteRunStore.record

    @operator(writes="x")
    def hold(x: int) -> bool:
        return x == 0 or stored.wait(PATIENCE)

    def record(self: SqliteRunStore, *args: Any) -> None:
        real(self, *args)
        stored.set()

    monkeypatch.setattr(SqliteRunStore, "record", record)
    flow = Flow(Map(over="xs", as_="x", body=hold()), inputs={"xs": list[int]})
    with Checkpoints(tmp_path / "runs") as checkpoints:
        run = checkpoints.start(flow, xs=list(range(2 * LIMIT)))
        assert all(run.invoke()["x"])
