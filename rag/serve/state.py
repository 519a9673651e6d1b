"""The server's state in one SQLite file: runs, conversations, uploads."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from rag.errors import ConfigError
from rag.sqlite import connect, transaction, translated

T = TypeVar("T")

log = logging.getLogger("rag.serve")

FORMAT = 2


class ServerState:
    """The file, used by one thread of its own; several processes may share it.

    Args:
        path: Made at `open` if missing, readable by its owner only.
        schemas: The tables of those who keep something here: `CREATE ... IF NOT EXISTS`.
    """

    def __init__(self, path: Path, *schemas: str) -> None:
        self._path, self._schema = path, ";".join(schemas)
        self._thread: ThreadPoolExecutor
        self._db: sqlite3.Connection

    async def open(self) -> None:
        """Open the file.

        Raises:
            ConfigError: It cannot be opened, or was made by a later version.
        """
        thread = ThreadPoolExecutor(1, thread_name_prefix="rag-serve-state")
        try:
            self._db = await asyncio.wrap_future(thread.submit(self._connect))
        except BaseException:
            thread.shutdown(wait=False)
            raise
        self._thread = thread

    async def do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The result of some statements, which are one transaction.

        They are carried out even if the caller is cancelled meanwhile.
        """
        return await asyncio.shield(asyncio.wrap_future(self._thread.submit(self._within, work)))

    def post(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Carry out some statements later, in order; a failure is logged."""
        self._thread.submit(self._within, work).add_done_callback(_logged)

    async def close(self) -> None:
        """Finish what was posted and close the file."""
        self._thread.submit(self._db.close)
        await asyncio.to_thread(self._thread.shutdown)

    def _within(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with transaction(self._db):
            return work(self._db)

    def _connect(self) -> sqlite3.Connection:
        fix = "give another folder with --data"
        with translated(ConfigError, "the server's file", where=self._path, fix=fix):
            db = connect(self._path, private=True)
            try:
                self._prepare(db)
            except BaseException:
                db.close()
                raise
            return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA foreign_keys = ON")
        made = db.execute("PRAGMA user_version").fetchone()[0]
        if made not in (0, FORMAT):
            when, fix = (
                ("a later", "update the package")
                if made > FORMAT
                else ("an earlier", "move its folder away, or give another one with --data")
            )
            what = f"the server's file was made by {when} version"
            raise ConfigError(what, where=str(self._path), fix=fix)
        db.executescript(
            f"BEGIN IMMEDIATE; {self._schema}; PRAGMA user_version = {FORMAT}; COMMIT;"
        )


def _logged(done: Future[object]) -> None:
    error = done.exception()
    if error is not None:
        log.error("the server's state could not be written", exc_info=error)
