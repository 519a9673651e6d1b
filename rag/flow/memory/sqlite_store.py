"""Runs in an SQLite file, for the processes of one machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from rag.errors import CheckpointError
from rag.flow.memory.store import SCHEMA, RunStore
from rag.locks import FileLock
from rag.sqlite import connect, transaction, translated


class SqliteRunStore(RunStore):
    """Runs in an SQLite file.

    Args:
        path: The file; its folder is made if need be.

    Raises:
        CheckpointError: The file cannot be opened, or is no such file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        fix = "name a file that can be written"
        with translated(CheckpointError, "the file of runs", where=path, fix=fix):
            self._db = connect(path, schema=SCHEMA.format(identity="INTEGER PRIMARY KEY"))

    @property
    def where(self) -> str:
        """See `RunStore`."""
        return str(self._path)

    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """See `RunStore`."""
        return self._db.execute(sql, values).fetchall()

    def transaction(self) -> AbstractContextManager[Any]:
        """See `RunStore`."""
        return transaction(self._db)

    @contextmanager
    def owned(self, run: str) -> Iterator[None]:
        """See `RunStore`: a lock file, which the kernel releases with the process."""
        lock = FileLock(self._path.with_name(f"{self._path.name}.{run}.lock"), remove=True)
        if not lock.acquire(blocking=False):
            what, fix = "another process works on it", "wait until it ends"
            raise CheckpointError(what, where=f"run {run}", fix=fix)
        try:
            yield
        finally:
            lock.release()

    def close(self) -> None:
        """See `RunStore`."""
        with self.lock:
            self._db.close()
