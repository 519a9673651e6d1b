"""The SQLite file of runs: what steps wrote, values and documents each kept once.

A loop that hands the same documents on for two hundred turns keeps them once: a write is a
reference to a value, a value refers to documents, a document to its text, each found by digest.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import CheckpointError
from rag.flow.memory.codec import decode, document_from, document_json, encode

if TYPE_CHECKING:
    from langchain_core.documents import Document

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, flow TEXT, source TEXT, digest TEXT, inputs TEXT, status TEXT,
    started REAL, ended REAL, error TEXT, stop TEXT, llm_calls INT, tokens INT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS writes (
    run TEXT, place TEXT, number INT, seconds REAL, channels TEXT, PRIMARY KEY (run, place)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS kept (id INTEGER PRIMARY KEY, digest BLOB UNIQUE, data TEXT);
"""


@dataclass(frozen=True)
class RunRecord:
    """What is known of a run.

    `status` is `running`, `waiting` (for a person), `failed` or `done`; one that says `running`
    while no process works on it was stopped from outside.
    """

    id: str
    flow: str | None
    source: dict[str, Any] | None
    """What the pipeline was read from: `{"file": ..., "params": {...}}`."""
    digest: str
    inputs: dict[str, Any]
    """As kept, to be decoded with the flow's types."""
    status: str
    started: float
    ended: float | None
    error: str | None
    stop: dict[str, Any] | None
    """Of a waiting run: `{"place": ..., "node": ..., "message": ..., "channels": {...}}`."""
    llm_calls: int
    tokens: int


@dataclass(frozen=True)
class StepRecord:
    """One occurrence of a step that was remembered: its place in the run, and its duration."""

    place: str
    seconds: float


