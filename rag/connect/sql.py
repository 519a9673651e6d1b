"""A database of one's own, asked by SQL and never changed."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rag.errors import ConfigError, InputError
from rag.flow.resources import Resource

_ALLOWED = frozenset(
    (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
)
_STEPS = 10_000
"""Steps of SQLite's machine between two looks at the clock."""
_BYTES = 10_000_000
"""The largest text or blob that a statement may make."""


def _authorize(action: int, _: str | None, function: str | None, *__: str | None) -> int:
    if action not in _ALLOWED or function == "load_extension":
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


class Database(Resource):
    """A SQLite file. Whatever a statement says, it can only read, and not for long.

    Args:
        path: The file.
        seconds: What a statement may take.
    """

    def __init__(self, path: Path, *, seconds: float = 5.0) -> None:
        self.path = path
        self.seconds = seconds

    @classmethod
    def load(cls, spec: Any, *, base: Path) -> Database:
        """Open the file that `spec` names.

        Raises:
            ConfigError: There is no such file, or it is no SQLite database.
        """
        if not isinstance(spec, str):
            raise ConfigError(
                f"{spec!r} names no database", where="resources", fix="give the path of the file"
            )
        made = cls(base / spec)
        fix = "give the path of a SQLite file"
        if not made.path.is_file():
            raise ConfigError(f"there is no file {made.path}", where="resources", fix=fix)
        try:
            made.schema()
        except sqlite3.DatabaseError as error:
            what = f"{made.path} is no SQLite database: {error}"
            raise ConfigError(what, where="resources", fix=fix) from error
        return made

    def schema(self) -> list[str]:
        """The statements that made the tables and views, in the order of their names."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT sql FROM sqlite_master WHERE type IN ('table', 'view') "
                "AND name NOT LIKE 'sqlite_%' AND sql IS NOT NULL ORDER BY name"
            )
            return [sql for (sql,) in rows]

    def problem(self, sql: str) -> str | None:
        """What is wrong with a statement, which is not run; None: it is one that reads."""
        try:
            self._ask(f"EXPLAIN {sql}" if sql.strip() else "", 1)
        except InputError as error:
            return error.what
        return None

    def rows(
        self, sql: str, limit: int = 100, values: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """The first rows of a statement's result: column to value.

        Columns of the same name are told apart by a number: `name`, `name_2`.

        Args:
            sql: The statement.
            limit: Rows at most.
            values: Of its parameters, `:name`.

        Raises:
            InputError: The statement is wrong, would change something, or takes too long.
        """
        return self._ask(sql, limit, values)

    def _ask(
        self, sql: str, limit: int, values: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        if not sql.strip():
            raise InputError("there is no statement")
        with self._connection() as connection:
            connection.set_authorizer(_authorize)
            try:
                found = connection.execute(sql, values or {})
                names = _distinct([column[0] for column in found.description or ()])
                return [dict(zip(names, row, strict=True)) for row in found.fetchmany(limit)]
            except (sqlite3.Error, sqlite3.Warning) as error:
                what = str(error)
                if what == "interrupted":
                    what = f"it takes longer than {self.seconds:g} seconds"
                raise InputError(what, fix="one SELECT over the tables there are") from error

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            end = time.monotonic() + self.seconds
            connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _BYTES)
            yield connection
        finally:
            connection.close()


def _distinct(names: Sequence[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        new, number = name, 1
        while new in found or (number > 1 and new in names):
            number += 1
            new = f"{name}_{number}"
        found.append(new)
    return found
