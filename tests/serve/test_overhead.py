"""What a question does not wait for: threads, the disk, transactions that nobody needs."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import anyio.to_thread
import httpx
import pytest
from fastapi import Depends, FastAPI, Request

from rag.serve import Identity, Settings, app, router
from rag.serve.errors import Problem
from rag.serve.identity.keys import KeyFile
from rag.serve.runs.deadline import Deadline
from rag.serve.state.sqlite import SQLiteDatabase
from tests.serve.conftest import Doors, local, running, toy
from tests.serve.held import Held, servers
from tests.serve.waiting import until

QUESTION = {"query": "Books"}


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each transaction over SQLite: whether it waits for the disk."""
    found: list[bool] = []
    within = SQLiteDatabase.within

    def noted(self: SQLiteDatabase, work: Any, *, flushed: bool = True) -> Any:
        found.append(flushed)
        return within(self, work, flushed=flushed)

    monkeypatch.setattr(SQLiteDatabase, "within", noted)
    return found


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is given to the threads of anyio and asyncio."""
    found: list[str] = []
    by_anyio, by_asyncio = anyio.to_thread.run_sync, asyncio.to_thread

    async def noted(call: Any, *given: Any, **options: Any) -> Any:
        found.append(repr(call))
        return await by_anyio(call, *given, **options)

    async def noted_too(call: Any, *given: Any, **options: Any) -> Any:
        found.append(repr(call))
        return await by_asyncio(call, *given, **options)

    monkeypatch.setattr(anyio.to_thread, "run_sync", noted)
    monkeypatch.setattr(asyncio, "to_thread", noted_too)
    return found


def by_header(request: Request) -> Identity:
    return Identity(request.headers.get("x-user", "ann"))


async def at_once(request: Request) -> Identity:
    """As `by_header`, and needs nothing of FastAPI."""
    return by_header(request)


@pytest.mark.parametrize("kind", ["nobody", "one", "keys", "own"])
def test_a_question_needs_no_thread(kind: str, tmp_path: Path, threads: list[str]) -> None:
    settings, keys = Settings(data=tmp_path / "data"), tmp_path / "keys.json"
    headers = {"Authorization": f"Bearer {KeyFile(keys).add('ann')}"}
    made = {
        "nobody": lambda: app(toy(), settings=settings),
        "one": lambda: local(toy(), settings=settings),
        "keys": lambda: app(toy(), keys=keys, settings=settings),
        "own": lambda: app(toy(), identity=at_once, settings=settings),
    }[kind]()
    with running(made) as address, httpx.Client(base_url=address, headers=headers) as http:
        assert http.post("/ask", json=QUESTION).status_code == 200  # opens the flow
        del threads[:]
        assert http.post("/ask", json=QUESTION).json()["answer"].startswith("Books stand")
        assert http.post("/ask", json=QUESTION | {"stream": True}).status_code == 200
        assert threads == []


def test_a_dependency_that_may_wait_has_a_thread(tmp_path: Path, threads: list[str]) -> None:
    made = app(toy(), identity=by_header, settings=Settings(data=tmp_path / "data"))
    with running(made) as address:
        httpx.post(f"{address}/ask", json=QUESTION)
        del threads[:]
        httpx.post(f"{address}/ask", json=QUESTION)
        assert len(threads) == 1


def test_what_replaces_a_dependency_counts(tmp_path: Path) -> None:
    made = FastAPI()
    made.include_router(router(toy(), identity=at_once, settings=Settings(data=tmp_path / "data")))
    made.dependency_overrides[at_once] = lambda: "eve"
    with running(made) as address:
        assert httpx.get(f"{address}/identity").json()["user"] == "eve"
        made.dependency_overrides.clear()
        assert httpx.get(f"{address}/identity").json()["user"] == "ann"


def test_a_coroutine_with_dependencies_of_its_own(tmp_path: Path) -> None:
    async def who(request: Request, user: Annotated[str, Depends(lambda: "bob")]) -> str:
        return f"{user}{len(request.headers.get('x-more', ''))}"

    made = app(toy(), identity=who, settings=Settings(data=tmp_path / "data"))
    with running(made) as address:
        found = httpx.get(f"{address}/identity", headers={"x-more": "abc"})
        assert found.json()["user"] == "bob3"


def test_only_what_somebody_comes_back_for_waits_for_the_disk(
    tmp_path: Path, commits: list[bool]
) -> None:
    server = running(local(toy(), settings=Settings(data=tmp_path / "data")))
    with server as address, httpx.Client(base_url=address) as http:
        key = http.post("/conversations").json()["id"]
        for more, flushed in (
            ({}, False),
            ({"stream": True}, False),
            ({"conversation": key}, True),
        ):
            del commits[:]
            assert http.post("/ask", json=QUESTION | more).status_code == 200
            assert commits == [flushed, flushed]  # its begin and its end, and nothing between
        del commits[:]
        run = http.post("/runs", json=QUESTION).json()["id"]
        until(lambda: http.get(f"/runs/{run}").json()["answer"] is not None)
        assert commits[0]


def test_how_far_a_run_is_can_be_seen_from_elsewhere(tmp_path: Path, client: Any) -> None:
    held = Held(tmp_path / "held")
    held.open("searching")
    settings = Settings(data=tmp_path / "data", lease=3600)  # when it is renewed, all is stored
    with servers(held, settings) as (here, there), ThreadPoolExecutor() as pool:
        asked = pool.submit(client(here.address).post, "/ask", json={"query": "a"})
        held.entered("a", "streaming")
        other = client(there.address)
        run = other.get("/runs").json()[0]["id"]
        until(lambda: len(other.get(f"/runs/{run}").json()["steps"]) == 1)
        held.open("streaming")
        answer = asked.result()
        assert answer.headers["x-run-id"] == run
        here.kill()
        assert other.get(f"/runs/{run}").json()["status"] == "done"


def test_a_flow_is_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(
        "rag.serve.http.status.svg", lambda flow: drawn.append(flow.name) or "<svg>"
    )
    with running(local(toy(), settings=Settings(data=tmp_path / "data"))) as address:
        found = [httpx.get(f"{address}/pipelines").json() for _ in range(2)]
    assert found[0] == found[1]
    assert (found[0][0]["drawing"], drawn) == ("<svg>", ["toy"])


def test_a_deadline_ends_with_its_run() -> None:
    async def run(*, close: bool) -> None:
        deadline = Deadline(0.0)
        deadline.start()
        if close:
            deadline.close()

        async def turns() -> None:
            for _ in range(5):
                await asyncio.sleep(0)

        await deadline.within(turns())

    asyncio.run(run(close=True))
    with pytest.raises(Problem, match="took longer"):
        asyncio.run(run(close=False))


def test_a_flow_that_is_open_is_no_longer_idle(tmp_path: Path, doors: Doors) -> None:
    """The one used longest ago is closed, also where an open flow is found without a thread."""
    from rag.serve.pipelines.flows import Flows
    from rag.serve.pipelines.pipeline import Pipelines

    pipelines = Pipelines({name: toy(name) for name in "abc"})
    flows = Flows(pipelines, tmp_path, 2)
    user = Identity("ann")

    async def used(name: str) -> Any:
        lease = await flows.lease(pipelines[name], user)
        lease.close()
        return lease.flow

    async def run() -> None:
        first = await used("a")
        second = await used("b")
        assert await used("a") is first
        await used("c")
        assert await used("a") is first
        assert await used("b") is not second

    asyncio.run(run())
