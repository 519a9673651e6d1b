"""What happened in a study, in order: the one thing that its workers share."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag.errors import ConfigError
from rag.extras import require
from rag.sqlite import connect, translated

FILE = "study.sqlite"
_TABLES = """
CREATE TABLE IF NOT EXISTS tune_entries
    (study TEXT, position BIGINT, kind TEXT, data TEXT, PRIMARY KEY (study, position));
CREATE TABLE IF NOT EXISTS tune_workers
    (study TEXT, worker TEXT, seen DOUBLE PRECISION, PRIMARY KEY (study, worker));
"""


@dataclass(frozen=True)
class Entry:
    """Something that happened.

    Attributes:
        position: From 1.
        kind: What.
        data: As JSON has it.
    """

    position: int
    kind: str
    data: dict[str, Any]


class Journal(ABC):
    """Entries that are only added: one at a time, by whoever has read all that are there.

    So each decision rests on everything before it, and of two workers that decide at the same
    time one reads again. An entry is there as a whole or not at all.

    Args:
        study: Its name among those of one database.
    """

    remote = False
    """Whether workers of other machines take part, who see of each other what `beat` says."""

    def __init__(self, study: str) -> None:
        self._study = study

    def read(self, after: int = 0) -> list[Entry]:
        """The entries behind a position, in order."""
        sql = (
            "SELECT position, kind, data FROM tune_entries WHERE study = ? AND position > ? "
            "ORDER BY position"
        )
        rows = self._execute(sql, (self._study, after))
        return [Entry(position, kind, json.loads(data)) for position, kind, data in rows]

    def add(self, position: int, kind: str, data: dict[str, Any]) -> bool:
        """Add an entry.

        Args:
            position: One behind the last that was read.
            kind: What happened.
            data: More of it.

        Returns:
            False: somebody else has added one since; nothing was written.
        """
        text = json.dumps(data, ensure_ascii=True)
        return self._insert((self._study, position, kind, text))

    def beat(self, worker: str) -> None:
        """Say that a worker is alive."""
        sql = (
            "INSERT INTO tune_workers VALUES (?, ?, ?) "
            "ON CONFLICT (study, worker) DO UPDATE SET seen = excluded.seen"
        )
        self._execute(sql, (self._study, worker, self._now()))

    @contextmanager
    def beating(self, worker: str, seconds: float) -> Iterator[None]:
        """Within the block say again and again that a worker is alive.

        Args:
            worker: Which one.
            seconds: Between two times.
        """
        self.beat(worker)
        if not self.remote:
            yield
            return
        stop = threading.Event()

        def again() -> None:
            while not stop.wait(seconds):
                self.beat(worker)

        thread = threading.Thread(target=again, name="rag-tune-beat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def silence(self, worker: str) -> float | None:
        """Seconds since a worker last said that it is alive; None: it never did."""
        sql = "SELECT seen FROM tune_workers WHERE study = ? AND worker = ?"
        rows = self._execute(sql, (self._study, worker))
        return self._now() - float(rows[0][0]) if rows else None

    @abstractmethod
    def _execute(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]: ...

    @abstractmethod
    def _insert(self, row: Sequence[Any]) -> bool: ...

    @abstractmethod
    def _now(self) -> float: ...

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""


_INSERT = "INSERT INTO tune_entries VALUES (?, ?, ?, ?)"


class SqliteJournal(Journal):
    """A journal in a file, for the processes of one machine.

    Raises:
        ConfigError: The file cannot be used.
    """

    def __init__(self, path: Path, study: str = "") -> None:
        super().__init__(study)
        fix = "give another --study"
        with translated(ConfigError, "the study's journal", where=path, fix=fix):
            self._db = connect(path, schema=_TABLES)

    def _execute(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return list(self._db.execute(sql, tuple(values)))

    def _insert(self, row: Sequence[Any]) -> bool:
        with suppress(sqlite3.IntegrityError):
            self._db.execute(_INSERT, tuple(row))
            return True
        return False

    def _now(self) -> float:
        return time.time()

    def close(self) -> None:
        """See `Journal.close`."""
        self._db.close()


class PostgresJournal(Journal):
    """A journal in PostgreSQL, for workers on several machines (extra `postgres`).

    Args:
        url: `postgresql://user:password@host/database`.
        study: Its name among those of this database.

    Raises:
        ConfigError: psycopg is not installed, or the database cannot be used.
    """

    remote = True

    def __init__(self, url: str, study: str) -> None:
        super().__init__(study)
        self._psycopg = require("psycopg", "postgres", where="--storage")
        try:
            self._db = self._psycopg.connect(url, autocommit=True, connect_timeout=10)
            with self._db.transaction(), self._db.cursor() as cursor:
                # Two workers that start together would make the same tables.
                cursor.execute("SELECT pg_advisory_xact_lock(7246714)")
                cursor.execute(_TABLES)
        except self._psycopg.Error as error:
            raise ConfigError(
                f"the study's database cannot be used: {str(error).splitlines()[0]}",
                where=url.rsplit("@", maxsplit=1)[-1],  # without the password
                fix="see that the server is there and the user may create tables",
            ) from error

    def _execute(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._db.cursor() as cursor:
            cursor.execute(sql.replace("?", "%s"), tuple(values))
            return cursor.fetchall() if cursor.description else []

    def _insert(self, row: Sequence[Any]) -> bool:
        with suppress(self._psycopg.errors.UniqueViolation):
            self._execute(_INSERT, row)
            return True
        return False

    def _now(self) -> float:
        return float(self._execute("SELECT extract(epoch FROM clock_timestamp())")[0][0])

    def close(self) -> None:
        """See `Journal.close`."""
        self._db.close()


def open_journal(folder: Path, storage: str | None = None) -> Journal:
    """The journal of a study.

    Args:
        folder: The study's, whose name is the study's in a database.
        storage: `postgresql://...`; None: a file in the folder.

    Raises:
        ConfigError: It cannot be used.
    """
    if storage is None:
        return SqliteJournal(folder / FILE)
    if not storage.startswith(("postgresql://", "postgres://")):
        fix = "give postgresql://user@host/database, or leave it out"
        raise ConfigError("there is no such storage", where=f"--storage {storage}", fix=fix)
    return PostgresJournal(storage, folder.resolve().name)
