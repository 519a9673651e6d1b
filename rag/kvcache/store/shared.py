"""Entries in a directory that machines share: files alone, since locks over networks are none."""

from __future__ import annotations

import time
from pathlib import Path

from rag.kvcache.store.base import Corrupt, Entry, Tier, Unreachable
from rag.kvcache.store.files import Files


class SharedTier(Tier):
    """A directory on a network.

    Args:
        folder: Made if need be.
        int8: Keep new entries in eight bits.
    """

    name = "shared"

    def __init__(self, folder: Path, *, int8: bool = False) -> None:
        super().__init__()
        self._files = Files(folder, int8=int8)

    def get(self, key: str) -> Entry | None:
        """See `Tier.get`."""
        try:
            return self._files.read(key)
        except Corrupt:
            self.counts.quarantined += 1
            raise
        except OSError as error:
            raise Unreachable(str(error)) from error

    def put(self, key: str, entry: Entry) -> None:
        """See `Tier.put`."""
        self._files.write(key, entry)

    def contains(self, key: str) -> bool:
        """See `Tier.contains`."""
        return self._files.path(key).exists()

    def delete(self, key: str) -> None:
        """See `Tier.delete`."""
        self._files.delete(key)

    def keys(self) -> list[str]:
        """See `Tier.keys`."""
        return sorted(key for key, _ in self._files.found())

    def size(self) -> tuple[int, int, int | None]:
        """See `Tier.size`."""
        sizes = [stat.st_size for _, stat in self._files.found()]
        return len(sizes), sum(sizes), None

    def prune(self, max_age_seconds: float) -> int:
        """Remove what was written longer ago; returns how many."""
        oldest = time.time() - max_age_seconds
        gone = [key for key, stat in self._files.found() if stat.st_mtime < oldest]
        for key in gone:
            self._files.delete(key)
        return len(gone)

    def verify(self) -> list[str]:
        """See `Tier.verify`."""
        wrong = []
        for key in self.keys():
            try:
                self._files.read(key, again=True)
            except Corrupt as error:
                wrong.append(f"shared: {key[:12]}: {error}")
                self.counts.quarantined += 1
        return wrong
