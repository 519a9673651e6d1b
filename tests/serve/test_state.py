"""The server's state: its transactions, its format, what is logged; over SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from rag.errors import ConfigError
from rag.serve.errors import Problem
from rag.serve.state.database import FORMAT, Database
from rag.serve.state.server_state import ServerState

SCHEMA = "CREATE TABLE IF NOT EXISTS notes (number {identity}, text TEXT UNIQUE)"


def add(db: Database, *texts: str, fail: bool = False) -> int:
    """Write some notes, and maybe fail."""
    changed = sum(db.execute("INSERT INTO notes (text) VALUES (?)", (text,)) for text in texts)
    if fail:
        raise ValueError("no")
    return changed


def notes(db: Database) -> list[str]:
    return [row["text"] for row in db.rows("SELECT text FROM notes ORDER BY number")]


async def opened(where: Path | str) -> ServerState:
    state = ServerState(where, SCHEMA)
    await state.open()
    return state


def test_work_is_a_transaction(state_at: Path | str, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        state = await opened(state_at)
        assert await state.do(lambda db: add(db, "a", "100 % \0 sure?")) == 2
        with pytest.raises(ValueError, match="no"):
            await state.do(lambda db: add(db, "c", fail=True))
        state.post(lambda db: add(db, "d"))
        state.post(lambda db: add(db, "e", "a"))
        await state.close()
        again = await opened(state_at)
        first, second, third = await again.do(notes)
        assert (first, second.replace("\ufffd", "\0"), third) == ("a", "100 % \0 sure?", "d")
        assert (
            await again.do(lambda db: db.row("SELECT text FROM notes WHERE text = ?", ("?",)))
            is None
        )
        await again.close()

    with caplog.at_level(logging.ERROR, "rag.serve"):
        asyncio.run(run())
    assert "could not be written" in caplog.text


def test_work_that_reads_before_it_writes_waits_for_its_like(state_at: Path | str) -> None:
    """Eight processes' worth of counters that read, then write: no count is lost."""

    def count(db: Database) -> None:
        db.lock("counter")
        (row,) = db.rows("SELECT count(*) AS n FROM notes")
        add(db, f"{row['n']}")

    async def run() -> list[str]:
        states = [await opened(state_at) for _ in range(4)]
        await asyncio.gather(*(state.do(count) for state in states for _ in range(4)))
        found = await states[0].do(notes)
        for state in states:
            await state.close()
        return found

    assert asyncio.run(run()) == [str(number) for number in range(16)]


def test_processes_that_start_together_make_the_tables_once(state_at: Path | str) -> None:
    start = threading.Barrier(4)

    def one() -> None:
        async def run() -> None:
            start.wait()
            await (await opened(state_at)).close()

        asyncio.run(run())

    async def all_() -> None:
        await asyncio.gather(*(asyncio.to_thread(one) for _ in range(4)))

    asyncio.run(all_())


def test_a_state_of_a_later_version_is_refused(state_at: Path | str) -> None:
    async def run() -> None:
        state = await opened(state_at)
        statement = f"PRAGMA user_version = {FORMAT + 1}"
        if isinstance(state_at, str):
            statement = "UPDATE format SET format = format + 1"
        await state.do(lambda db: db.execute(statement))
        await state.close()
        await opened(state_at)

    with pytest.raises(ConfigError, match="later version"):
        asyncio.run(run())


def test_the_file_is_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "new" / "serve.sqlite"

    async def run() -> None:
        await (await opened(path)).close()

    asyncio.run(run())
    assert path.stat().st_mode & 0o077 == 0


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "serve.sqlite").mkdir()
    with pytest.raises(ConfigError, match="the server's file") as refused:
        asyncio.run(opened(tmp_path / "serve.sqlite"))
    assert "--data" in (refused.value.fix or "")


def test_a_disk_that_is_full_is_told_apart(tmp_path: Path) -> None:
    def fill(db: Database) -> None:
        db.rows("PRAGMA max_page_count = 1")
        add(db, "x" * 100_000)

    async def run() -> None:
        state = await opened(tmp_path / "serve.sqlite")
        try:
            await state.do(fill)
        finally:
            assert await state.do(notes) == []
            await state.close()

    with pytest.raises(Problem) as full:
        asyncio.run(run())
    assert (full.value.status, full.value.code, full.value.internal) == (507, "disk_full", True)


def test_a_state_that_somebody_else_holds_is_told_and_used_again(tmp_path: Path) -> None:
    path = tmp_path / "serve.sqlite"

    async def run() -> None:
        state = await opened(path)
        await state.do(lambda db: db.rows("PRAGMA busy_timeout = 1"))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Problem) as held:
                await state.do(lambda db: add(db, "a"))
            assert (held.value.status, held.value.code) == (503, "state_unavailable")
            assert held.value.internal
            assert held.value.headers["Retry-After"]
            other.execute("ROLLBACK")
        await state.do(lambda db: add(db, "b"))
        assert await state.do(notes) == ["b"]
        await state.close()

    asyncio.run(run())


def test_a_database_that_went_away_is_found_again(postgres: str) -> None:
    """The connection is closed while nothing is done, and within some work, before its end."""
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid != pg_backend_pid()"

    async def run() -> None:
        state, admin = await opened(postgres), await opened(postgres)
        await state.do(lambda db: add(db, "a"))
        await admin.do(lambda db: db.rows(kill))
        await state.do(lambda db: add(db, "b"))
        tries = []

        def killed(db: Database) -> None:
            add(db, f"c{len(tries)}")
            tries.append(1)
            if len(tries) == 1:
                db.rows("SELECT pg_terminate_backend(pg_backend_pid())")

        await state.do(killed)
        assert await state.do(notes) == ["a", "b", "c1"]
        await state.close()
        await admin.close()

    asyncio.run(run())


def test_a_database_that_cannot_be_reached(tmp_path: Path) -> None:
    address = f"postgresql://ann:hush@/state?host={tmp_path}"
    with pytest.raises(ConfigError, match="state cannot be used") as refused:
        asyncio.run(opened(address))
    assert "hush" not in str(refused.value)
    with pytest.raises(ConfigError, match="no name of a schema"):
        asyncio.run(opened(f"{address}&schema=a;b"))


def test_a_commit_is_on_the_disk_unless_nobody_waits_for_it(state_at: Path | str) -> None:
    on_disk, not_yet = ({"synchronous": 2}, {"synchronous": 1})
    statement = "PRAGMA synchronous"
    if isinstance(state_at, str):
        statement = "SHOW synchronous_commit"
        on_disk, not_yet = ({"synchronous_commit": one} for one in ("on", "off"))

    async def run() -> None:
        state = await opened(state_at)
        for flushed, expected in ((True, on_disk), (False, not_yet), (True, on_disk)):
            assert await state.do(lambda db: db.rows(statement), flushed=flushed) == [expected]
        assert await state.begun(lambda db: db.rows(statement)) == [on_disk]
        await state.close()

    asyncio.run(run())
