"""Opening SQLite, transactions, and errors: the same for every file that the library keeps."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from rag.errors import RagError

Synchronous = Literal["OFF", "NORMAL", "FULL"]
"""What a commit waits for. Under WAL, `NORMAL` may lose the last commits in a power cut, but
never tears the file and loses nothing when a process dies; `FULL` loses none; `OFF` risks it."""

DAMAGE = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR")
"""Codes of a file whose content is wrong: no tables, torn pages, no database at all."""


class Frozen(sqlite3.Connection):
    """A connection to a file where nothing can be written, not even SQLite's own locks.

    SQLite takes such a file for unchangeable. Should somebody else change it after all, whoever
    holds the connection must open it again: see `stale`.
    """

    opened: tuple[int, int, int]
    """What the file was at opening."""
    path: Path

    def stale(self) -> bool:
        """Whether the file was changed or replaced since it was opened."""
        return _facts(self.path) != self.opened or _has_log(self.path)


def connect(
    path: Path | None,
    *,
    schema: str = "",
    synchronous: Synchronous = "NORMAL",
    timeout: float = 30.0,
    read_only: bool = False,
    private: bool = False,
) -> sqlite3.Connection:
    """Open a database in autocommit mode; any thread may use the connection, one at a time.

    A file is in WAL mode: readers and one writer do not wait for each other. Any number of
    processes may make the same file at once.

    Args:
        path: The file, made with its folder if missing; None: a database in memory.
        schema: Statements to run, as one transaction: `CREATE TABLE IF NOT EXISTS ...`.
        synchronous: What a commit waits for.
        timeout: Seconds to wait for another's lock.
        read_only: The file must be there and is not changed. It may be in a folder or file
            system that cannot be written; the connection is `Frozen` then.
        private: A file that is made is readable by its owner only.

    Raises:
        sqlite3.Error: The file cannot be used; see `translated`.
        OSError: Its folder cannot be made.
    """
    if path is None:
        db = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
    elif read_only:
        db = _reading(path, timeout)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        if private:
            path.touch(mode=0o600)
        db = sqlite3.connect(path, timeout=timeout, check_same_thread=False, isolation_level=None)
    try:
        if path is not None and not read_only:
            _into_wal(db, timeout)
            db.execute(f"PRAGMA synchronous={synchronous}")
        if schema:
            db.executescript(f"BEGIN IMMEDIATE; {schema}; COMMIT;")
    except BaseException:
        db.close()
        raise
    return db


def _reading(path: Path, timeout: float) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    db = sqlite3.connect(
        uri, uri=True, timeout=timeout, check_same_thread=False, isolation_level=None
    )
    try:
        db.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        db.close()
        # Readers of a WAL database write to a file beside it, unless they are told that nothing
        # ever changes. That is only true where the log holds no commits.
        if os.access(path.parent, os.W_OK) or not path.is_file() or _has_log(path):
            raise
    except BaseException:
        db.close()
        raise
    else:
        return db
    opened = _facts(path)
    frozen = sqlite3.connect(
        f"{uri}&immutable=1",
        uri=True,
        check_same_thread=False,
        isolation_level=None,
        factory=Frozen,
    )
    frozen.path, frozen.opened = path, opened
    return frozen


def _facts(path: Path) -> tuple[int, int, int]:
    about = path.stat()
    return about.st_ino, about.st_mtime_ns, about.st_size


def _has_log(path: Path) -> bool:
    log = Path(f"{path}-wal")
    return log.exists() and log.stat().st_size > 0


def _into_wal(db: sqlite3.Connection, timeout: float) -> None:
    # SQLite does not wait for this lock: of two processes that make the file at once, one gets
    # "database is locked" immediately.
    until = time.monotonic() + timeout
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > until:
                raise
            time.sleep(0.02)
        else:
            return


@contextmanager
def transaction(
    db: sqlite3.Connection, kind: Literal["IMMEDIATE", "DEFERRED"] = "IMMEDIATE"
) -> Iterator[sqlite3.Connection]:
    """A transaction: committed at the end, rolled back on any error, also one of the commit.

    Args:
        db: In no transaction.
        kind: `IMMEDIATE` to write; `DEFERRED` to read several times as of one commit.
    """
    db.execute(f"BEGIN {kind}")
    try:
        yield db
        db.execute("COMMIT")
    except BaseException:
        # Does nothing where SQLite has rolled back by itself, as on a full disk.
        db.rollback()
        raise


@contextmanager
def translated(
    kind: type[RagError], what: str, *, where: object, fix: str, damaged: str | None = None
) -> Iterator[None]:
    """Turn errors of SQLite and of the file system into an error of the library.

    Args:
        kind: Its class.
        what: What failed, for example "the file of runs".
        where: The file or folder.
        fix: What to do where it cannot be opened, read or written.
        damaged: What to do where its content is wrong; None: as `fix`.

    Raises:
        RagError: Of the class `kind`.
    """
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        if damaged is not None and is_damage(error):
            raise kind(f"{what} is damaged: {error}", where=str(where), fix=damaged) from error
        raise kind(f"{what} cannot be used: {error}", where=str(where), fix=fix) from error


def damage(db: sqlite3.Connection) -> Iterator[str]:
    """What SQLite itself finds wrong in the structure of a file; ten problems at most."""
    for (found,) in db.execute("PRAGMA integrity_check(10)"):
        if found != "ok":
            yield found


def is_damage(error: BaseException) -> bool:
    """Whether the error says that the content of the file is wrong, and not the disk or a lock."""
    return (getattr(error, "sqlite_errorname", None) or "").startswith(DAMAGE)
