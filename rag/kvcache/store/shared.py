"""Entries in a directory that machines share: files alone, since locks over networks are none."""

from __future__ import annotations

import time
from pathlib import Path

from rag.errors import ConfigError
from rag.kvcache.store.base import Corrupt, Entry, Tier, Unreachable
from rag.kvcache.store.files import Files


class SharedTier(Tier):
    """A directory on a network. Nothing is evicted but by `prune`.

    Args:
        folder: Made if need be.
        int8: Keep new entries in eight bits.

    Raises:
        ConfigError: The folder cannot be used.
    """

    name = "shared"

    def __init__(self, folder: Path, *, int8: bool = False) -> None:
        super().__init__()
        try:
            self._files = Files(folder, int8=int8, mapped=False)
        except OSError as error:
            raise ConfigError(
                f"the shared folder of states cannot be used: {error}",
                where=str(folder),
                fix="name a folder that can be written, and mount it",
            ) from error

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
        temporary, _ = self._files.stage(key, entry)
        self._files.place(key, temporary)

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

    def prune(self, max_age_seconds: float | None = None, max_bytes: int | None = None) -> int:
        """Remove files; returns how many.

        Args:
            max_age_seconds: What was written longer ago goes.
            max_bytes: Then the oldest go until the files have no more bytes than this.
        """
        files = sorted((stat.st_mtime_ns, key, stat.st_size) for key, stat in self._files.found())
        total = sum(size for _, _, size in files)
        oldest = time.time_ns() - (max_age_seconds or 0) * 1e9
        gone = 0
        for written, key, size in files:
            old = max_age_seconds is not None and written < oldest
            if not old and (max_bytes is None or total <= max_bytes):
                break
            self._files.delete(key)
            total -= size
            gone += 1
        self.counts.evictions += gone
        return gone

    def verify(self) -> list[str]:
        """See `Tier.verify`; wrong files are put aside."""
        wrong = []
        for key in self.keys():
            try:
                self._files.read(key, again=True)
            except Corrupt as error:
                wrong.append(f"shared: {key[:12]}: {error}")
                self.counts.quarantined += 1
            except OSError as error:
                wrong.append(f"shared: {key[:12]}: {error}")
        return wrong
