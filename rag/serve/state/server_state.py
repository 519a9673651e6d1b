"""The server's state as its parts use it: pieces of work for a thread of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from rag.serve.state.database import Database
from rag.serve.state.postgres import SCHEMES, PostgresDatabase
from rag.serve.state.sqlite import SQLiteDatabase

T = TypeVar("T")

log = logging.getLogger("rag.serve")


class ServerState:
    """The state, used by one thread of its own; several processes may share it.

    Args:
        where: The file of SQLite, or `postgresql://...`.
        schemas: The tables of those who keep something here: `CREATE ... IF NOT EXISTS`.
    """

    def __init__(self, where: Path | str, *schemas: str) -> None:
        self._where, self._schema = where, ";".join(schemas)
        self._thread: ThreadPoolExecutor
        self._db: Database

    async def open(self) -> None:
        """Open it.

        Raises:
            ConfigError: It cannot be opened, or was made by another version.
        """
        thread = ThreadPoolExecutor(1, thread_name_prefix="rag-serve-state")
        try:
            self._db = await asyncio.wrap_future(thread.submit(self._connect))
        except BaseException:
            thread.shutdown(wait=False)
            raise
        self._thread = thread

    async def do(self, work: Callable[[Database], T], *, flushed: bool = True) -> T:
        """The result of some statements, which are one transaction.

        They are carried out even if the caller is cancelled meanwhile.

        Args:
            work: The statements.
            flushed: See `Database.within`.

        Raises:
            Problem: See `Database.within`.
        """
        return await asyncio.shield(self.begun(work, flushed=flushed))

    def begun(self, work: Callable[[Database], T], *, flushed: bool = True) -> asyncio.Future[T]:
        """As `do`, for callers that go on meanwhile; not to be cancelled."""
        done = self._thread.submit(self._db.within, work, flushed=flushed)
        return asyncio.wrap_future(done)

    def post(self, work: Callable[[Database], object]) -> None:
        """Carry out some statements later, in order; a failure is logged."""
        self._thread.submit(self._db.within, work).add_done_callback(_logged)

    async def close(self) -> None:
        """Finish what was posted and close it."""
        self._thread.submit(self._db.close)
        await asyncio.to_thread(self._thread.shutdown)

    def _connect(self) -> Database:
        if isinstance(self._where, str) and self._where.startswith(SCHEMES):
            return PostgresDatabase(self._where, self._schema)
        return SQLiteDatabase(Path(self._where), self._schema)


def _logged(done: Future[object]) -> None:
    error = done.exception()
    if error is not None:
        log.error("the server's state could not be written", exc_info=error)
