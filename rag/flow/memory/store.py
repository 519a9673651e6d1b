"""Where runs are stored: what steps wrote, values and documents each once.

A loop that passes the same documents on for two hundred turns stores them once: a write refers
to values, a value to documents, a document to its text, each found by its digest. The SQL is
the same for SQLite and PostgreSQL; the stores differ in how they connect and who may run a run.
"""

from __future__ import annotations

import hashlib
import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rag.flow.memory.codec import decode, document_from, document_json, encode
from rag.flow.place import Place

if TYPE_CHECKING:
    from langchain_core.documents import Document

SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, flow TEXT, source TEXT, inputs TEXT, status TEXT,
    started DOUBLE PRECISION, ended DOUBLE PRECISION, error TEXT, stops TEXT,
    llm_calls BIGINT, tokens BIGINT, parent TEXT, owner TEXT, lease DOUBLE PRECISION
);
CREATE TABLE IF NOT EXISTS writes (
    run TEXT, place TEXT, number BIGINT, seconds DOUBLE PRECISION, fingerprint TEXT,
    channels TEXT, PRIMARY KEY (run, place)
);
CREATE TABLE IF NOT EXISTS contents (id {identity}, digest TEXT UNIQUE, data TEXT);
"""

_JSON = ("source", "inputs", "stops")


@dataclass(frozen=True)
class StoredRun:
    """What is known of a run.

    `status` is `running`, `waiting` (for approval), `failed` or `done`; one that is `running`
    while no process works on it was stopped from outside.
    """

    id: str
    flow: str | None
    source: dict[str, Any] | None
    """What the pipeline was read from: `{"file": ..., "params": {...}}`."""
    inputs: dict[str, Any]
    """As stored, to be decoded with the flow's types."""
    status: str
    started: float
    ended: float | None
    error: str | None
    stops: list[dict[str, Any]] | None
    """Of a waiting run: `{"place": ..., "node": ..., "message": ..., "channels": {...}}`."""
    llm_calls: int
    tokens: int
    parent: str | None = None
    """The run that this one was forked from."""


@dataclass(frozen=True)
class StoredStep:
    """One occurrence of a step whose writes are stored, and its duration."""

    place: Place
    seconds: float


@dataclass(frozen=True)
class Written:
    """What a step wrote: channel to the number of its value."""

    fingerprint: str
    channels: Mapping[str, int]


