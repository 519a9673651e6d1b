"""Results of nodes, found again by what they depend on.

A cache never fails a run: what cannot be read or written is computed, with a warning.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import PositiveInt

from rag.errors import ConfigError, InputError
from rag.flow.memory.codec import decode, document_from, document_json, encode
from rag.flow.memory.fingerprint import digest_of_values
from rag.flow.resources import Resource, Spec
from rag.flow.run.signal import Signal
from rag.flow.run.threads import STORES
from rag.sqlite import connect, transaction, translated

if TYPE_CHECKING:
    from langchain_core.documents import Document

NAME = "step_cache"
"""The name of the resource in a pipeline."""
MAX_BYTES = 64 * 1024 * 1024

_SCHEMA = """
CREATE TABLE IF NOT EXISTS results
    (key BLOB PRIMARY KEY, data TEXT, bytes INT, expires REAL, used REAL);
CREATE INDEX IF NOT EXISTS by_use ON results (used);
"""


class StepCacheSpec(Spec):
    """What a pipeline may say of its step cache."""

    path: Path | None = None
    """An SQLite file that processes may share; None: memory."""
    max_bytes: PositiveInt = MAX_BYTES
    """Of the results; the least recently used ones go first."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a node wrote, and the tokens that it streamed.

    Args:
        writes: Port to value.
        tokens: Place below the node, as text, and a piece of text.
    """

    writes: Mapping[str, Any]
    tokens: list[tuple[str, str]] = field(default_factory=list)


Warn = Callable[[str], None]


class StepCache(Resource):
    """Results in SQLite. Safe from any thread and any event loop.

    Args:
        path: An SQLite file that processes may share; None: memory.
        max_bytes: Of the results; the least recently used ones go first.

    Raises:
        ConfigError: The file cannot be opened.
    """

    default: ClassVar[Any] = {}
    Spec = StepCacheSpec
    shorthand = "path"

    def __init__(self, path: Path | None = None, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._running: dict[bytes, _Flight] = {}
        fix = "name a file that can be written"
        with translated(ConfigError, "the step cache", where=path or "memory", fix=fix):
            self._db = connect(path, schema=_SCHEMA, timeout=1.0)

    @classmethod
    def open(cls, spec: StepCacheSpec, *, base: Path) -> Self:
        """See `Resource.open`."""
        return cls(None if spec.path is None else base / spec.path, spec.max_bytes)

    async def get_or_compute(
        self,
        key: bytes,
        kinds: Mapping[str, Any],
        compute: Callable[[], Awaitable[Result]],
        ttl: float | None,
        warn: Warn,
    ) -> tuple[Result, bool]:
        """The result, and whether it was computed now.

        Of equal calls at the same time one computes, the others wait for it.

        Args:
            key: See `key_of`.
            kinds: Port to type.
            compute: Makes the result.
            ttl: Seconds that a result stays good.
            warn: Takes why something could not be read or written.
        """
        found = await self._get(key, kinds, warn)
        if found is not None:
            return found, False
        with self._lock:
            flight = self._running.get(key)
            first = flight is None
            if flight is None:
                flight = self._running[key] = _Flight()
        if not first:
            await flight.ended.wait()
            # Each gets a copy of its own; the first one's where that could not be stored.
            found = await self._get(key, kinds, warn) or flight.result
            if found is not None:
                return found, False
            return await compute(), True  # the first one failed: everybody tries for themselves
        try:
            result = await compute()
            flight.result = result
            await self._put(key, kinds, result, ttl, warn)
        finally:
            with self._lock:
                self._running.pop(key, None)
            flight.ended.set()
        return result, True

    async def _get(self, key: bytes, kinds: Mapping[str, Any], warn: Warn) -> Result | None:
        try:
            return await STORES.call(lambda: self.get(key, kinds))  # type: ignore[no-any-return]
        except sqlite3.Error as error:
            warn(f"the step cache cannot be read: {error}")
        return None

    async def _put(
        self,
        key: bytes,
        kinds: Mapping[str, Any],
        result: Result,
        ttl: float | None,
        warn: Warn,
    ) -> None:
        try:
            await STORES.call(lambda: self.put(key, kinds, result, ttl))
        except (sqlite3.Error, InputError) as error:
            what = error.what if isinstance(error, InputError) else error
            warn(f"the result is not cached: {what}")

    def get(self, key: bytes, kinds: Mapping[str, Any]) -> Result | None:
        """The result, or None for one that is not there, or no longer good.

        Raises:
            sqlite3.Error: The file cannot be read.
        """
        now = time.time()
        with self._lock:
            row = self._db.execute(
                "SELECT data FROM results WHERE key = ? AND (expires IS NULL OR expires > ?)",
                (key, now),
            ).fetchone()
            if row is None:
                return None
            # While another process writes: that it was used now is not worth waiting for.
            with suppress(sqlite3.OperationalError):
                self._db.execute("UPDATE results SET used = ? WHERE key = ?", (now, key))
        data = json.loads(row[0])
        documents = [document_from(one) for one in data["documents"]]
        try:
            writes = {
                name: decode(value, kinds[name], documents.__getitem__)
                for name, value in data["writes"].items()
            }
        except (InputError, KeyError):
            return None  # the node writes something else now
        return Result(writes, [(place, text) for place, text in data["tokens"]])

    def put(self, key: bytes, kinds: Mapping[str, Any], result: Result, ttl: float | None) -> None:
        """Store a result; one that is larger than the cache is not stored.

        Raises:
            InputError: A value cannot be written down.
            sqlite3.Error: The file cannot be written.
        """
        documents: list[dict[str, Any]] = []

        def store(document: Document) -> int:
            documents.append(document_json(document))
            return len(documents) - 1

        writes = {name: encode(value, kinds[name], store) for name, value in result.writes.items()}
        data = {"documents": documents, "writes": writes, "tokens": result.tokens}
        text = json.dumps(data)
        size, now = len(text.encode()), time.time()
        if size > self.max_bytes:
            return
        with self._lock, transaction(self._db):
            self._db.execute(
                "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?)",
                (key, text, size, None if ttl is None else now + ttl, now),
            )
            self._evict(now)

    def _evict(self, now: float) -> None:
        self._db.execute("DELETE FROM results WHERE expires <= ?", (now,))
        (total,) = self._db.execute("SELECT coalesce(sum(bytes), 0) FROM results").fetchone()
        while total > self.max_bytes:
            key, size = self._db.execute(
                "SELECT key, bytes FROM results ORDER BY used, rowid LIMIT 1"
            ).fetchone()
            self._db.execute("DELETE FROM results WHERE key = ?", (key,))
            total -= size

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()


class _Flight:
    """A computation that others wait for."""

    def __init__(self) -> None:
        self.ended = Signal()
        self.result: Result | None = None
        """None: the computation failed."""


def key_of(
    node: str,
    version: str,
    inputs: Mapping[str, Any],
    resources: Mapping[str, Any],
    changed: Mapping[str, str],
) -> bytes:
    """The digest of all that a result depends on.

    Args:
        node: The node's fingerprint.
        version: What the pipeline says of it.
        inputs: Name to value.
        resources: Name to identity and version.
        changed: Place of a step that this run configures to its fingerprint.

    Raises:
        Unstable: An input has no digest.
    """
    parts = {
        "node": node,
        "version": version,
        "inputs": digest_of_values(inputs),
        "resources": resources,
        "changed": changed,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).digest()
