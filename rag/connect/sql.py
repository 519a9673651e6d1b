"""A SQLite database of the user's, which can only be read."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field, PositiveFloat

from rag.errors import ConfigError, InputError, RagError
from rag.flow.resources import Resource, Spec, parse
from rag.sqlite import connect, translated

_ALLOWED = frozenset(
    (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
)
_STEPS = 10_000
"""Instructions of SQLite's virtual machine between two checks of the clock."""
_BYTES = 10_000_000
"""The largest text or blob that a statement may produce."""
_FIX = "give the path of a SQLite file"


def _authorize(action: int, _: str | None, function: str | None, *__: str | None) -> int:
    if action not in _ALLOWED or function == "load_extension":
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


class DatabaseSpec(Spec):
    """A SQLite file."""

    path: Path = Field(description="the file, which is opened for reading only")
    seconds: PositiveFloat = Field(default=5.0, description="time limit of a statement")


class Database(Resource):
    """A SQLite file. Whatever a statement says, it can only read, and only for a limited time.

    Args:
        path: The file.
        seconds: Time limit of a statement.
    """

    Spec = DatabaseSpec
    shorthand = "path"

    def __init__(self, path: Path, *, seconds: float = 5.0) -> None:
        self.path = path
        self.seconds = seconds

    @classmethod
    def open(cls, spec: Any, *, base: Path) -> Database:
        """Open a file.

        Args:
            spec: A `DatabaseSpec`, or an open `Database`, which is returned.
            base: The folder that a relative path starts from.

        Raises:
            ConfigError: There is no such file, or it is no SQLite database.
        """
        if isinstance(spec, Database):
            return spec
        if (problem := cls.absent(spec, base=base)) is not None:
            raise problem
        database = cls(_file(spec, base), seconds=spec.seconds)
        database.schema()
        return database

    @classmethod
    def absent(cls, spec: Any, *, base: Path) -> RagError | None:
        """Why the database cannot be opened: there is no such file."""
        try:
            parsed = parse(cls, spec)
        except ConfigError as error:
            return error
        if isinstance(parsed, Database) or _file(parsed, base).is_file():
            return None
        what = f"there is no file {_file(parsed, base)}"
        return ConfigError(what, where="resources.database", fix=_FIX)

    def schema(self) -> list[str]:
        """The CREATE statements of the tables and views, ordered by name.

        Raises:
            ConfigError: The file is gone, or is no SQLite database.
        """
        with self._connection() as connection, self._translated():
            rows = connection.execute(
                "SELECT sql FROM sqlite_master WHERE type IN ('table', 'view') "
                "AND name NOT LIKE 'sqlite_%' AND sql IS NOT NULL ORDER BY name"
            )
            return [sql for (sql,) in rows]

    def problem(self, sql: str) -> str | None:
        """What is wrong with a statement, found without running it; None: it can be run."""
        try:
            self._select(f"EXPLAIN {sql}" if sql.strip() else "", 1)
        except InputError as error:
            return error.what
        return None

    def rows(
        self, sql: str, limit: int = 100, values: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """The first rows of a statement's result: column to value.

        Columns of the same name are distinguished by a number: `name`, `name_2`.

        Args:
            sql: The statement.
            limit: Rows at most.
            values: Of its parameters, `:name`.

        Raises:
            InputError: The statement is wrong, would change something, or takes too long.
            ConfigError: The file is gone, or is no SQLite database.
        """
        return self._select(sql, limit, values)

    def _select(
        self, sql: str, limit: int, values: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        if not sql.strip():
            raise InputError("there is no statement")
        with self._connection() as connection:
            connection.set_authorizer(_authorize)
            try:
                cursor = connection.execute(sql, values or {})
                names = _distinct([column[0] for column in cursor.description or ()])
                return [dict(zip(names, row, strict=True)) for row in cursor.fetchmany(limit)]
            except (sqlite3.Error, sqlite3.Warning) as error:
                what = str(error)
                if what == "interrupted":
                    what = f"it takes longer than {self.seconds:g} seconds"
                raise InputError(what, fix="one SELECT over the existing tables") from error

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with self._translated():
            connection = connect(self.path, read_only=True)
        try:
            end = time.monotonic() + self.seconds
            connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _BYTES)
            yield connection
        finally:
            connection.close()

    def _translated(self) -> AbstractContextManager[None]:
        return translated(
            ConfigError, f"the database {self.path}", where="resources.database", fix=_FIX
        )


def _file(spec: DatabaseSpec, base: Path) -> Path:
    return base / spec.path.expanduser()


def _distinct(names: Sequence[str]) -> list[str]:
    result: list[str] = []
    for name in names:
        new, number = name, 1
        while new in result or (number > 1 and new in names):
            number += 1
            new = f"{name}_{number}"
        result.append(new)
    return result
