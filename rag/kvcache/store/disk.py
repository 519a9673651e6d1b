"""Entries in a folder, with an index of their uses."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rag.errors import ConfigError
from rag.kvcache.store.base import Corrupt, Entry, Tier, Unreachable
from rag.kvcache.store.codec import VERSION
from rag.kvcache.store.files import Files
from rag.kvcache.store.policy import policy
from rag.kvcache.store.quantize import Storage
from rag.sqlite import connect, is_damage, transaction

_LOG = logging.getLogger(__name__)
PENDING_USES = 64
"""Uses that are noted in memory before they are written to the index: a transaction for each would
take longer than the reading."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    key TEXT PRIMARY KEY, bytes INT, cost REAL, uses INT, used REAL, priority REAL, pinned INT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS clock (id INT PRIMARY KEY CHECK (id = 1), value REAL);
INSERT OR IGNORE INTO clock VALUES (1, 0);
"""


class DiskTier(Tier):
    """Files, which are the truth, and an SQLite index beside them. Processes may share it.

    A file without a row was written by a process that died: it is verified and indexed. A row
    without a file is dropped. Files of another version, which nothing can read, are removed.

    Args:
        folder: Made if missing.
        max_bytes: Of the files; None: no limit.
        by: The eviction policy.
        storage: The form of new entries (`quantize.Storage`).

    Raises:
        ConfigError: The folder cannot be used.
    """

    name = "disk"

    def __init__(
        self,
        folder: Path,
        max_bytes: int | None = None,
        by: str = "cost",
        storage: Storage = "as is",
    ) -> None:
        super().__init__()
        self._max, self._priority = max_bytes, policy(by)
        self._lock = threading.RLock()
        self._uses: dict[str, tuple[int, float]] = {}
        """Key to uses that the index does not have yet, and the time of the last."""
        try:
            self._files = Files(folder, storage)
            self._db = _open(folder)
            self._index_files()
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(
                f"the folder of states cannot be used: {error}",
                where=str(folder),
                fix="name a folder that can be written",
            ) from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """The index, which no other thread or process changes meanwhile.

        Files are moved in and removed in here too: otherwise one process might evict the file that
        another has just written.
        """
        with self._lock, transaction(self._db) as db:
            self._write_uses(db)
            yield db

    def _index_files(self) -> None:
        """Bring the index in line with the files."""
        rows = set(self.keys())
        new: dict[str, tuple[int, float]] = {}
        outdated = 0
        for key, stat in self._files.entries():
            if key in rows:
                continue
            try:
                entry = self._files.read(key)
            except Corrupt as error:
                self.counts.quarantined += 1
                _LOG.warning("disk tier: %s is quarantined: %s", key[:12], error)
                continue
            if entry is None:
                self._files.delete(key)
                outdated += 1
            else:
                new[key] = stat.st_size, entry.cost
        if outdated:
            _LOG.warning("disk tier: %s entries of another version are removed", outdated)
        with self._writing() as db:
            for key in rows:
                if not self._files.path(key).exists():
                    db.execute("DELETE FROM entries WHERE key = ?", (key,))
            for key, (size, cost) in new.items():
                if self._files.path(key).exists():
                    self._row(db, key, size, cost)

    def _row(self, db: sqlite3.Connection, key: str, size: int, cost: float) -> None:
        """Note that an entry was written: the first use of a new one."""
        old = db.execute("SELECT uses, pinned FROM entries WHERE key = ?", (key,)).fetchone()
        uses, pinned = old or (1, 0)
        db.execute(
            "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, 0, 0, ?)",
            (key, size, cost, uses, pinned),
        )
        self._use(db, key, 0, time.time())

    def _use(self, db: sqlite3.Connection, key: str, more: int, used: float) -> None:
        """Note uses of an entry, if the index has it."""
        query = "SELECT uses, cost, bytes FROM entries WHERE key = ?"
        if row := db.execute(query, (key,)).fetchone():
            uses, cost, size = row[0] + more, row[1], row[2]
            (clock,) = db.execute("SELECT value FROM clock").fetchone()
            db.execute(
                "UPDATE entries SET uses = ?, used = ?, priority = ? WHERE key = ?",
                (uses, used, self._priority(used, uses, cost, size, clock), key),
            )

    def _write_uses(self, db: sqlite3.Connection) -> None:
        for key, (uses, used) in self._uses.items():
            self._use(db, key, uses, used)
        self._uses.clear()

    def get(self, key: str) -> Entry | None:
        """See `Tier.get`. Its use is noted in the index a while later."""
        try:
            entry = self._files.read(key)
        except Corrupt:
            self.counts.quarantined += 1
            self._forget(key)
            raise
        except OSError as error:
            raise Unreachable(str(error)) from error
        if entry is None:
            self._forget(key)
            return None
        with self._lock:
            uses, _ = self._uses.get(key, (0, 0.0))
            self._uses[key] = uses + 1, time.time()
            if sum(uses for uses, _ in self._uses.values()) >= PENDING_USES:
                self._update_index()
        return entry

    def _update_index(self) -> None:
        """Write the uses. The index failing is no reason to compute again what was read."""
        try:
            with self._writing():
                pass
        except (OSError, sqlite3.Error) as error:
            self._uses.clear()
            self.counts.errors += 1
            _LOG.warning("disk tier: the index failed: %s", error)

    def _forget(self, key: str) -> None:
        """Drop the row of a missing file."""
        try:
            if self._indexed(key):
                with self._writing() as db:
                    if not self._files.path(key).exists():
                        db.execute("DELETE FROM entries WHERE key = ?", (key,))
        except (OSError, sqlite3.Error) as error:
            self.counts.errors += 1
            _LOG.warning("disk tier: the index failed: %s", error)

    def _indexed(self, key: str) -> bool:
        with self._lock:
            row = self._db.execute("SELECT 1 FROM entries WHERE key = ?", (key,)).fetchone()
        return row is not None

    def put(self, key: str, entry: Entry) -> None:
        """See `Tier.put`; an entry larger than the tier is not kept."""
        staged, size = self._files.stage(key, entry)
        if self._max is not None and size > self._max:
            self._files.discard(staged)
            self.delete(key)  # what it was to replace
            return
        evicted = 0
        try:
            with self._writing() as db:
                self._files.place(key, staged)
                self._row(db, key, size, entry.cost)
                if self._max is not None:
                    evicted = self._evict(db, self._max, key)
        except sqlite3.Error as error:
            self._files.discard(staged)
            raise Unreachable(f"the index failed: {error}") from error
        self.counts.evictions += evicted

    def _evict(self, db: sqlite3.Connection, most: int, newest: str = "") -> int:
        """Make room. The newest goes last: only if all others are pinned."""
        (total,) = db.execute("SELECT coalesce(sum(bytes), 0) FROM entries").fetchone()
        if total <= most:
            return 0
        evicted = 0
        rows = db.execute(
            "SELECT key, bytes, priority FROM entries WHERE NOT pinned "
            "ORDER BY key = ?, priority, used",
            (newest,),
        ).fetchall()
        for key, size, priority in rows:
            if total <= most:
                break
            if key != newest:
                db.execute("UPDATE clock SET value = max(value, ?)", (priority,))
                evicted += 1
            self._drop(db, key)
            total -= size
        return evicted

    def _drop(self, db: sqlite3.Connection, key: str) -> None:
        self._files.delete(key)
        db.execute("DELETE FROM entries WHERE key = ?", (key,))

    def contains(self, key: str) -> bool:
        """See `Tier.contains`."""
        return self._files.path(key).exists()

    def delete(self, key: str) -> None:
        """See `Tier.delete`."""
        with self._writing() as db:
            self._drop(db, key)

    def prune(self, max_idle_seconds: float | None = None, max_bytes: int | None = None) -> int:
        """See `Tier.prune`; pinned entries stay."""
        removed = 0
        with self._writing() as db:
            if max_idle_seconds is not None:
                idle = db.execute(
                    "SELECT key FROM entries WHERE NOT pinned AND used < ?",
                    (time.time() - max_idle_seconds,),
                ).fetchall()
                for (key,) in idle:
                    self._drop(db, key)
                removed += len(idle)
            if max_bytes is not None:
                removed += self._evict(db, max_bytes)
        self.counts.evictions += removed
        return removed

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

    def saved(self) -> tuple[int, float]:
        """See `Tier.saved`."""
        query = (
            "SELECT coalesce(sum(uses - 1), 0), coalesce(sum((uses - 1) * cost), 0) FROM entries"
        )
        with self._writing() as db:  # which writes the latest uses first
            reads, seconds = db.execute(query).fetchone()
        return reads, seconds

    def pin(self, key: str, pinned: bool) -> None:
        """See `Tier.pin`."""
        with self._lock:
            self._db.execute("UPDATE entries SET pinned = ? WHERE key = ?", (int(pinned), key))

    def verify(self) -> list[str]:
        """See `Tier.verify`; corrupt files are quarantined."""
        problems = []
        for key in sorted({*self.keys(), *(key for key, _ in self._files.entries())}):
            try:
                entry = self._files.read(key, verify=True)
            except Corrupt as error:
                problems.append(f"disk: {key[:12]}: {error}")
                self.counts.quarantined += 1
                self._forget(key)
            except OSError as error:
                problems.append(f"disk: {key[:12]}: {error}")
            else:
                if entry is None and not self._files.path(key).exists() and self._indexed(key):
                    problems.append(f"disk: {key[:12]}: its file is missing")
                    self._forget(key)
        return problems

    def close(self) -> None:
        """See `Tier.close`."""
        with self._lock:
            if self._uses:
                self._update_index()
            self._db.close()


def _open(folder: Path) -> sqlite3.Connection:
    """The index; a damaged one is quarantined and rebuilt from the files, which hold everything."""
    path = folder / "index.sqlite"
    try:
        db = connect(path, schema=_SCHEMA, private=True)
        with transaction(db):
            # The rows of another version say nothing of the files that this one can read.
            if db.execute("PRAGMA user_version").fetchone() != (int(VERSION),):
                db.execute("DELETE FROM entries")
                db.execute(f"PRAGMA user_version = {VERSION}")
        return db
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        _LOG.warning("disk tier: %s is rebuilt: %s", path, error)
    aside = folder / "quarantine"
    aside.mkdir(exist_ok=True, mode=0o700)
    for ending in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{ending}").replace(aside / f"{path.name}{ending}")
    return connect(path, schema=f"{_SCHEMA}PRAGMA user_version = {VERSION};", private=True)
