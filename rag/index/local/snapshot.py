"""One commit of an index as its readers see it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.index.filters import Condition, parse_filter
from rag.index.local.database import State
from rag.index.local.lists import Lists, ListsFile
from rag.index.local.selection import passing
from rag.index.local.vectors import map_file, vector_file

if TYPE_CHECKING:
    import numpy as np

FILTERS = 32
"""Filters whose results are cached."""


@dataclass(frozen=True)
class Selection:
    """The vectors that a search may find.

    Attributes:
        mask: bool [n].
        filtered: Whether a metadata filter was given, and not only deleted chunks are left out.
    """

    mask: np.ndarray
    filtered: bool

    @cached_property
    def count(self) -> int:
        """How many."""
        return int(self.mask.sum())

    @cached_property
    def bits(self) -> np.ndarray:
        """The mask as FAISS reads it: uint8 [n / 8], the first vector in the lowest bit."""
        import numpy as np

        return np.packbits(self.mask, bitorder="little")


@dataclass(frozen=True)
class Snapshot:
    """The vectors as of one commit; never changed, so any number of threads may search it.

    Attributes:
        state: The commit.
        matrix: float32 [n, dim], mapped from the file.
        live: The vectors whose chunks exist.
        lists: Inverted lists over the first vectors.
        filters: Cached results of filters, of this commit or of an earlier one with the same
            metadata: bool [m], m <= n. They say nothing of deleted chunks.
    """

    state: State
    matrix: np.ndarray
    live: Selection
    lists: Lists | None = None
    filters: dict[Condition, np.ndarray] = field(default_factory=dict)

    def select(self, connection: sqlite3.Connection, where: Mapping[str, Any] | None) -> Selection:
        """The live vectors that pass a metadata filter.

        Args:
            connection: In a transaction that sees `state`.
            where: The filter; None or empty: all pass.

        Raises:
            InputError: The filter is wrong.
        """
        import numpy as np

        if not where:
            return self.live
        condition = parse_filter(where)
        known = self.filters.pop(condition, np.empty(0, dtype=bool))
        if len(known) < len(self.matrix):
            first = self.state.first_row + len(known)
            new = passing(connection, condition, first, self.state.last_row)
            known = np.concatenate([known, new])
        while len(self.filters) >= FILTERS:
            self.filters.pop(next(iter(self.filters)), None)
        self.filters[condition] = known
        return Selection(self.live.mask & known, filtered=True)

    def rows(self, positions: np.ndarray) -> np.ndarray:
        """The rows of vectors: int64 [m]."""
        return positions + self.state.first_row

    def positions(self, rows: np.ndarray) -> np.ndarray:
        """Where the vectors of rows are: int64 [m]."""
        return rows - self.state.first_row

    def contains(self, rows: np.ndarray, chosen: Selection) -> np.ndarray:
        """Which rows, int64 [m], are among the chosen ones; a later commit's are not: bool [m]."""
        at = self.positions(rows)
        known = at < len(self.matrix)
        known[known] = chosen.mask[at[known]]
        return known


def read_snapshot(
    connection: sqlite3.Connection, folder: Path, state: State, previous: Snapshot | None
) -> Snapshot:
    """The snapshot of a commit, updated from an earlier one.

    Args:
        connection: In a transaction that sees `state`.
        folder: The index.
        state: The commit.
        previous: An earlier snapshot, or None.

    Raises:
        IndexStateError: The vector file is missing or too short.
    """
    import numpy as np

    live = np.ones(state.vectors, dtype=bool)
    filters: dict[Condition, np.ndarray] = {}
    about = ListsFile.of(connection, state.generation)
    lists = Lists(folder, about) if about else None
    last_tombstone = 0
    if previous is not None and previous.state.generation == state.generation:
        last_tombstone = previous.state.last_tombstone
        live[: len(previous.live.mask)] = previous.live.mask
        if previous.lists and previous.lists.about == about:
            lists = previous.lists
        if previous.state.renewed == state.renewed:
            filters = previous.filters.copy()
    dead = connection.execute("SELECT row FROM tombstones WHERE n > ?", (last_tombstone,))
    live[np.fromiter((row for (row,) in dead), dtype=np.int64) - state.first_row] = False
    matrix = map_file(vector_file(folder, state.generation), state.vectors, state.dim)
    return Snapshot(state, matrix, Selection(live, filtered=False), lists, filters)
