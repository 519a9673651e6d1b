"""Results of steps, kept by operator, configuration and inputs."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from rag.errors import ConfigError, InputError
from rag.flow.memory.codec import decode, document_from, document_json, encode
from rag.flow.resources import Resource

if TYPE_CHECKING:
    from langchain_core.documents import Document

    from rag.flow.operator import Operator
    from rag.flow.run.run import Run

MAX_BYTES = 64 * 1024 * 1024


class StepCache(Resource):
    """Least recently used results go first when the bytes are used up. Safe from any thread.

    Args:
        path: An SQLite file that processes may share; None: memory.
        max_bytes: Of the results kept.
    """

    name: ClassVar[str] = "step_cache"
    default: ClassVar[Any] = {}

    def __init__(self, path: Path | None = None, max_bytes: int = MAX_BYTES) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._db = sqlite3.connect(
            path or ":memory:", check_same_thread=False, isolation_level=None, timeout=10
        )
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS results"
            " (key BLOB PRIMARY KEY, data TEXT, bytes INT, expires REAL, used REAL)"
        )
        self._db.execute("CREATE INDEX IF NOT EXISTS by_use ON results (used)")

    @classmethod
    def load(cls, spec: Any, *, base: Path) -> Self:
        """`{path: FILE, max_bytes: N}`, both optional."""
        known = {"path", "max_bytes"}
        if not isinstance(spec, Mapping) or spec.keys() - known:
            raise ConfigError(
                f"a step cache cannot be made of {spec!r}",
                where=f"resources.{cls.name}",
                fix="write {path: FILE, max_bytes: N}, or one of the two",
            )
        path = base / spec["path"] if "path" in spec else None
        return cls(path, int(spec.get("max_bytes", MAX_BYTES)))

    def get(self, key: bytes, kinds: Mapping[str, Any]) -> dict[str, Any] | None:
        """Channel to value, or None for what is not there, or no longer good."""
        now = time.time()
        with self._lock:
            row = self._db.execute(
                "SELECT data FROM results WHERE key = ? AND (expires IS NULL OR expires > ?)",
                (key, now),
            ).fetchone()
            if row is None:
                return None
            self._db.execute("UPDATE results SET used = ? WHERE key = ?", (now, key))
        data = json.loads(row[0])
        documents = [document_from(one) for one in data["documents"]]
        try:
            return {
                name: decode(data["writes"][name], kind, documents.__getitem__)
                for name, kind in kinds.items()
            }
        except (InputError, KeyError):
            return None  # the operator writes something else now

    def put(
        self, key: bytes, kinds: Mapping[str, Any], wrote: Mapping[str, Any], ttl: float | None
    ) -> None:
        """Keep a result; one that is larger than the budget is not kept."""
        documents: list[dict[str, Any]] = []

        def keep(document: Document) -> int:
            documents.append(document_json(document))
            return len(documents) - 1

        writes = {name: encode(wrote[name], kind, keep) for name, kind in kinds.items()}
        text = json.dumps({"documents": documents, "writes": writes})
        size, now = len(text.encode()), time.time()
        if size > self.max_bytes:
            return
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(
                "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?)",
                (key, text, size, None if ttl is None else now + ttl, now),
            )
            self._evict(now)
            self._db.execute("COMMIT")

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
        self._db.close()


async def key_of(operator: Operator, arguments: Mapping[str, Any], run: Run) -> bytes:
    """The digest of all that a step's result depends on.

    Raises:
        InputError: An input cannot be written down.
    """
    from rag.flow.operator import PLACEMENT

    signature = operator.signature()
    resources = {}
    for port in signature.resources:
        opened = await run.resource(port.name, port.type)
        resources[port.name] = [run.resources.identity(port.name), opened.version()]
    reads = {port.name: port.type for port in signature.reads}
    parts = {
        "operator": f"{type(operator).__module__}.{type(operator).__qualname__}",
        "config": operator.model_dump(mode="json", exclude=set(PLACEMENT)),
        "resources": resources,
        "inputs": {n: encode(v, reads[n], document_json) for n, v in sorted(arguments.items())},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).digest()
