"""A server's state in a file of SQLite, for the processes of one machine."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rag.errors import ConfigError
from rag.serve.state.database import FORMAT, Database, Row, cannot_be_used, other_format
from rag.sqlite import connect, transaction, translated

T = TypeVar("T")


class SQLiteDatabase(Database):
    """The state in a file.

    Args:
        path: Made if missing, with its folder, readable by its owner only.
        schema: `CREATE ... IF NOT EXISTS` of all tables.

    Raises:
        ConfigError: It cannot be opened, or was made by another version.
    """

    def __init__(self, path: Path, schema: str) -> None:
        fix = "give another folder with --data"
        with translated(ConfigError, "the server's file", where=path, fix=fix):
            self._db = connect(path, private=True)
            self._flushed = False
            """Whether commits wait for the disk now."""
            try:
                self._prepare(path, schema)
            except BaseException:
                self._db.close()
                raise

    def _prepare(self, path: Path, schema: str) -> None:
        self._db.row_factory = _row
        self._db.execute("PRAGMA foreign_keys = ON")
        made = self._db.execute("PRAGMA user_version").fetchone()["user_version"]
        if made not in (0, FORMAT):
            what, fix = other_format(made)
            raise ConfigError(what, where=str(path), fix=fix)
        tables = schema.format(identity="INTEGER PRIMARY KEY")
        self._db.executescript(f"BEGIN IMMEDIATE; {tables}; PRAGMA user_version = {FORMAT}; COMMIT")

    def within(self, work: Callable[[Database], T], *, flushed: bool = True) -> T:
        """See `Database`."""
        try:
            if flushed != self._flushed:
                self._db.execute(f"PRAGMA synchronous={'FULL' if flushed else 'NORMAL'}")
                self._flushed = flushed
            with transaction(self._db):
                return work(self)
        except sqlite3.OperationalError as error:
            full = getattr(error, "sqlite_errorname", "") == "SQLITE_FULL"
            raise cannot_be_used(error, full=full) from error

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """See `Database`."""
        return self._db.execute(sql, values).fetchall()

    def execute(self, sql: str, values: Sequence[Any] = ()) -> int:
        """See `Database`."""
        return self._db.execute(sql, values).rowcount

    def lock(self, name: str) -> None:
        """See `Database`: a transaction is the only one that writes."""

    def now(self) -> float:
        """See `Database`."""
        return time.time()

    def close(self) -> None:
        """See `Database`."""
        self._db.close()


def _row(cursor: sqlite3.Cursor, values: tuple[Any, ...]) -> Row:
    return dict(zip((column[0] for column in cursor.description), values, strict=True))
