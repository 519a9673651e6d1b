"""Entries in a folder, with an index of who was used when."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rag.errors import ConfigError
from rag.kvcache.store.base import Corrupt, Entry, Tier
from rag.kvcache.store.files import Files
from rag.kvcache.store.policy import policy

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    key TEXT PRIMARY KEY, bytes INT, cost REAL, uses INT, used REAL, priority REAL, pinned INT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS clock (id INT PRIMARY KEY CHECK (id = 1), value REAL);
INSERT OR IGNORE INTO clock VALUES (1, 0);
"""


class DiskTier(Tier):
    """Files, which are the truth, and an SQLite index beside them. Processes may share it.

    A file without a row was written by a process that died: it is taken in. A row without a file
    is dropped.

    Args:
        folder: Made if need be.
        max_bytes: Of the files; None: no limit.
        by: The eviction policy.
        int8: Keep new entries in eight bits.

    Raises:
        ConfigError: The folder cannot be used.
    """

    name = "disk"

    def __init__(
        self, folder: Path, max_bytes: int | None = None, by: str = "cost", *, int8: bool = False
    ) -> None:
        super().__init__()
        self._max, self._priority = max_bytes, policy(by)
        self._lock = threading.RLock()
        try:
            self._files = Files(folder, int8=int8)
            self._db = sqlite3.connect(
                folder / "index.sqlite", check_same_thread=False, isolation_level=None, timeout=30
            )
            self._db.execute("PRAGMA journal_mode=WAL")
            # The index may lose its last rows: files are taken in again.
            self._db.execute("PRAGMA synchronous=OFF")
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(
                f"the folder of states cannot be used: {error}",
                where=str(folder),
                fix="name a folder that can be written",
            ) from error
        self._take_in()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _take_in(self) -> None:
        found = {key: stat.st_size for key, stat in self._files.found()}
        with self._writing() as db:
            rows = {key for (key,) in db.execute("SELECT key FROM entries")}
            db.executemany(
                "DELETE FROM entries WHERE key = ?", [(key,) for key in rows - found.keys()]
            )
            for key in found.keys() - rows:
                self._row(db, key, found[key], 0.0)

    def _row(self, db: sqlite3.Connection, key: str, size: int, cost: float) -> None:
        old = db.execute("SELECT uses, pinned FROM entries WHERE key = ?", (key,)).fetchone()
        uses, pinned = old or (1, 0)
        (clock,) = db.execute("SELECT value FROM clock").fetchone()
        used = time.time()
        priority = self._priority(used, uses, cost, size, clock)
        db.execute(
            "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)",
            (key, size, cost, uses, used, priority, pinned),
        )

    def get(self, key: str) -> Entry | None:
        """See `Tier.get`."""
        try:
            entry = self._files.read(key)
        except Corrupt:
            self.counts.quarantined += 1
            self._forget(key)
            raise
        if entry is None:
            self._forget(key)
            return None
        with self._writing() as db:
            db.execute("UPDATE entries SET uses = uses + 1 WHERE key = ?", (key,))
            self._row(db, key, self._files.path(key).stat().st_size, entry.cost)
        return entry

    def _forget(self, key: str) -> None:
        with self._lock:
            self._db.execute("DELETE FROM entries WHERE key = ?", (key,))

    def put(self, key: str, entry: Entry) -> None:
        """See `Tier.put`."""
        size = self._files.write(key, entry)
        with self._writing() as db:
            self._row(db, key, size, entry.cost)
            gone = self._evicted(db, key)
        for one in gone:
            self._files.delete(one)
        self.counts.evictions += len(gone)

    def _evicted(self, db: sqlite3.Connection, key: str) -> list[str]:
        if self._max is None:
            return []
        (total,) = db.execute("SELECT coalesce(sum(bytes), 0) FROM entries").fetchone()
        gone = []
        rows = db.execute(
            "SELECT key, bytes, priority FROM entries WHERE NOT pinned ORDER BY key = ?, priority",
            (key,),
        ).fetchall()
        for one, size, priority in rows:
            if total <= self._max:
                break
            db.execute("UPDATE clock SET value = max(value, ?)", (priority,))
            db.execute("DELETE FROM entries WHERE key = ?", (one,))
            total -= size
            gone.append(one)
        return gone

    def contains(self, key: str) -> bool:
        """See `Tier.contains`."""
        return self._files.path(key).exists()

    def delete(self, key: str) -> None:
        """See `Tier.delete`."""
        self._files.delete(key)
        self._forget(key)

    def keys(self) -> list[str]:
        """See `Tier.keys`."""
        with self._lock:
            return [key for (key,) in self._db.execute("SELECT key FROM entries ORDER BY key")]

    def size(self) -> tuple[int, int, int | None]:
        """See `Tier.size`."""
        query = "SELECT count(*), coalesce(sum(bytes), 0) FROM entries"
        with self._lock:
            count, total = self._db.execute(query).fetchone()
        return count, total, self._max

    def pin(self, key: str, pinned: bool) -> None:
        """See `Tier.pin`."""
        with self._lock:
            self._db.execute("UPDATE entries SET pinned = ? WHERE key = ?", (int(pinned), key))

    def verify(self) -> list[str]:
        """See `Tier.verify`; wrong files are put aside."""
        wrong = []
        for key in self.keys():
            try:
                self._files.read(key, again=True)
            except Corrupt as error:
                wrong.append(f"disk: {key[:12]}: {error}")
                self.counts.quarantined += 1
                self._forget(key)
        return wrong

    def close(self) -> None:
        """See `Tier.close`."""
        with self._lock:
            self._db.close()
