"""Tiers as one store: read through, written behind."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Sequence
from dataclasses import asdict
from time import perf_counter
from typing import Any

from rag.kvcache.store.base import Corrupt, Entry, Found, Miss, Reason, Tier, Unreachable

_LOG = logging.getLogger(__name__)
WAITING = 256
"""Entries that may wait to be written; when there are more, new ones stay in memory only."""


class KVStore:
    """The fastest tier first. A tier that fails costs speed, never an answer.

    Args:
        tiers: At least one.
    """

    def __init__(self, tiers: Sequence[Tier]) -> None:
        self.tiers = list(tiers)
        self._queue: queue.Queue[tuple[str, Entry, Sequence[Tier]] | None] = queue.Queue(WAITING)
        self._writer: threading.Thread | None = None
        self._lock = threading.Lock()

    def get(self, key: str, ids: Sequence[int]) -> Found | Miss:
        """The states of `ids` under a key.

        Args:
            key: SHA-256 in hexadecimal.
            ids: The tokens; an entry of others is dropped.
        """
        reason: Reason = "absent"
        for number, tier in enumerate(self.tiers):
            started = perf_counter()
            try:
                entry = tier.get(key)
            except (Corrupt, Unreachable) as error:
                reason = "corrupt" if isinstance(error, Corrupt) else "unreachable"
                tier.counts.errors += 1
                _LOG.warning("%s tier: %s: %s", tier.name, reason, error)
                continue
            if entry is None:
                tier.counts.misses += 1
                continue
            if entry.ids != tuple(ids):
                reason = "other tokens"
                self._quietly(tier, "delete", key)
                continue
            seconds = perf_counter() - started
            tier.counts.hits += 1
            tier.counts.load_seconds += seconds
            for above in self.tiers[:number]:
                self._quietly(above, "put", key, entry)
            return Found(entry, tier.name, seconds)
        return Miss(reason)

    def put(self, key: str, entry: Entry) -> None:
        """Keep an entry: in the first tier now, in the others when the writer comes to it."""
        first, *rest = self.tiers
        self._quietly(first, "put", key, entry)
        if not rest:
            return
        with self._lock:
            if self._writer is None:
                self._writer = threading.Thread(target=self._write, name="rag-kv", daemon=True)
                self._writer.start()
        try:
            self._queue.put_nowait((key, entry, rest))
        except queue.Full:
            for tier in rest:
                tier.counts.errors += 1

    def _write(self) -> None:
        while (todo := self._queue.get()) is not None:
            key, entry, tiers = todo
            for tier in tiers:
                self._quietly(tier, "put", key, entry)
            self._queue.task_done()
        self._queue.task_done()

    def _quietly(self, tier: Tier, what: str, *arguments: Any) -> None:
        try:
            getattr(tier, what)(*arguments)
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer can do without
            tier.counts.errors += 1
            _LOG.warning("%s tier: %s failed: %s", tier.name, what, error)

    def flush(self) -> None:
        """Wait until everything is written."""
        if self._writer is not None:
            self._queue.join()

    def contains(self, key: str) -> bool:
        """Whether any tier has the entry."""
        return any(tier.contains(key) for tier in self.tiers)

    def delete(self, key: str) -> None:
        """Forget an entry everywhere."""
        self.flush()
        for tier in self.tiers:
            self._quietly(tier, "delete", key)

    def pin(self, key: str, pinned: bool = True) -> None:
        """Keep an entry from being evicted, or no longer."""
        self.flush()
        for tier in self.tiers:
            self._quietly(tier, "pin", key, pinned)

    def keys(self) -> list[str]:
        """All keys."""
        found: set[str] = set()
        for tier in self.tiers:
            try:
                found.update(tier.keys())
            except Unreachable:
                tier.counts.errors += 1
        return sorted(found)

    def clear(self) -> int:
        """Forget everything; returns how many entries there were."""
        found = self.keys()
        for key in found:
            self.delete(key)
        return len(found)

    def verify(self) -> list[str]:
        """Read everything again; tell what is wrong and was put aside."""
        self.flush()
        return [problem for tier in self.tiers for problem in tier.verify()]

    def stats(self) -> dict[str, dict[str, Any]]:
        """Tier to its numbers."""
        self.flush()
        found = {}
        for tier in self.tiers:
            entries, size, most = tier.size()
            numbers = {"entries": entries, "bytes": size, "max_bytes": most}
            found[tier.name] = {**numbers, **asdict(tier.counts)}
        return found

    def close(self) -> None:
        """Write what waits, and let go."""
        if self._writer is not None:
            self._queue.put(None)
            self._writer.join()
            self._writer = None
        for tier in self.tiers:
            tier.close()