class Store:
    """One SQLite file. Safe from any thread; processes may share it.

    Args:
        path: The file; its folder is made if need be.

    Raises:
        CheckpointError: The file cannot be opened, or is no such file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                path, check_same_thread=False, isolation_level=None, timeout=30
            )
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise CheckpointError(
                f"the file of runs cannot be opened: {error}",
                where=str(path),
                fix="name a file that can be written",
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    # Runs

    def add(self, record: RunRecord) -> None:
        """Add a run."""
        row = {**record.__dict__}
        for name in ("source", "inputs", "stop"):
            row[name] = None if row[name] is None else json.dumps(row[name])
        columns = ", ".join(row)
        marks = ", ".join("?" * len(row))
        with self._transaction() as db:
            db.execute(f"INSERT INTO runs ({columns}) VALUES ({marks})", tuple(row.values()))  # noqa: S608

    def update(self, run: str, **fields: Any) -> None:
        """Change fields of a run."""
        if "stop" in fields and fields["stop"] is not None:
            fields["stop"] = json.dumps(fields["stop"])
        changes = ", ".join(f"{name} = ?" for name in fields)
        with self._transaction() as db:
            db.execute(f"UPDATE runs SET {changes} WHERE id = ?", (*fields.values(), run))  # noqa: S608

    def runs(self, run: str | None = None) -> list[RunRecord]:
        """The runs, the newest first; or the one."""
        names = list(RunRecord.__dataclass_fields__)
        query = f"SELECT {', '.join(names)} FROM runs"  # noqa: S608
        with self._lock:
            if run is None:
                rows = self._db.execute(f"{query} ORDER BY started DESC").fetchall()
            else:
                rows = self._db.execute(f"{query} WHERE id = ?", (run,)).fetchall()
        found = []
        for row in rows:
            fields = dict(zip(names, row, strict=True))
            for name in ("source", "inputs", "stop"):
                fields[name] = None if fields[name] is None else json.loads(fields[name])
            found.append(RunRecord(**fields))
        return found

    def delete(self, run: str) -> None:
        """Forget a run, and all values that only it used."""
        with self._transaction() as db:
            db.execute("DELETE FROM writes WHERE run = ?", (run,))
            db.execute("DELETE FROM runs WHERE id = ?", (run,))
            used: set[int] = set()
            found = db.execute("SELECT channels FROM writes").fetchall()
            queue = [one for (text,) in found for one in json.loads(text).values()]
            for (text,) in db.execute("SELECT inputs FROM runs"):
                queue += _references(json.loads(text))
            while queue:
                one = queue.pop()
                if one not in used:
                    used.add(one)
                    (text,) = db.execute("SELECT data FROM kept WHERE id = ?", (one,)).fetchone()
                    queue += _references(json.loads(text))
            gone = [row for row in db.execute("SELECT id FROM kept") if row[0] not in used]
            db.executemany("DELETE FROM kept WHERE id = ?", gone)

    # Writes

    def record(
        self,
        run: str,
        place: str,
        kinds: Mapping[str, Any],
        wrote: Mapping[str, Any],
        seconds: float,
        spent: tuple[int, int],
    ) -> None:
        """Keep what was written at a place of a run, in one transaction."""
        with self._transaction() as db:
            channels = {
                name: self._keep(db, self.encoded(db, wrote[name], kind))
                for name, kind in kinds.items()
            }
            (number,) = db.execute("SELECT count(*) FROM writes WHERE run = ?", (run,)).fetchone()
            db.execute(
                "INSERT OR REPLACE INTO writes VALUES (?, ?, ?, ?, ?)",
                (run, place, number, seconds, json.dumps(channels)),
            )
            db.execute("UPDATE runs SET llm_calls = ?, tokens = ? WHERE id = ?", (*spent, run))

    def encoded(self, db: sqlite3.Connection | None, value: Any, kind: Any) -> Any:
        """A value as JSON, its documents kept in the file."""

        def keep(document: Document) -> int:
            data = document_json(document)
            data["text"] = self._keep(connection, data["text"])
            return self._keep(connection, {"$": "kept", **data})

        if db is not None:
            connection = db
            return encode(value, kind, keep)
        with self._transaction() as connection:
            return encode(value, kind, keep)

    def decoded(self, data: Any, kind: Any) -> Any:
        """The value that `encoded` was given."""
        return decode(data, kind, self._document)

    def _keep(self, db: sqlite3.Connection, data: Any) -> int:
        text = json.dumps(data, ensure_ascii=False)
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        row = db.execute("SELECT id FROM kept WHERE digest = ?", (digest,)).fetchone()
        if row is None:
            text = json.dumps(data)
            row = (db.execute("INSERT INTO kept VALUES (NULL, ?, ?)", (digest, text)).lastrowid,)
        return int(row[0])

    def _kept(self, number: int) -> Any:
        with self._lock:
            row = self._db.execute("SELECT data FROM kept WHERE id = ?", (number,)).fetchone()
        return json.loads(row[0])

    def _document(self, number: int) -> Document:
        data = self._kept(number)
        return document_from({**data, "text": self._kept(data["text"])})

    def places(self, run: str) -> dict[str, dict[str, int]]:
        """Place to channel to the number of its value, of all that is remembered of a run."""
        with self._lock:
            rows = self._db.execute("SELECT place, channels FROM writes WHERE run = ?", (run,))
            return {place: json.loads(channels) for place, channels in rows}

    def value(self, number: int, kind: Any) -> Any:
        """The value kept under a number."""
        return self.decoded(self._kept(number), kind)

    def steps(self, run: str) -> list[StepRecord]:
        """What is remembered of a run, in the order of its ends."""
        query = "SELECT place, seconds FROM writes WHERE run = ? ORDER BY number"
        with self._lock:
            return [StepRecord(*row) for row in self._db.execute(query, (run,))]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()


def _references(data: Any) -> Iterator[int]:
    if isinstance(data, list):
        for item in data:
            yield from _references(item)
    elif isinstance(data, dict):
        if data.get("$") == "document":
            yield data["v"]
        elif data.get("$") == "documents":
            yield from data["v"]
        elif data.get("$") == "kept":
            yield data["text"]
        else:
            for item in data.values():
                yield from _references(item)
