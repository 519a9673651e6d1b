"""Entries in a folder that machines share: files alone, as locks over networks are unreliable."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from rag.errors import ConfigError
from rag.kvcache.store.base import Corrupt, Entry, Tier, Unreachable
from rag.kvcache.store.files import Files, last_used
from rag.kvcache.store.quantize import Storage

MARGIN = 0.05
"""Share of the bound that a process may write before it counts the folder's files again."""
USE_INTERVAL = 3600.0
"""Seconds within which one use of an entry is noted: more would be traffic for nothing."""


class SharedTier(Tier):
    """A folder on a network.

    There is no common index: each process lists the folder whenever it has written a twentieth of
    `max_bytes`, and then removes what was unused for longest until a twentieth is free. So one
    writer stays within the bound, and each further one may exceed it by a twentieth.

    Args:
        folder: Made if missing.
        max_bytes: Of the files; None: no limit.
        storage: The form of new entries (`quantize.Storage`).

    Raises:
        ConfigError: The folder cannot be used.
    """

    name = "shared"

    def __init__(
        self, folder: Path, max_bytes: int | None = None, storage: Storage = "as is"
    ) -> None:
        super().__init__()
        self._max, self._unchecked = max_bytes, 0
        self._lock = threading.Lock()
        try:
            self._files = Files(folder, storage, mapped=False)
        except OSError as error:
            raise ConfigError(
                f"the shared folder of states cannot be used: {error}",
                where=str(folder),
                fix="name a folder that can be written, and mount it",
            ) from error

    def get(self, key: str) -> Entry | None:
        """See `Tier.get`."""
        try:
            entry = self._files.read(key)
        except Corrupt:
            self.counts.quarantined += 1
            raise
        except OSError as error:
            raise Unreachable(str(error)) from error
        if entry is not None:
            self._files.touch(key, USE_INTERVAL)
        return entry

    def put(self, key: str, entry: Entry) -> None:
        """See `Tier.put`; an entry larger than the tier is not kept."""
        staged, size = self._files.stage(key, entry)
        if self._max is not None and size > self._max:
            self._files.discard(staged)
            self.delete(key)  # what it was to replace
            return
        self._files.place(key, staged)
        if self._max is not None:
            self._stay_within(self._max, key, size)

    def _stay_within(self, most: int, key: str, size: int) -> None:
        margin = int(MARGIN * most)
        with self._lock:
            # Nothing was counted yet, or too much was written since.
            if self._unchecked == 0 or self._unchecked + size > margin:
                self._remove(None, most - margin, spare=key)
                self._unchecked = 0
            self._unchecked += size

    def contains(self, key: str) -> bool:
        """See `Tier.contains`."""
        return self._files.path(key).exists()

    def delete(self, key: str) -> None:
        """See `Tier.delete`."""
        self._files.delete(key)

    def keys(self) -> list[str]:
        """See `Tier.keys`."""
        return sorted(key for key, _ in self._files.entries())

    def size(self) -> tuple[int, int, int | None]:
        """See `Tier.size`."""
        sizes = [stat.st_size for _, stat in self._files.entries()]
        return len(sizes), sum(sizes), self._max

    def prune(self, max_idle_seconds: float | None = None, max_bytes: int | None = None) -> int:
        """See `Tier.prune`."""
        with self._lock:
            return self._remove(max_idle_seconds, max_bytes)

    def _remove(
        self, max_idle_seconds: float | None, max_bytes: int | None, spare: str | None = None
    ) -> int:
        files = sorted((last_used(stat), key, stat.st_size) for key, stat in self._files.entries())
        total = sum(size for _, _, size in files)
        oldest = time.time_ns() - (max_idle_seconds or 0) * 1e9
        removed = 0
        for used, key, size in files:
            idle = max_idle_seconds is not None and used < oldest
            if not idle and (max_bytes is None or total <= max_bytes):
                break
            if key == spare:  # the machines' clocks differ
                continue
            self._files.delete(key)
            total -= size
            removed += 1
        self.counts.evictions += removed
        return removed

    def verify(self) -> list[str]:
        """See `Tier.verify`; corrupt files are quarantined."""
        problems = []
        for key in self.keys():
            try:
                self._files.read(key, verify=True)
            except Corrupt as error:
                problems.append(f"shared: {key[:12]}: {error}")
                self.counts.quarantined += 1
            except OSError as error:
                problems.append(f"shared: {key[:12]}: {error}")
        return problems
