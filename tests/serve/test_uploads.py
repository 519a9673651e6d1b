"""Who ingests an upload: leases, fairness, workers that stop, die, or lose their claim."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from rag import Flow
from rag.index import Index
from rag.index.ingest.batch import SLICE
from rag.index.local.address import FolderAddress
from rag.operators import BM25
from rag.serve import Settings
from rag.serve.service import Service
from rag.serve.state.postgres import PostgresDatabase
from rag.serve.state.server_state import ServerState
from rag.serve.state.sqlite import SQLiteDatabase
from rag.serve.uploads.queue import DEATHS, UploadQueue
from rag.serve.uploads.uploads import UPLOADS_SCHEMA, Uploads
from rag.testing.encoders import ScriptedEmbedder
from tests.cli.command import rag
from tests.serve.conftest import local, running
from tests.serve.waiting import until

NOTE = b"# Ferry\n\nThe ferry Borealis leaves the quay at seven.\n"
LEASE = 30.0


@dataclass
class Clock:
    """The clock of the state, which a test sets."""

    seconds: float = 1e6


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for one in (SQLiteDatabase, PostgresDatabase):
        monkeypatch.setattr(one, "now", lambda _: clock.seconds)
    return clock


class Process:
    """What a process of a server has of its uploads."""

    def __init__(self, state: ServerState, folder: Path) -> None:
        self.queue = UploadQueue(state, LEASE)
        self.uploads = Uploads(
            state,
            folder,
            address=lambda *_: FolderAddress(folder / "index"),
            max_bytes=1000,
            max_documents=50,
            max_user_bytes=10_000,
        )

    async def keep(self, user: str, *names: str, pipeline: str = "p") -> None:
        for name in names:
            path = self.uploads.incoming()
            path.write_bytes(NOTE)
            await self.uploads.keep(user, user, pipeline, name, path)

    async def claimed(self) -> str | None:
        """The name of what it claims."""
        found = await self.queue.claim(["p"])
        return None if found is None else found.upload.path.name

    async def states(self, user: str = "ann") -> dict[str, str]:
        return {one.name: one.status for one in await self.uploads.of(user)}


@asynccontextmanager
async def processes(where: Path | str, folder: Path, count: int) -> AsyncIterator[list[Process]]:
    states = [ServerState(where, UPLOADS_SCHEMA) for _ in range(count)]
    for state in states:
        await state.open()
    try:
        yield [Process(state, folder) for state in states]
    finally:
        for state in states:
            await state.close()


async def test_what_a_dead_worker_claimed_is_anothers_when_its_lease_is_over(
    state_at: Path | str, tmp_path: Path, clock: Clock
) -> None:
    async with processes(state_at, tmp_path, 2) as (dead, other):
        await dead.keep("ann", "a.md")
        lost = await dead.queue.claim(["p"])
        assert lost is not None
        clock.seconds += LEASE - 1
        assert await other.claimed() is None
        assert await dead.queue.renew(lost, 0.5)
        clock.seconds += LEASE - 1
        assert await other.claimed() is None
        (shown,) = await other.uploads.of("ann")
        assert (shown.status, shown.progress) == ("ingesting", 0.5)
        clock.seconds += 2
        taken = await other.queue.claim(["p"])
        assert taken is not None
        assert taken.upload.path == lost.upload.path
        # The first one comes back to life, too late.
        assert not await dead.queue.renew(lost, 0.9)
        assert not await dead.queue.settle(lost, "failed", detail="no")
        assert await other.queue.settle(taken, "ready", chunks=3)
        (shown,) = await dead.uploads.of("ann")
        assert (shown.status, shown.progress, shown.chunks) == ("ready", 1.0, 3)
        clock.seconds += 9 * LEASE
        assert await other.claimed() is None


async def test_an_upload_that_ends_its_process_again_and_again_is_given_up(
    state_at: Path | str, tmp_path: Path, clock: Clock
) -> None:
    async with processes(state_at, tmp_path, 1) as (one,):
        await one.keep("ann", "bomb.md")
        for _ in range(DEATHS):
            assert await one.claimed() == "bomb.md"
            clock.seconds += LEASE + 1
        assert await one.claimed() is None
        (shown,) = await one.uploads.of("ann")
        assert shown.status == "failed"
        assert "ended the process" in shown.detail


async def test_what_changes_under_a_worker(
    state_at: Path | str, tmp_path: Path, clock: Clock
) -> None:
    async with processes(state_at, tmp_path, 1) as (one,):
        await one.keep("ann", "a.md", "b.md", "c.md")
        claims = [await one.queue.claim(["p"]) for _ in range(3)]
        first, second, third = (claim for claim in claims if claim is not None)
        await one.keep("ann", "a.md")  # another file of that name
        assert not await one.queue.settle(first, "ready")
        assert not await one.queue.is_deleted(first.upload)
        deleting = await one.queue.begin_deletion("ann", second.upload.id)
        assert not await one.queue.renew(second, 0.1)
        assert await one.queue.is_deleted(second.upload)
        assert await one.states() == {"a.md": "queued", "b.md": "deleting", "c.md": "ingesting"}
        await one.queue.cancel_deletion(deleting)  # the index could not be written
        assert await one.queue.settle(third, "ready")
        ready = await one.queue.begin_deletion("ann", third.upload.id)
        await one.queue.cancel_deletion(ready)
        assert await one.states() == {"a.md": "queued", "b.md": "queued", "c.md": "ready"}
        ready = await one.queue.begin_deletion("ann", third.upload.id)
        await one.keep("ann", "c.md")
        await one.queue.forget(ready)  # not the new one
        assert third.upload.path.exists()
        await one.queue.forget(await one.queue.begin_deletion("ann", third.upload.id))
        assert not third.upload.path.exists()
        assert await one.states() == {"a.md": "queued", "b.md": "queued"}


async def test_a_user_with_many_uploads_does_not_hold_up_the_others(
    state_at: Path | str, tmp_path: Path, clock: Clock
) -> None:
    begun = []
    async with processes(state_at, tmp_path, 1) as (one,):
        await one.keep("ann", "ann1", "ann2", "ann3", "ann4")
        await one.keep("ben", "ben1", "ben2")
        await one.keep("dan", "dan1", pipeline="another worker's")
        for number in range(7):
            claim = await one.queue.claim(["other", "p"])
            assert claim is not None
            begun.append(claim.upload.path.name)
            await one.queue.settle(claim, "ready")
            if number == 2:
                await one.keep("cat", "cat1")
        assert await one.claimed() is None
    assert begun == ["ann1", "ben1", "ann2", "cat1", "ben2", "ann3", "ann4"]


class Held(ScriptedEmbedder):
    """Waits in every batch until the test lets it go on."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.go_on = threading.Semaphore(0), threading.Semaphore(0)

    def embed(self, texts: Sequence[str]) -> Any:
        self.entered.release()
        assert self.go_on.acquire(timeout=60)
        return super().embed(texts)


