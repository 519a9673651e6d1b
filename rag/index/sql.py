"""Tables that may be asked and not changed: SQLite, read only."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rag.errors import ConfigError, IndexStateError, InputError
from rag.flow.resources import Resource

STEPS = 10_000
"""Instructions of SQLite's machine between two looks at the clock."""
_ALLOWED = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)
_FORBIDDEN = frozenset({"load_extension", "fts3_tokenizer", "readfile", "writefile", "edit"})


@dataclass(frozen=True)
class Rows:
    """What a statement gave: the columns' names, the rows, and whether there were more."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    more: bool


class Tables(Resource):
    """A SQLite file, opened for reading only.

    Three locks, each of which would do: the file is opened with `mode=ro`, the connection is
    `query_only`, and an authorizer refuses all but SELECT, columns, functions and recursion
    (no ATTACH, no PRAGMA).

    Args:
        path: The file.
        tables: The tables that may be read; None: all but SQLite's own.
    """

    def __init__(self, path: Path, tables: tuple[str, ...] | None = None) -> None:
        self.path = path
        self._tables = None if tables is None else {table.lower() for table in tables}
        if not path.is_file():
            raise ConfigError("there is no such database", where=str(path), fix="check the path")
        self.schema()

    @classmethod
    def load(cls, spec: Any, *, base: Path) -> Tables:
        """Open a database.

        Args:
            spec: The file, or a mapping with `path` and `tables`, those that may be read.
            base: The folder that a relative path starts from.

        Raises:
            ConfigError: The specification is wrong, or there is no such file.
            IndexStateError: The file is not a database.
        """
        given = dict(spec) if isinstance(spec, Mapping) else {"path": spec}
        path, tables = given.pop("path", None), given.pop("tables", None)
        fine = tables is None or (
            isinstance(tables, list) and all(isinstance(table, str) for table in tables)
        )
        if given or not fine or not isinstance(path, str | Path):
            raise ConfigError(
                f"{spec!r} does not name a database",
                where="resources.tables",
                fix="write tables: ./data.sqlite, or {path: ./data.sqlite, tables: [prices]}",
            )
        return cls(base / Path(path).expanduser(), None if tables is None else tuple(tables))

    def select(
        self, sql: str, limit: int, seconds: float, values: Mapping[str, Any] | None = None
    ) -> Rows:
        """Run one statement.

        Args:
            sql: A SELECT, or a WITH that ends in one.
            limit: Rows at most.
            seconds: After so many it is stopped.
            values: Of its parameters: `:name`.

        Raises:
            InputError: It would write, is wrong, is more than one statement, or took too long.
            IndexStateError: The file is damaged or gone.
        """
        try:
            return self._run(sql, limit, seconds, values or {})
        except sqlite3.OperationalError as error:
            if "unable to open" in str(error):
                raise IndexStateError("cannot be opened", where=str(self.path)) from error
            late = str(error) == "interrupted"
            raise InputError(
                f"it took more than {seconds:g} seconds" if late else f"SQL: {error}",
                where=_short(sql),
                fix="ask for less" if late else self._known(),
            ) from error
        except sqlite3.DatabaseError as error:
            refused = "not authorized" in str(error) or "prohibited" in str(error)
            if refused:
                raise InputError(
                    "only reading the allowed tables is allowed",
                    where=_short(sql),
                    fix=f"write one SELECT. {self._known()}",
                ) from error
            if "not a database" in str(error) or "malformed" in str(error):
                raise IndexStateError(f"damaged: {error}", where=str(self.path)) from error
            raise InputError(f"SQL: {error}", where=_short(sql), fix=self._known()) from error
        except (sqlite3.Warning, ValueError) as error:
            raise InputError(
                f"SQL: {error}", where=_short(sql), fix="write one statement"
            ) from error

    def _run(self, sql: str, limit: int, seconds: float, values: Mapping[str, Any]) -> Rows:
        connection = self._open()
        try:
            connection.set_authorizer(self._authorize)
            end = time.monotonic() + seconds
            connection.set_progress_handler(lambda: time.monotonic() > end, STEPS)
            cursor = connection.execute(sql, values)
            if cursor.description is None:
                raise InputError("this selects nothing", where=_short(sql), fix="write one SELECT")
            found = cursor.fetchmany(limit + 1)
            columns = tuple(column[0] for column in cursor.description)
            return Rows(columns, found[:limit], len(found) > limit)
        finally:
            connection.close()

    def schema(self) -> dict[str, list[str]]:
        """The tables and views that may be read: name to `column TYPE`."""
        try:
            connection = self._open()
            try:
                names = [
                    name
                    for (name,) in connection.execute(
                        "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
                        " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
                    )
                    if self._tables is None or name.lower() in self._tables
                ]
                columns = "SELECT name, type FROM pragma_table_info(?)"
                return {
                    name: [
                        f"{c} {kind}".strip() for c, kind in connection.execute(columns, (name,))
                    ]
                    for name in names
                }
            finally:
                connection.close()
        except sqlite3.DatabaseError as error:
            raise IndexStateError(f"cannot be read: {error}", where=str(self.path)) from error

    def _open(self) -> sqlite3.Connection:
        uri = f"file:{quote(str(self.path))}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, timeout=5)
        connection.execute("PRAGMA query_only = ON")
        return connection

    def _authorize(
        self, action: int, one: str | None, two: str | None, _: str | None, view: str | None
    ) -> int:
        fine = action in _ALLOWED
        if action == sqlite3.SQLITE_READ and self._tables is not None:
            # What a permitted view reads is permitted with it.
            fine = (one or "").lower() in self._tables or (view or "").lower() in self._tables
            fine = fine or not one
        if action == sqlite3.SQLITE_FUNCTION:
            fine = (two or "").lower() not in _FORBIDDEN
        return sqlite3.SQLITE_OK if fine else sqlite3.SQLITE_DENY

    def _known(self) -> str:
        tables = "; ".join(f"{name}({', '.join(cols)})" for name, cols in self.schema().items())
        return f"there are: {tables}"[:500]


def _short(sql: str) -> str:
    return " ".join(sql.split())[:80]
