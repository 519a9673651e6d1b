"""Runs in PostgreSQL, for processes on several machines (extra `connect`)."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from rag.errors import CheckpointError, ConfigError
from rag.flow.memory.store import SCHEMA, RunStore

LEASE_SECONDS = 30.0
"""How long a process that does not report back keeps a run; it reports three times as often."""

_NOW = "extract(epoch FROM clock_timestamp())"


class PostgresRunStore(RunStore):
    """Runs in a PostgreSQL database. A process that dies loses its run after `lease` seconds.

    Args:
        url: `postgresql://user:password@host/database`.
        lease: Seconds.

    Raises:
        ConfigError: psycopg is not installed.
        CheckpointError: The database cannot be reached.
    """

    def __init__(self, url: str, *, lease: float = LEASE_SECONDS) -> None:
        super().__init__()
        try:
            import psycopg
        except ImportError as error:
            fix = "pip install 'modular-rag[connect]'"
            raise ConfigError("runs in PostgreSQL need psycopg", fix=fix) from error
        self._lease = lease
        self._host = url.rsplit("@", maxsplit=1)[-1]  # without the password
        try:
            self._db = psycopg.connect(url, autocommit=True, connect_timeout=10)
            self._make_tables()
        except psycopg.Error as error:
            raise CheckpointError(
                f"the database of runs cannot be used: {str(error).splitlines()[0]}",
                where=self._host,
                fix="see that the server is there and the user may create tables",
            ) from error

    def _make_tables(self) -> None:
        with self._db.transaction(), self._db.cursor() as cursor:
            # Two processes that start together would make the same tables.
            cursor.execute("SELECT pg_advisory_xact_lock(7246713)")
            identity = "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
            cursor.execute(SCHEMA.format(identity=identity).encode())

    @property
    def where(self) -> str:
        """See `RunStore`."""
        return self._host

    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """See `RunStore`."""
        with self._db.cursor() as cursor:
            cursor.execute(sql.replace("?", "%s").encode(), tuple(values))
            return cursor.fetchall() if cursor.description else []

    def transaction(self) -> AbstractContextManager[Any]:
        """See `RunStore`."""
        return self._db.transaction()

    @contextmanager
    def owned(self, run: str) -> Iterator[None]:
        """See `RunStore`: a lease, which a thread prolongs as long as the process lives."""
        owner, stop = secrets.token_hex(8), threading.Event()
        if not self._take(run, owner):
            fix = f"wait until it ends; if its process died, {self._lease:g} seconds"
            raise CheckpointError("another process works on it", where=f"run {run}", fix=fix)

        def prolong() -> None:
            while not stop.wait(self._lease / 3):
                with self.lock:
                    self.execute(
                        f"UPDATE runs SET lease = {_NOW} + ? WHERE id = ? AND owner = ?",  # noqa: S608
                        (self._lease, run, owner),
                    )

        thread = threading.Thread(target=prolong, name="rag-lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            with self.lock:
                self.execute(
                    "UPDATE runs SET owner = NULL, lease = NULL WHERE id = ? AND owner = ?",
                    (run, owner),
                )

    def _take(self, run: str, owner: str) -> bool:
        with self.lock:
            taken = self.execute(
                f"UPDATE runs SET owner = ?, lease = {_NOW} + ? "  # noqa: S608
                f"WHERE id = ? AND (owner IS NULL OR lease < {_NOW}) RETURNING id",
                (owner, self._lease, run),
            )
        return bool(taken)

    def close(self) -> None:
        """See `RunStore`."""
        with self.lock:
            self._db.close()