@dataclass
class Server:
    """A server whose embedder a test holds, and its index."""

    service: Service
    embedder: Held
    index: Path

    async def upload(self, name: str, data: bytes) -> str:
        path = self.service.uploads.incoming()
        path.write_bytes(data)
        kept = await self.service.uploads.keep("ann", "shared", "p", name, path)
        return kept.id

    async def status(self, key: str) -> str:
        return (await self.service.uploads.get("ann", key)).status

    async def embedding(self) -> None:
        assert await asyncio.to_thread(self.embedder.entered.acquire, timeout=60)

    def chunks(self) -> int:
        return Index.open(self.index).stats().chunks if self.index.exists() else 0


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    embedder, index = Held(), tmp_path / "index"
    flow = Flow(BM25(), name="p", resources={"index": str(index), "embedder": embedder})
    service = Service(flow, Settings(data=tmp_path / "data"))
    await service.state.open()
    yield Server(service, embedder, index)
    embedder.go_on.release(100)
    await service.upload_worker.stop(0)
    service.flows.close()
    await service.state.close()


LONG = b"\n".join(b"# Part %d\n\nThe ferry %d leaves.\n" % (n, n) for n in range(3 * SLICE))


async def test_a_worker_stops_between_two_batches(server: Server) -> None:
    key = await server.upload("long.md", LONG)
    server.service.upload_worker.start()
    await server.embedding()
    stopped = asyncio.create_task(server.service.upload_worker.stop(60))
    server.embedder.go_on.release()
    await stopped
    assert len(server.embedder.batches) == 1
    assert (await server.status(key), server.chunks()) == ("queued", 0)


