"""Who computes the states of tokens: NumPy for a question or two, torch for all that is more."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from rag.models.local.encoder.arrays import ArrayEncoder
from rag.models.local.encoder.config import EncoderConfig
from rag.models.local.encoder.packing import Group, Row

if TYPE_CHECKING:
    import numpy as np

FEW = 12_288
"""Tokens that NumPy computes in all. It takes about half as long again as torch, whose import takes
as long as some 6,000 tokens: behind these, torch has been the better choice."""


class States(Protocol):
    """Computes the states of tokens; what they are made of is its own matter."""

    @property
    def config(self) -> EncoderConfig:
        """Sizes and constants."""

    def __call__(self, texts: Sequence[Sequence[int]]) -> Iterator[tuple[Row, Any]]:
        """The states of all tokens of some texts, row by row: token ids of each, at least one."""

    def array(self, states: Any) -> np.ndarray:
        """States as float32 of NumPy: [tokens, hidden_size]."""

    def pooled(self, states: Any, group: Group) -> np.ndarray:
        """The vectors of the texts of one length in a row: float32 [count, hidden_size], unit."""


class Sparing:
    """Computes by NumPy until torch is imported, or would have been worth its import.

    Args:
        first: By NumPy.
        opened: Opens the encoder by torch.
    """

    def __init__(self, first: ArrayEncoder, opened: Callable[[], States]) -> None:
        self._now: States = first
        self._opened: Callable[[], States] | None = opened
        self._lock = threading.Lock()
        self._tokens = 0

    @property
    def config(self) -> EncoderConfig:
        """See `States.config`."""
        return self._now.config

    def __call__(self, texts: Sequence[Sequence[int]]) -> Iterator[tuple[Row, Any]]:
        """See `States`."""
        with self._lock:
            self._tokens += sum(map(len, texts))
            if self._opened and ("torch" in sys.modules or self._tokens > FEW):
                self._now, self._opened = self._opened(), None
            now = self._now
        for row, states in now(texts):
            yield row, (now, states)

    @staticmethod
    def array(states: Any) -> np.ndarray:
        """See `States`."""
        by, own = states
        found: np.ndarray = by.array(own)
        return found

    @staticmethod
    def pooled(states: Any, group: Group) -> np.ndarray:
        """See `States`."""
        by, own = states
        found: np.ndarray = by.pooled(own, group)
        return found
