"""Tiers as one store: read through, written behind."""

from __future__ import annotations

import logging
import queue
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from time import perf_counter
from typing import Any, TypeVar

from rag.kvcache.store.base import Corrupt, Entry, Found, Miss, Reason, Tier, Unreachable

T = TypeVar("T")

_LOG = logging.getLogger(__name__)
_KEY = re.compile(r"[0-9a-f]{64}")
WAITING = 256
"""Entries that may wait to be written; when there are more, new ones stay in memory only."""


class KVStore:
    """The fastest tier first. A tier that fails costs speed, never an answer.

    What tiers raise is counted, logged, and goes no further. Safe from any thread.

    Args:
        tiers: At least one.

    Raises:
        ValueError: From all that take a key: it is no SHA-256 in hexadecimal.
    """

    def __init__(self, tiers: Sequence[Tier]) -> None:
        if not tiers:
            raise ValueError("a store needs a tier")
        self.tiers = list(tiers)
        self._queue: queue.Queue[tuple[str, Entry, Sequence[Tier]] | None] = queue.Queue(WAITING)
        self._writer: threading.Thread | None = None
        self._closed = False
        self._lock = threading.Lock()

    def get(self, key: str, ids: Sequence[int]) -> Found | Miss:
        """The states of `ids` under a key.

        Args:
            key: SHA-256 in hexadecimal, lowercase.
            ids: The tokens; an entry of others is dropped.
        """
        _check(key)
        reason: Reason = "absent"
        for number, tier in enumerate(self.tiers):
            started = perf_counter()
            try:
                entry = tier.get(key)
            except Exception as error:  # noqa: BLE001 - whatever it is, the answer can do without
                reason = "corrupt" if isinstance(error, Corrupt) else "unreachable"
                tier.counts.misses += 1
                self._failed(tier, "get", error)
                continue
            if entry is None or entry.ids != tuple(ids):
                tier.counts.misses += 1
                if entry is not None:
                    reason = "other tokens"
                    self._try(tier, "delete", partial(_ask, tier, "delete", key), None)
                continue
            seconds = perf_counter() - started
            tier.counts.hits += 1
            tier.counts.load_seconds += seconds
            if number:
                self._keep(key, entry, self.tiers[:number])
            return Found(entry, tier.name, seconds)
        return Miss(reason)

    def put(self, key: str, entry: Entry) -> None:
        """Keep an entry: in the first tier now, in the others when the writer comes to it.

        When too much waits to be written already, it is not kept in the others; each of them
        counts an error.
        """
        _check(key)
        self._keep(key, entry, self.tiers)

    def _keep(self, key: str, entry: Entry, tiers: Sequence[Tier]) -> None:
        first, *rest = tiers
        self._try(first, "put", partial(_ask, first, "put", key, entry), None)
        if not rest:
            return
        with self._lock:
            if self._closed:
                return
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
                self._try(tier, "put", partial(_ask, tier, "put", key, entry), None)
            # An idle writer must not hold the last entry.
            del todo, key, entry
            self._queue.task_done()
        self._queue.task_done()

    def _try(self, tier: Tier, what: str, ask: Callable[[], T], otherwise: T) -> T:
        try:
            return ask()
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer can do without
            self._failed(tier, what, error)
            return otherwise

    @staticmethod
    def _failed(tier: Tier, what: str, error: Exception) -> None:
        if not (isinstance(error, Unreachable) and error.known):
            tier.counts.errors += 1
            _LOG.warning("%s tier: %s failed: %s", tier.name, what, error)

    def flush(self) -> None:
        """Wait until everything is written."""
        self._queue.join()

    def contains(self, key: str) -> bool:
        """Whether any tier has the entry; it is not read, so it may yet prove corrupt."""
        _check(key)
        return any(
            self._try(tier, "contains", partial(_ask, tier, "contains", key), False)
            for tier in self.tiers
        )

    def delete(self, key: str) -> None:
        """Forget an entry everywhere."""
        _check(key)
        self.flush()
        for tier in self.tiers:
            self._try(tier, "delete", partial(_ask, tier, "delete", key), None)

    def pin(self, key: str, pinned: bool = True) -> None:
        """Keep an entry from being evicted, or no longer, in the tiers that have it now."""
        _check(key)
        self.flush()
        for tier in self.tiers:
            self._try(tier, "pin", partial(_ask, tier, "pin", key, pinned), None)

    def keys(self) -> list[str]:
        """All keys, in order."""
        found: set[str] = set()
        for tier in self.tiers:
            found.update(self._try(tier, "keys", tier.keys, []))
        return sorted(found)

    def clear(self) -> int:
        """Forget everything; returns how many entries there were."""
        self.flush()
        found = self.keys()
        for key in found:
            self.delete(key)
        return len(found)

    def verify(self) -> list[str]:
        """Read everything again; tell what is wrong and was put aside."""
        self.flush()
        found = []
        for tier in self.tiers:
            try:
                found += tier.verify()
            except Exception as error:  # noqa: BLE001 - as in `_try`, but it is told
                self._failed(tier, "verify", error)
                found.append(f"{tier.name}: {error}")
        return found

    def stats(self) -> dict[str, dict[str, Any]]:
        """Tier to its numbers; what cannot be asked now has no entries."""
        self.flush()
        found = {}
        for tier in self.tiers:
            unknown: tuple[int, int, int | None] = (0, 0, None)
            entries, size, most = self._try(tier, "size", tier.size, unknown)
            numbers = {"entries": entries, "bytes": size, "max_bytes": most}
            found[tier.name] = {**numbers, **asdict(tier.counts)}
        return found

    def close(self) -> None:
        """Write what waits, and let go; what is put later stays in memory only."""
        with self._lock:
            self._closed = True
            writer, self._writer = self._writer, None
        if writer is not None:
            self._queue.put(None)
            writer.join()
        for tier in self.tiers:
            self._try(tier, "close", tier.close, None)


def _ask(tier: Tier, what: str, *arguments: Any) -> Any:
    return getattr(tier, what)(*arguments)


def _check(key: str) -> None:
    # A key becomes a path: nothing else may get there.
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key[:80]!r} is no SHA-256 in hexadecimal")
