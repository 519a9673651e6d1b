"""What is kept, what a look-up tells, and what every tier can do."""

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
        ids: The tokens.
        tensors: `keys` and `values` [layers, kv_heads, tokens, head_dim], and others by any name.
        meta: Short texts.
        cost: Seconds that computing them took.
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
    """A hit."""

    entry: Entry
    tier: str
    load_seconds: float


@dataclass(frozen=True, slots=True)
class Miss:
    """Nothing that could be used, and why."""

    reason: Reason


class Corrupt(Exception):  # noqa: N818 - a finding, handled where it is made
    """What a tier holds under a key is not what was put there."""


class Unreachable(Exception):  # noqa: N818 - as above
    """A tier cannot be asked now.

    Args:
        what: Why.
        known: It failed a moment ago and was not asked again: nothing to count or to log.
    """

    def __init__(self, what: str, *, known: bool = False) -> None:
        super().__init__(what)
        self.known = known


@dataclass
class Counts:
    """What a tier has seen since it was opened; every look-up is a hit or a miss."""

    hits: int = 0
    misses: int = 0
    evictions: int = 0
    errors: int = 0
    quarantined: int = 0
    load_seconds: float = 0.0


class Tier(ABC):
    """One place where entries are kept. Safe from any thread.

    Attributes:
        name: `memory`, `disk`, `shared`, `redis`.
        counts: What it has seen.
    """

    name: str

    def __init__(self) -> None:
        self.counts = Counts()

    @abstractmethod
    def get(self, key: str) -> Entry | None:
        """The entry; None if there is none.

        Raises:
            Corrupt: It is not what was put there; it was put aside or removed.
            Unreachable: The tier cannot be asked now.
        """

    @abstractmethod
    def put(self, key: str, entry: Entry) -> None:
        """Keep an entry, evicting others if need be.

        Raises:
            OSError: It could not be written; nothing half written is left.
            ValueError: No file can hold it: see `codec.pack`.
            Unreachable: The tier cannot be asked now.
        """

    @abstractmethod
    def contains(self, key: str) -> bool:
        """Whether there is an entry."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Forget an entry."""

    @abstractmethod
    def keys(self) -> list[str]:
        """All keys."""

    @abstractmethod
    def size(self) -> tuple[int, int, int | None]:
        """Entries, bytes, and bytes at most (None: no limit)."""

    def pin(self, key: str, pinned: bool) -> None:  # noqa: B027 - not every tier evicts
        """Keep an entry from being evicted, or no longer."""

    def verify(self) -> list[str]:
        """Read everything again; tell what is wrong."""
        return []

    def close(self) -> None:  # noqa: B027 - not every tier holds something
        """Let go of files and connections."""
