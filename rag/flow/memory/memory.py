"""What stays from one run to the next: values of a user, of a conversation, of a team."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rag.errors import ConfigError
from rag.flow.memory.codec import decode, document_from, document_json, encode
from rag.flow.resources import Resource, Spec
from rag.sqlite import connect, transaction, translated

if TYPE_CHECKING:
    from langchain_core.documents import Document

_SCHEMA = """
CREATE TABLE IF NOT EXISTS memory (owner TEXT, name TEXT, data TEXT, PRIMARY KEY (owner, name));
CREATE TABLE IF NOT EXISTS version (number INT);
INSERT INTO version SELECT 0 WHERE NOT EXISTS (SELECT * FROM version);
"""


class MemorySpec(Spec):
    """What a pipeline may say of its memory."""

    path: Path
    """An SQLite file that processes may share."""


class Memory(Resource):
    """Values that outlive a run, each by its owner and a name. Safe from any thread.

    A step takes it by keyword, and says whose values it means, from a channel of the flow:
    `def greet(query: str, user: str, *, memory: Memory)`. Plain functions get threads, so that
    a busy file holds nobody up. A step that is repeated when a run is resumed writes again: let
    it `put`, or write in a step of its own.

    Args:
        path: An SQLite file that processes may share; None: this object's lifetime.

    Raises:
        ConfigError: The file cannot be opened.
    """

    Spec = MemorySpec
    shorthand = "path"

    def __init__(self, path: Path | None = None) -> None:
        self._lock = threading.RLock()
        fix = "name a file that can be written"
        with translated(ConfigError, "the memory", where=path or "memory", fix=fix):
            self._db = connect(path, schema=_SCHEMA, private=True)

    @classmethod
    def open(cls, spec: MemorySpec, *, base: Path) -> Self:
        """See `Resource.open`."""
        return cls(base / spec.path)

    def get(self, owner: str, name: str, default: Any = None) -> Any:
        """The value of a name, or `default`."""
        query = "SELECT data FROM memory WHERE owner = ? AND name = ?"
        with self._lock:
            row = self._db.execute(query, (owner, name)).fetchone()
        return default if row is None else _value(row[0])

    def items(self, owner: str) -> dict[str, Any]:
        """All that an owner has: name to value, by name."""
        query = "SELECT name, data FROM memory WHERE owner = ? ORDER BY name"
        with self._lock:
            rows = self._db.execute(query, (owner,)).fetchall()
        return {name: _value(text) for name, text in rows}

    def put(self, owner: str, name: str, value: Any) -> None:
        """Set the value of a name: JSON data, documents, messages, dates, sets, arrays.

        Raises:
            InputError: The value could not be restored.
        """
        text = _text(value)
        with self._writing():
            self._db.execute("INSERT OR REPLACE INTO memory VALUES (?, ?, ?)", (owner, name, text))

    def update(self, owner: str, name: str, change: Callable[[Any], Any]) -> Any:
        """Set a value to what `change` makes of it (of None, if there is none); returns it.

        Nobody else writes meanwhile, so nothing is lost where runs of one user overlap.
        """
        with self._writing():
            value = change(self.get(owner, name))
            row = (owner, name, _text(value))
            self._db.execute("INSERT OR REPLACE INTO memory VALUES (?, ?, ?)", row)
        return value

    def delete(self, owner: str, name: str | None = None) -> None:
        """Forget a name, or all that an owner has."""
        with self._writing():
            if name is None:
                self._db.execute("DELETE FROM memory WHERE owner = ?", (owner,))
            else:
                self._db.execute("DELETE FROM memory WHERE owner = ? AND name = ?", (owner, name))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._lock, transaction(self._db):
            yield
            self._db.execute("UPDATE version SET number = number + 1")

    def version(self) -> str:
        """How often it was written to: cached results of steps that use it depend on it."""
        with self._lock:
            return str(self._db.execute("SELECT number FROM version").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()


def _text(value: Any) -> str:
    documents: list[Any] = []

    def store(document: Document) -> int:
        documents.append(document_json(document))
        return len(documents) - 1

    data = encode(value, Any, store)
    return json.dumps({"value": data, "documents": documents})


def _value(text: str) -> Any:
    stored = json.loads(text)
    return decode(stored["value"], Any, lambda n: document_from(stored["documents"][n]))