async def test_a_worker_does_not_wait_for_a_batch_beyond_its_deadline(server: Server) -> None:
    key = await server.upload("long.md", LONG)
    server.service.upload_worker.start()
    await server.embedding()
    await server.service.upload_worker.stop(0)
    assert (await server.status(key), server.embedder.batches) == ("queued", [])


async def test_what_is_deleted_while_it_is_ingested_is_not_in_the_index(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by another process, which has waited for nobody."""
    key = await server.upload("note.md", NOTE)
    worker, queue = server.service.upload_worker, server.service.upload_queue
    removed = asyncio.Event()
    original = worker._remove

    async def remove(upload: Any) -> None:
        await original(upload)
        removed.set()

    monkeypatch.setattr(worker, "_remove", remove)
    worker.start()
    await server.embedding()
    upload = await queue.begin_deletion("ann", key)
    await queue.forget(upload)
    server.embedder.go_on.release(10)
    await asyncio.wait_for(removed.wait(), 60)
    assert server.chunks() == 0


def ingesting(folder: Path, lease: float) -> subprocess.Popen[str]:
    """A process that has begun to ingest, and never ends by itself."""
    command = [sys.executable, "-m", "tests.serve.upload_process", str(folder), str(lease)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path.cwd())
    assert process.stdout is not None
    assert process.stdout.readline() == "embedding\n"
    return process


def sent(address: str) -> str:
    files = {"files": ("ferry.md", NOTE)}
    return str(httpx.post(f"{address}/documents", files=files, timeout=60).json()[0]["id"])


def status(address: str, key: str) -> str:
    return str(httpx.get(f"{address}/documents/{key}", timeout=60).json()["status"])


def serving(folder: Path, embedder: Any, **options: Any) -> Any:
    resources = {"index": str(folder / "index"), "embedder": embedder}
    flow = Flow(BM25(), name="p", resources=resources)
    return local(flow, settings=Settings(data=folder / "data", **options))


@pytest.mark.parametrize("ended", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_in_a_process_of_its_own_that_ends(tmp_path: Path, ended: signal.Signals) -> None:
    """Killed, its lease runs out; told to end, it gives its claim up although a batch goes on."""
    with running(serving(tmp_path, ScriptedEmbedder(), ingest=False)) as address:
        key = sent(address)
        lease = 0.3 if ended == signal.SIGKILL else 600.0
        process = ingesting(tmp_path, lease)
        assert status(address, key) == "ingesting"
        process.send_signal(ended)
        out, _ = process.communicate(timeout=60)
        assert out == ("" if ended == signal.SIGKILL else "ended\n")
        assert status(address, key) == ("ingesting" if ended == signal.SIGKILL else "queued")
        with running(serving(tmp_path, ScriptedEmbedder())):  # another worker
            until(lambda: status(address, key) == "ready", 60)


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("name: p\nresources: {index: ./index}\nsteps: [{use: bm25}]\n")
    flow = Flow(BM25(), name="p", resources={"index": str(tmp_path / "index")})
    settings = Settings(data=tmp_path / "data", ingest=False)
    with running(local(flow, settings=settings)) as address:
        key = sent(address)

        def end_when_ready() -> None:
            until(lambda: status(address, key) == "ready", 60)
            os.kill(os.getpid(), signal.SIGTERM)

        waiting = threading.Thread(target=end_when_ready)
        waiting.start()
        rag("worker", "p.yaml", "--data", "data", cwd=tmp_path)
        waiting.join()
    assert Index.open(tmp_path / "index").stats().chunks == 1
