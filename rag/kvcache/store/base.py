"""Entries, the results of look-ups, and what every tier can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Reason = Literal["absent", "corrupt", "other tokens", "unreachable"]


@dataclass(frozen=True, slots=True)
class Entry:
    """The states of some tokens.

    Attributes:
        ids: The tokens' ids.
        tensors: `keys` and `values` [layers, kv_heads, tokens, head_dim], and others by any name.
        meta: Short texts.
        cost: Seconds that computing the states took.
    """

    ids: tuple[int, ...]
    tensors: dict[str, torch.Tensor]
    meta: dict[str, str] = field(default_factory=dict)
    cost: float = 0.0

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


@dataclass(frozen=True, slots=True)
class Found:
    """A hit.

    Attributes:
        entry: The states.
        tier: The name of the tier that had them.
        load_seconds: How long reading them took.
    """

    entry: Entry
    tier: str
    load_seconds: float


@dataclass(frozen=True, slots=True)
class Miss:
    """No usable entry, and why."""

    reason: Reason


class Corrupt(Exception):  # noqa: N818 - a state of the store, which handles it
    """The bytes under a key are not what was put there."""


class OtherVersion(Exception):  # noqa: N818 - as above
    """The bytes under a key are of another version of this format: nothing here can use them."""


class Unreachable(Exception):  # noqa: N818 - as above
    """A tier does not respond.

    Args:
        what: Why.
        known: It failed a moment ago and was not tried again: nothing to count or to log.
    """

    def __init__(self, what: str, *, known: bool = False) -> None:
        super().__init__(what)
        self.known = known


@dataclass
class Counts:
    """Counters of a tier since it was opened; every look-up is a hit or a miss.

    Attributes:
        hits: Look-ups that this tier served.
        misses: Look-ups that it could not serve; a tier is asked when those above it have nothing.
        evictions: Entries removed to make room.
        errors: Calls that failed.
        quarantined: Corrupt entries.
        prefetched: Entries read before they were looked up.
        load_seconds: Time of the hits.
    """

    hits: int = 0
    misses: int = 0
    evictions: int = 0
    errors: int = 0
    quarantined: int = 0
    prefetched: int = 0
    load_seconds: float = 0.0


class Tier(ABC):
    """One place where entries are stored. Thread-safe.

    Attributes:
        name: `memory`, `disk`, `shared`, `redis`.
        counts: Hits, misses and other counters since it was opened.
    """

    name: str

    def __init__(self) -> None:
        self.counts = Counts()

    @abstractmethod
    def get(self, key: str) -> Entry | None:
        """The entry; None if there is none.

        Raises:
            Corrupt: It is not what was put there; it was quarantined or removed.
            Unreachable: The tier does not respond.
        """

    @abstractmethod
    def put(self, key: str, entry: Entry) -> None:
        """Store an entry, evicting others if necessary.

        Raises:
            OSError: It could not be written; nothing of it is left.
            ValueError: No file can hold it: see `codec.pack`.
            Unreachable: The tier does not respond.
        """

    @abstractmethod
    def contains(self, key: str) -> bool:
        """Whether there is an entry."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an entry."""

    @abstractmethod
    def keys(self) -> list[str]:
        """All keys."""

    @abstractmethod
    def size(self) -> tuple[int, int, int | None]:
        """Number of entries, their bytes, and bytes at most (None: no limit)."""

    def saved(self) -> tuple[int, float] | None:
        """Reads of the entries by all processes, and the seconds that they saved; None: unknown."""
        return None

    def pin(self, key: str, pinned: bool) -> None:  # noqa: B027 - not every tier evicts
        """Keep an entry from being evicted, or allow it again."""

    def prune(self, max_idle_seconds: float | None = None, max_bytes: int | None = None) -> int:
        """Evict entries now. Tiers that do not outlive the process do nothing, and Redis has TTLs.

        Args:
            max_idle_seconds: Entries that were not used for longer are removed.
            max_bytes: Then the least valuable ones, until the tier has no more bytes than this.

        Returns:
            How many were removed.
        """
        return 0

    def verify(self) -> list[str]:
        """Read everything again; returns the problems found."""
        return []

    def close(self) -> None:  # noqa: B027 - not every tier holds something
        """Close files and connections."""
