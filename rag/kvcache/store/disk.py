"""Entries in a folder, with an index of who was used when."""

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
from rag.kvcache.store.files import Files
from rag.kvcache.store.policy import policy

_LOG = logging.getLogger(__name__)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    key TEXT PRIMARY KEY, bytes INT, cost REAL, uses INT, used REAL, priority REAL, pinned INT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS clock (id INT PRIMARY KEY CHECK (id = 1), value REAL);
INSERT OR IGNORE INTO clock VALUES (1, 0);
"""


class DiskTier(Tier):
    """Files, which are the truth, and an SQLite index beside them. Processes may share it.

    A file without a row was written by a process that died: it is checked and taken in. A row
    without a file is dropped.

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
            self._db = _open(folder)
            self._take_in()
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(
                f"the folder of states cannot be used: {error}",
                where=str(folder),
                fix="name a folder that can be written",
            ) from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """The index, which no other thread or process changes meanwhile.

        Files are moved in and removed in here too: else one process might remove, for an
        eviction, the file that another has just written anew.
        """
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _take_in(self) -> None:
        with self._lock:
            rows = set(self.keys())
        fresh: dict[str, tuple[int, float]] = {}
        for key, stat in self._files.found():
            if key not in rows and (entry := self._checked(key)) is not None:
                fresh[key] = stat.st_size, entry.cost
        with self._writing() as db:
            for key in rows:
                if not self._files.path(key).exists():
                    db.execute("DELETE FROM entries WHERE key = ?", (key,))
            for key, (size, cost) in fresh.items():
                if self._files.path(key).exists():
                    self._row(db, key, size, cost)

    def _checked(self, key: str) -> Entry | None:
        try:
            return self._files.read(key)
        except Corrupt as error:
            self.counts.quarantined += 1
            _LOG.warning("disk tier: %s put aside: %s", key[:12], error)
            return None

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
            self._note(key, None)
            raise
        except OSError as error:
            raise Unreachable(str(error)) from error
        self._note(key, entry)
        return entry

    def _note(self, key: str, entry: Entry | None) -> None:
        """Count a use, or drop the row of a file that is gone.

        The index failing (a full disk, another process that does not let go) is no reason to
        compute again what was read.
        """
        try:
            if entry is None and not self._known(key):
                return
            with self._writing() as db:
                path = self._files.path(key)
                if not path.exists():
                    db.execute("DELETE FROM entries WHERE key = ?", (key,))
                elif entry is not None:
                    db.execute("UPDATE entries SET uses = uses + 1 WHERE key = ?", (key,))
                    self._row(db, key, path.stat().st_size, entry.cost)
        except (OSError, sqlite3.Error) as error:
            self.counts.errors += 1
            _LOG.warning("disk tier: the index failed: %s", error)

    def _known(self, key: str) -> bool:
        with self._lock:
            found = self._db.execute("SELECT 1 FROM entries WHERE key = ?", (key,)).fetchone()
        return found is not None

    def put(self, key: str, entry: Entry) -> None:
        """See `Tier.put`; an entry larger than the tier is not kept."""
        temporary, size = self._files.stage(key, entry)
        if self._max is not None and size > self._max:
            self._files.discard(temporary)
            self.delete(key)  # what it was to replace
            return
        gone = 0
        try:
            with self._writing() as db:
                self._files.place(key, temporary)
                self._row(db, key, size, entry.cost)
                gone = self._evict(db, key)
        except sqlite3.Error as error:
            self._files.discard(temporary)
            raise Unreachable(f"the index failed: {error}") from error
        self.counts.evictions += gone

    def _evict(self, db: sqlite3.Connection, key: str) -> int:
        """Make room. The newest goes last: only if all others are pinned."""
        if self._max is None:
            return 0
        (total,) = db.execute("SELECT coalesce(sum(bytes), 0) FROM entries").fetchone()
        if total <= self._max:
            return 0
        gone = 0
        rows = db.execute(
            "SELECT key, bytes, priority FROM entries WHERE NOT pinned "
            "ORDER BY key = ?, priority, used",
            (key,),
        ).fetchall()
        for one, size, priority in rows:
            if total <= self._max:
                break
            if one != key:
                db.execute("UPDATE clock SET value = max(value, ?)", (priority,))
                gone += 1
            db.execute("DELETE FROM entries WHERE key = ?", (one,))
            self._files.delete(one)
            total -= size
        return gone

    def contains(self, key: str) -> bool:
        """See `Tier.contains`."""
        return self._files.path(key).exists()

    def delete(self, key: str) -> None:
        """See `Tier.delete`."""
        with self._writing() as db:
            self._files.delete(key)
            db.execute("DELETE FROM entries WHERE key = ?", (key,))

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
        for key in sorted({*self.keys(), *(key for key, _ in self._files.found())}):
            try:
                entry = self._files.read(key, again=True)
            except Corrupt as error:
                wrong.append(f"disk: {key[:12]}: {error}")
                self.counts.quarantined += 1
                self._note(key, None)
            except OSError as error:
                wrong.append(f"disk: {key[:12]}: {error}")
            else:
                if entry is None and self._known(key):
                    wrong.append(f"disk: {key[:12]}: its file is gone")
                    self._note(key, None)
        return wrong

    def close(self) -> None:
        """See `Tier.close`."""
        with self._lock:
            self._db.close()


def _open(folder: Path) -> sqlite3.Connection:
    """The index; a damaged one is put aside, since the files tell all that matters."""
    path = folder / "index.sqlite"
    path.touch(mode=0o600)
    try:
        return _connect(path)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        _LOG.warning("disk tier: %s is made anew: %s", path, error)
        aside = folder / "quarantine"
        aside.mkdir(exist_ok=True, mode=0o700)
        for ending in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{path}{ending}").replace(aside / f"{path.name}{ending}")
        path.touch(mode=0o600)
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
    try:
        _into_wal(db)
        # The index may lose its last rows in a power cut (files are taken in again), but it
        # must not be torn: OFF would risk that.
        db.execute("PRAGMA synchronous=NORMAL")
        db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
    except BaseException:
        db.close()
        raise
    return db


def _into_wal(db: sqlite3.Connection) -> None:
    # SQLite does not wait for its lock here: of two processes that make the file, one is told
    # that it is busy.
    for left in reversed(range(100)):
        try:
            db.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if not left or "locked" not in str(error):
                raise
            time.sleep(0.02)
        else:
            return
