"""Entries in memory, as they are."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from itertools import count

from rag.kvcache.store.base import Entry, Tier
from rag.kvcache.store.policy import policy


@dataclass
class _Held:
    entry: Entry
    used: float
    uses: int
    priority: float
    pinned: bool = False


class MemoryTier(Tier):
    """Entries up to a number of bytes.

    Args:
        max_bytes: Of the tensors.
        by: The eviction policy.
    """

    name = "memory"

    def __init__(self, max_bytes: int, by: str = "cost") -> None:
        super().__init__()
        self._max, self._priority = max_bytes, policy(by)
        self._held: dict[str, _Held] = {}
        self._bytes = 0
        self._clock = 0.0
        self._time = count(1)
        self._lock = threading.Lock()

    def get(self, key: str) -> Entry | None:
        """See `Tier.get`."""
        with self._lock:
            held = self._held.get(key)
            if held is None:
                return None
            held.uses += 1
            self._touch(held)
            return held.entry

    def _touch(self, held: _Held) -> None:
        held.used = next(self._time)
        entry = held.entry
        held.priority = self._priority(held.used, held.uses, entry.cost, entry.nbytes, self._clock)

    def put(self, key: str, entry: Entry) -> None:
        """See `Tier.put`; an entry larger than the tier is not kept."""
        size = entry.nbytes
        with self._lock:
            before = self._held.get(key)
            held = _Held(entry, 0.0, before.uses if before else 1, 0.0)
            held.pinned = bool(before and before.pinned)
            self._drop(key)
            if size > self._max:
                return
            self._touch(held)
            self._held[key] = held
            self._bytes += size
            while self._bytes > self._max:
                free = [
                    (h.priority, h.used, k)
                    for k, h in self._held.items()
                    if not h.pinned and k != key
                ]
                if not free:
                    self._drop(key)
                    return
                priority, _, worst = min(free)
                self._clock = max(self._clock, priority)
                self._drop(worst)
                self.counts.evictions += 1

    def _drop(self, key: str) -> None:
        held = self._held.pop(key, None)
        if held is not None:
            self._bytes -= held.entry.nbytes

    def contains(self, key: str) -> bool:
        """See `Tier.contains`."""
        return key in self._held

    def delete(self, key: str) -> None:
        """See `Tier.delete`."""
        with self._lock:
            self._drop(key)

    def keys(self) -> list[str]:
        """See `Tier.keys`."""
        with self._lock:
            return list(self._held)

    def size(self) -> tuple[int, int, int | None]:
        """See `Tier.size`."""
        with self._lock:
            return len(self._held), self._bytes, self._max

    def pin(self, key: str, pinned: bool) -> None:
        """See `Tier.pin`."""
        with self._lock:
            if key in self._held:
                self._held[key].pinned = pinned
