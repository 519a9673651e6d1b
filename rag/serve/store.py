"""What a server remembers, in one SQLite file: runs, conversations, uploaded documents."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from rag.errors import ConfigError

T = TypeVar("T")

FORMAT = 1
_SCHEMA = """
CREATE TABLE runs (
    id TEXT PRIMARY KEY, tenant TEXT NOT NULL, ended REAL NOT NULL, record TEXT NOT NULL
);
CREATE INDEX runs_by_end ON runs (ended);
CREATE TABLE conversations (
    id TEXT PRIMARY KEY, tenant TEXT NOT NULL, title TEXT NOT NULL,
    created REAL NOT NULL, updated REAL NOT NULL
);
CREATE INDEX conversations_by_tenant ON conversations (tenant, updated);
CREATE TABLE messages (
    number INTEGER PRIMARY KEY, conversation TEXT NOT NULL REFERENCES conversations (id)
        ON DELETE CASCADE,
    role TEXT NOT NULL, text TEXT NOT NULL, about TEXT NOT NULL, created REAL NOT NULL
);
CREATE INDEX messages_by_conversation ON messages (conversation, number);
CREATE TABLE documents (
    id TEXT NOT NULL, tenant TEXT NOT NULL, pipeline TEXT NOT NULL, name TEXT NOT NULL,
    path TEXT NOT NULL, bytes INTEGER NOT NULL, status TEXT NOT NULL,
    detail TEXT NOT NULL DEFAULT '', chunks INTEGER NOT NULL DEFAULT 0,
    progress REAL NOT NULL DEFAULT 0, worker INTEGER, created REAL NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX documents_by_status ON documents (status, created);
"""


class Store:
    """The file, used by one thread of its own; several processes may share it.

    Args:
        path: Made if missing, readable by its owner only.

    Raises:
        ConfigError: The file is of a later format, or cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rag-serve-store")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            self._connection = self._thread.submit(_open, path).result()
        except (OSError, sqlite3.Error) as error:
            self._thread.shutdown()
            what = f"the server's file cannot be opened: {error}"
            raise ConfigError(what, where=str(path), fix="give another folder with --data") from (
                error
            )
        except ConfigError:
            self._thread.shutdown()
            raise

    async def do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The result of some statements, which are one transaction.

        They are carried out even if the caller is cancelled meanwhile.
        """
        return await asyncio.shield(asyncio.wrap_future(self._thread.submit(self._within, work)))

    def post(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Carry out some statements later, in order."""
        self._thread.submit(self._within, work)

    def wait(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """As `do`, for callers in other threads."""
        return self._thread.submit(self._within, work).result()

    def close(self) -> None:
        """Finish what was posted and close the file."""
        self._thread.submit(self._connection.close)
        self._thread.shutdown(wait=True)

    def _within(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._connection:
            return work(self._connection)


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=30, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.isolation_level = None
    connection.execute("BEGIN IMMEDIATE")
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found == 0:
        for statement in _SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {FORMAT}")
    connection.execute("COMMIT")
    connection.isolation_level = "IMMEDIATE"
    if found > FORMAT:
        connection.close()
        raise ConfigError("was made by a later version", where=str(path), fix="update the package")
    return connection
