"""Tiers as one store: read through, written behind."""

from __future__ import annotations

import logging
import queue
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from itertools import islice
from time import perf_counter
from typing import Any, TypeVar

from rag.kvcache.store.base import Corrupt, Entry, Found, Miss, Reason, Tier, Unreachable

T = TypeVar("T")

_LOG = logging.getLogger(__name__)
_KEY = re.compile(r"[0-9a-f]{64}")
PENDING = 256
"""Entries that may wait to be written; when there are more, new ones stay in memory only."""
AHEAD = 32
"""Entries read ahead that are held for their look-up, also where the first tier is too small."""


class KVStore:
    """The fastest tier first. A tier that fails costs speed, never an answer.

    What tiers raise is counted, logged, and goes no further. Thread-safe.

    Args:
        tiers: At least one.

    Raises:
        ValueError: From all that take a key: it is no SHA-256 in hexadecimal.
    """

    def __init__(self, tiers: Sequence[Tier]) -> None:
        if not tiers:
            raise ValueError("a store needs a tier")
        self.tiers = list(tiers)
        self._queue: queue.Queue[tuple[str, Entry | None, Sequence[Tier]] | None]
        self._queue = queue.Queue(PENDING)
        self._writer: threading.Thread | None = None
        self._reader: ThreadPoolExecutor | None = None
        self._ahead: dict[str, Future[Found | Reason]] = {}
        self._closed = False
        self._lock = threading.Lock()

    def get(self, key: str, ids: Sequence[int]) -> Found | Miss:
        """The states of `ids` under a key.

        Args:
            key: SHA-256 in hexadecimal, lowercase.
            ids: The tokens; an entry of other tokens is removed.
        """
        _check(key)
        with self._lock:
            ahead = self._ahead.pop(key, None)
        found: Found | Reason
        # What the reader has not begun is read here: it would be waited for anyway.
        found = self._read(key) if ahead is None or ahead.cancel() else ahead.result()
        if isinstance(found, Found) and found.entry.ids != tuple(ids):
            for tier in self.tiers:
                self._try(tier, "delete", partial(_call, tier, "delete", key), None)
            found = "other tokens"
        for tier in self.tiers:
            if isinstance(found, Found) and found.tier == tier.name:
                tier.counts.hits += 1
                tier.counts.load_seconds += found.load_seconds
                return found
            tier.counts.misses += 1
        assert not isinstance(found, Found)  # noqa: S101 - it is of one of the tiers
        return Miss(found)

    def peek(self, key: str) -> Entry | None:
        """The entry if the first tier has it; no look-up that is counted."""
        _check(key)
        first = self.tiers[0]
        nothing: Entry | None = None
        return self._try(first, "get", partial(first.get, key), nothing)

    def prefetch(self, keys: Iterable[str]) -> None:
        """Read entries in the background that will be looked up soon.

        A look-up waits for an entry that is being read, and reads itself what is not yet. What is
        in the first tier is left alone.

        Args:
            keys: In the order of their look-ups; after `AHEAD` of them, they would push the first
                ones out.
        """
        first, *rest = self.tiers
        if not rest:
            return
        for key in islice(keys, AHEAD):
            _check(key)
            if self._try(first, "contains", partial(_call, first, "contains", key), False):
                continue
            with self._lock:
                if self._closed or key in self._ahead:
                    continue
                if self._reader is None:
                    self._reader = ThreadPoolExecutor(1, thread_name_prefix="rag-kv-read")
                while len(self._ahead) >= AHEAD:
                    self._ahead.pop(next(iter(self._ahead))).cancel()
                self._ahead[key] = self._reader.submit(self._read_ahead, key)

    def _read_ahead(self, key: str) -> Found | Reason:
        found = self._read(key)
        for tier in self.tiers:
            if isinstance(found, Found) and found.tier == tier.name:
                tier.counts.prefetched += 1
        return found

    def _read(self, key: str) -> Found | Reason:
        """The entry from the first tier that has it, which those above it get; or why none has."""
        reason: Reason = "absent"
        for number, tier in enumerate(self.tiers):
            started = perf_counter()
            try:
                entry = tier.get(key)
            except Exception as error:  # noqa: BLE001 - whatever it is, the states can be computed
                reason = "corrupt" if isinstance(error, Corrupt) else "unreachable"
                self._failed(tier, "get", error)
                continue
            if entry is None:
                continue
            seconds = perf_counter() - started
            if number:
                self._keep(key, entry, self.tiers[:number])
            return Found(entry, tier.name, seconds)
        return reason

    def put(self, key: str, entry: Entry, *, lasting: bool = True) -> None:
        """Store an entry: in the first tier now, in the others by a background thread.

        When too much waits to be written already, the others do not get it, and count an error.

        Args:
            key: As of `get`.
            entry: The states.
            lasting: Give it to the other tiers too.
        """
        _check(key)
        self._forget_ahead(key)
        self._keep(key, entry, self.tiers if lasting else self.tiers[:1])

    def discard(self, key: str) -> None:
        """Remove an entry as `put` stores one: from the other tiers by the background thread."""
        _check(key)
        self._forget_ahead(key)
        self._keep(key, None, self.tiers)

    def _forget_ahead(self, key: str) -> None:
        """What was read ahead is no longer true."""
        with self._lock:
            ahead = self._ahead.pop(key, None)
        if ahead is not None:
            ahead.cancel()

    def _keep(self, key: str, entry: Entry | None, tiers: Sequence[Tier]) -> None:
        first, *rest = tiers
        self._store(first, key, entry)
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

    def _store(self, tier: Tier, key: str, entry: Entry | None) -> None:
        if entry is None:
            self._try(tier, "delete", partial(_call, tier, "delete", key), None)
        else:
            self._try(tier, "put", partial(_call, tier, "put", key, entry), None)

    def _write(self) -> None:
        while (todo := self._queue.get()) is not None:
            key, entry, tiers = todo
            for tier in tiers:
                self._store(tier, key, entry)
            # An idle thread must not hold the last entry.
            del todo, key, entry
            self._queue.task_done()
        self._queue.task_done()

    def _try(self, tier: Tier, what: str, call: Callable[[], T], otherwise: T) -> T:
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - whatever it is, the states can be computed
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
            self._try(tier, "contains", partial(_call, tier, "contains", key), False)
            for tier in self.tiers
        )

    def delete(self, key: str) -> None:
        """Remove an entry from every tier."""
        _check(key)
        self.flush()
        self._forget_ahead(key)
        for tier in self.tiers:
            self._try(tier, "delete", partial(_call, tier, "delete", key), None)

    def pin(self, key: str, pinned: bool = True) -> None:
        """Keep an entry from being evicted, or allow it again, in the tiers that have it now."""
        _check(key)
        self.flush()
        for tier in self.tiers:
            self._try(tier, "pin", partial(_call, tier, "pin", key, pinned), None)

    def keys(self) -> list[str]:
        """All keys, sorted."""
        found: set[str] = set()
        for tier in self.tiers:
            found.update(self._try(tier, "keys", tier.keys, []))
        return sorted(found)

    def clear(self) -> int:
        """Remove everything; returns how many entries there were."""
        self.flush()
        keys = self.keys()
        for key in keys:
            self.delete(key)
        return len(keys)

    def prune(
        self, max_idle_seconds: float | None = None, max_bytes: int | None = None
    ) -> dict[str, int]:
        """Evict entries from the tiers on disk now; see `Tier.prune`.

        Returns:
            Tier to how many entries were removed.
        """
        self.flush()
        return {
            tier.name: self._try(
                tier, "prune", partial(_call, tier, "prune", max_idle_seconds, max_bytes), 0
            )
            for tier in self.tiers
        }

    def verify(self) -> list[str]:
        """Read everything again; returns the problems found, whose entries are quarantined."""
        self.flush()
        problems = []
        for tier in self.tiers:
            try:
                problems += tier.verify()
            except Exception as error:  # noqa: BLE001 - as in `_try`, but it is reported
                self._failed(tier, "verify", error)
                problems.append(f"{tier.name}: {error}")
        return problems

    def stats(self) -> dict[str, dict[str, Any]]:
        """Tier to its counters and size; a tier that does not respond has no entries."""
        self.flush()
        found = {}
        for tier in self.tiers:
            unknown: tuple[int, int, int | None] = (0, 0, None)
            entries, size, most = self._try(tier, "size", tier.size, unknown)
            numbers = {"entries": entries, "bytes": size, "max_bytes": most}
            found[tier.name] = {**numbers, **asdict(tier.counts)}
        return found

    def contents(self) -> dict[str, dict[str, Any]]:
        """Tier to what it holds, and to what it has saved since it was made.

        `entries`, `bytes`, `max_bytes`; and where a tier notes it, `reads` of these entries and
        `saved_seconds`, which computing their states again would have taken; else None.
        """
        self.flush()
        found = {}
        for tier in self.tiers:
            unknown: tuple[int, int, int | None] = (0, 0, None)
            entries, size, most = self._try(tier, "size", tier.size, unknown)
            nothing: tuple[int, float] | None = None
            saved = self._try(tier, "saved", tier.saved, nothing)
            reads, seconds = saved or (None, None)
            found[tier.name] = {
                "entries": entries,
                "bytes": size,
                "max_bytes": most,
                "reads": reads,
                "saved_seconds": None if seconds is None else round(seconds, 1),
            }
        return found

    def close(self) -> None:
        """Write what waits, and close the tiers; what is put later stays in memory only."""
        with self._lock:
            self._closed = True
            writer, self._writer = self._writer, None
            reader, self._reader = self._reader, None
            self._ahead.clear()
        if reader is not None:
            reader.shutdown(cancel_futures=True)
        if writer is not None:
            self._queue.put(None)
            writer.join()
        for tier in self.tiers:
            self._try(tier, "close", tier.close, None)


def _call(tier: Tier, what: str, *arguments: Any) -> Any:
    return getattr(tier, what)(*arguments)


def _check(key: str) -> None:
    # A key becomes a path: nothing else may get there.
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key[:80]!r} is no SHA-256 in hexadecimal")
