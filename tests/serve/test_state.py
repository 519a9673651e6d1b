"""The server's file: its transactions, its format, what is logged."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from pathlib import Path

import pytest

from rag.errors import ConfigError
from rag.serve.state import FORMAT, ServerState

SCHEMA = "CREATE TABLE IF NOT EXISTS notes (text TEXT UNIQUE)"


def add(*texts: str, fail: bool = False) -> object:
    """Work that writes some notes, and may then fail."""

    def work(db: sqlite3.Connection) -> int:
        for text in texts:
            db.execute("INSERT INTO notes VALUES (?)", (text,))
        if fail:
            raise ValueError("no")
        return len(texts)

    return work


def notes(db: sqlite3.Connection) -> list[str]:
    return [text for (text,) in db.execute("SELECT text FROM notes ORDER BY rowid")]


def test_work_is_a_transaction(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        state = ServerState(tmp_path / "new" / "serve.sqlite", SCHEMA)
        await state.open()
        assert await state.do(add("a", "b")) == 2  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="no"):
            await state.do(add("c", fail=True))  # type: ignore[arg-type]
        state.post(add("d"))  # type: ignore[arg-type]
        state.post(add("a"))  # type: ignore[arg-type]
        await state.close()
        again = ServerState(tmp_path / "new" / "serve.sqlite", SCHEMA)
        await again.open()
        assert await again.do(notes) == ["a", "b", "d"]
        await again.close()

    with caplog.at_level(logging.ERROR, "rag.serve"):
        asyncio.run(run())
    assert "could not be written" in caplog.text
    assert (tmp_path / "new" / "serve.sqlite").stat().st_mode & 0o077 == 0


def test_a_file_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "serve.sqlite"
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {FORMAT + 1}")
    db.close()
    with pytest.raises(ConfigError, match="later version"):
        asyncio.run(ServerState(path, SCHEMA).open())


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "serve.sqlite").mkdir()
    with pytest.raises(ConfigError, match="the server's file") as refused:
        asyncio.run(ServerState(tmp_path / "serve.sqlite", SCHEMA).open())
    assert "--data" in (refused.value.fix or "")
