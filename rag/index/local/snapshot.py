"""One commit of an index as its readers see it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.index.filters import parse_filter
from rag.index.local.conditions import on_chunks
from rag.index.local.database import State
from rag.index.local.vectors import map_file, vector_file

if TYPE_CHECKING:
    import numpy as np

SELECTIONS = 32  # filters cached for each commit


@dataclass(frozen=True)
class Snapshot:
    """The vectors as of one commit; never changed, so any number of threads may search it.

    Attributes:
        state: The commit.
        matrix: float32 [n, dim], mapped from the file.
        rows: int64 [n], rising: the chunk that each vector belongs to, or belonged.
        live: bool [n]: whether that chunk still exists.
        selections: Cached results of filters, since a filter reads the JSON of all chunks: 70 ms
            for 100,000 chunks.
    """

    state: State
    matrix: np.ndarray
    rows: np.ndarray
    live: np.ndarray
    selections: dict[str, np.ndarray] = field(default_factory=dict)

    def select(self, connection: sqlite3.Connection, where: Mapping[str, Any] | None) -> np.ndarray:
        """The live vectors that pass a metadata filter, as bool [n].

        Args:
            connection: In a transaction that sees `state`.
            where: The filter; None or empty: all pass.

        Raises:
            InputError: The filter is wrong.
        """
        import numpy as np

        if not where:
            return self.live
        condition, parameters = on_chunks(parse_filter(where))
        key = json.dumps([condition, parameters])
        chosen = self.selections.get(key)
        if chosen is None:
            chosen = np.zeros(len(self.rows), dtype=bool)
            found = connection.execute(f"SELECT vector FROM chunks WHERE {condition}", parameters)  # noqa: S608 - values are bound
            chosen[np.fromiter((at for (at,) in found), dtype=np.int64)] = True
            if len(self.selections) >= SELECTIONS:
                self.selections.clear()
            self.selections[key] = chosen
        return chosen

    def contains(self, rows: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Which rows have a chosen vector: int64 [m], and positions as bool [n], to bool [m]."""
        import numpy as np

        if not len(self.rows):
            return np.zeros(len(rows), dtype=bool)
        at = np.searchsorted(self.rows, rows).clip(max=len(self.rows) - 1)
        return np.asarray((self.rows[at] == rows) & chosen[at])


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

    rows = np.zeros(state.vectors, dtype=np.int64)
    live = np.ones(state.vectors, dtype=bool)
    last_row = last_tombstone = 0
    if previous is not None and previous.state.generation == state.generation:
        last_row, last_tombstone = previous.state.last_row, previous.state.last_tombstone
        rows[: len(previous.rows)] = previous.rows
        live[: len(previous.live)] = previous.live
    new = connection.execute("SELECT vector, row FROM chunks WHERE row > ?", (last_row,))
    dead = connection.execute("SELECT vector, row FROM tombstones WHERE n > ?", (last_tombstone,))
    for found, alive in ((new, True), (dead, False)):
        pairs = np.array(found.fetchall(), dtype=np.int64).reshape(-1, 2)
        rows[pairs[:, 0]] = pairs[:, 1]
        live[pairs[:, 0]] = alive
    file = vector_file(folder, state.generation)
    return Snapshot(state, map_file(file, state.vectors, state.dim), rows, live)