class RunStore(ABC):
    """Runs in an SQL database. Safe from any thread; processes may share it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()

    # What a database gives

    @abstractmethod
    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a statement with `?` for values."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[Any]:
        """A transaction, rolled back on any error."""

    @abstractmethod
    def owned(self, run: str) -> AbstractContextManager[None]:
        """Be the only one that works on a run.

        Raises:
            CheckpointError: Another process works on it.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the database."""

    @property
    @abstractmethod
    def where(self) -> str:
        """What the user named, for messages."""

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self.lock, self.transaction():
            yield

    # Runs

    def add(self, record: StoredRun) -> None:
        """Add a run."""
        row = {**record.__dict__}
        for name in _JSON:
            row[name] = None if row[name] is None else json.dumps(row[name])
        marks = ", ".join("?" * len(row))
        with self._writing():
            self.execute(
                f"INSERT INTO runs ({', '.join(row)}) VALUES ({marks})",  # noqa: S608
                tuple(row.values()),
            )

    def update(self, run: str, **fields: Any) -> None:
        """Change fields of a run."""
        values = [
            json.dumps(value) if name in _JSON and value is not None else value
            for name, value in fields.items()
        ]
        changes = ", ".join(f"{name} = ?" for name in fields)
        with self._writing():
            self.execute(f"UPDATE runs SET {changes} WHERE id = ?", (*values, run))  # noqa: S608

    def runs(
        self, run: str | None = None, *, flow: str | None = None, status: str | None = None
    ) -> list[StoredRun]:
        """The runs, the newest first; only the one, those of a flow, those with a status."""
        names = list(StoredRun.__dataclass_fields__)
        given = {"id": run, "flow": flow, "status": status}
        wanted = {name: value for name, value in given.items() if value is not None}
        where = " AND ".join(f"{name} = ?" for name in wanted) or "1 = 1"
        query = f"SELECT {', '.join(names)} FROM runs WHERE {where} ORDER BY started DESC, id"  # noqa: S608
        found = []
        with self.lock:
            rows = self.execute(query, tuple(wanted.values()))
        for row in rows:
            fields = dict(zip(names, row, strict=True))
            for name in _JSON:
                fields[name] = None if fields[name] is None else json.loads(fields[name])
            found.append(StoredRun(**fields))
        return found

    def delete(self, runs: Sequence[str]) -> None:
        """Forget runs, and all values that only they used."""
        with self._writing():
            for run in runs:
                self.execute("DELETE FROM writes WHERE run = ?", (run,))
                self.execute("DELETE FROM runs WHERE id = ?", (run,))
            self._collect()

    def _collect(self) -> None:
        used: set[int] = set()
        queue: list[int] = []
        for (text,) in self.execute("SELECT channels FROM writes"):
            queue += json.loads(text).values()
        for inputs, stops in self.execute("SELECT inputs, stops FROM runs"):
            queue += _references(json.loads(inputs))
            queue += _references(json.loads(stops or "null"))
        while queue:
            one = queue.pop()
            if one not in used:
                used.add(one)
                ((text,),) = self.execute("SELECT data FROM contents WHERE id = ?", (one,))
                queue += _references(json.loads(text))
        for (number,) in self.execute("SELECT id FROM contents"):
            if number not in used:
                self.execute("DELETE FROM contents WHERE id = ?", (number,))

    def copy(self, run: str, new: StoredRun, below: int | None) -> None:
        """Add a run with the writes of another, those numbered from `below` on left out."""
        self.add(new)
        limit = 2**62 if below is None else below
        with self._writing():
            self.execute(
                "INSERT INTO writes SELECT ?, place, number, seconds, fingerprint, channels "
                "FROM writes WHERE run = ? AND number < ?",
                (new.id, run, limit),
            )

    # Writes

    def record(
        self,
        run: str,
        place: Place,
        number: int,
        kinds: Mapping[str, Any],
        wrote: Mapping[str, Any],
        seconds: float,
        fingerprint: str,
        spent: tuple[int, int],
    ) -> None:
        """Store what was written at a place of a run, in one transaction.

        Raises:
            InputError: A value cannot be restored.
        """
        with self._writing():
            channels = {
                name: self._content(self.encoded(wrote[name], kind))
                for name, kind in kinds.items()
                if name in wrote
            }
            self.execute(
                "INSERT INTO writes (run, place, number, seconds, fingerprint, channels) "
                "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (run, place) DO UPDATE SET "
                "number = excluded.number, seconds = excluded.seconds, "
                "fingerprint = excluded.fingerprint, channels = excluded.channels",
                (run, str(place), number, seconds, fingerprint, json.dumps(channels)),
            )
            self.execute("UPDATE runs SET llm_calls = ?, tokens = ? WHERE id = ?", (*spent, run))

    def forget(self, run: str, number: int) -> None:
        """Delete the writes of a run from a number on."""
        with self._writing():
            self.execute("DELETE FROM writes WHERE run = ? AND number >= ?", (run, number))

    def encoded(self, value: Any, kind: Any) -> Any:
        """A value as JSON, its documents stored."""

        def store(document: Document) -> int:
            data = document_json(document)
            data["text"] = self._content(data["text"])
            return self._content({"$": "stored", **data})

        return encode(value, kind, store)

    def encoded_alone(self, value: Any, kind: Any) -> Any:
        """As `encoded`, in a transaction of its own."""
        with self._writing():
            return self.encoded(value, kind)

    def decoded(self, data: Any, kind: Any) -> Any:
        """The value that `encoded` was given."""
        return decode(data, kind, self._document)

    def _content(self, data: Any) -> int:
        text = json.dumps(data)
        digest = hashlib.sha256(text.encode()).hexdigest()[:32]
        query = "SELECT id FROM contents WHERE digest = ?"
        row = self.execute(query, (digest,))
        if not row:
            insert = "INSERT INTO contents (digest, data) VALUES (?, ?) ON CONFLICT DO NOTHING"
            self.execute(insert, (digest, text))
            row = self.execute(query, (digest,))
        return int(row[0][0])

    def _stored(self, number: int) -> Any:
        with self.lock:
            ((text,),) = self.execute("SELECT data FROM contents WHERE id = ?", (number,))
        return json.loads(text)

    def _document(self, number: int) -> Document:
        data = self._stored(number)
        return document_from({**data, "text": self._stored(data["text"])})

    def written(self, run: str) -> tuple[dict[Place, Written], int]:
        """Place to what was written there, of a whole run; and the number of the next write."""
        with self.lock:
            rows = self.execute(
                "SELECT place, fingerprint, channels, number FROM writes WHERE run = ?", (run,)
            )
        found = {
            Place.parse(place): Written(fingerprint, json.loads(channels))
            for place, fingerprint, channels, _ in rows
        }
        return found, 1 + max((number for *_, number in rows), default=-1)

    def number_of(self, run: str, place: Place) -> int | None:
        """The number of the write at a place, or of the first write below it."""
        with self.lock:
            rows = self.execute("SELECT place, number FROM writes WHERE run = ?", (run,))
        numbers = [number for text, number in rows if Place.parse(text).is_within(place)]
        return min(numbers, default=None)

    def value(self, number: int, kind: Any) -> Any:
        """The value with a number."""
        return self.decoded(self._stored(number), kind)

    def steps(self, run: str) -> list[StoredStep]:
        """What is stored of a run, in the order of its ends."""
        query = "SELECT place, seconds FROM writes WHERE run = ? ORDER BY number"
        with self.lock:
            rows = self.execute(query, (run,))
        return [StoredStep(Place.parse(place), seconds) for place, seconds in rows]


def _references(data: Any) -> Iterator[int]:
    if isinstance(data, list):
        for item in data:
            yield from _references(item)
    elif isinstance(data, dict):
        if data.get("$") == "document":
            yield data["v"]
        elif data.get("$") == "documents":
            yield from data["v"]
        elif data.get("$") == "stored":
            yield data["text"]
        else:
            for item in data.values():
                yield from _references(item)
