"""The vectors of all chunks, block by block in the order of rows: copied, or embedded again."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import IndexStateError
from rag.index.embedding import whole_documents
from rag.index.local.database import State
from rag.index.local.vectors import map_file, unit, vector_file
from rag.index.local.verify import damaged_segments
from rag.text.chunk import Chunk

if TYPE_CHECKING:
    import numpy as np

COPIED = 16_384
"""Vectors that are copied at a time."""
EMBEDDED = 1_024
"""Chunks that are embedded at a time."""

Embed = Callable[[Sequence[Chunk]], "np.ndarray"]
"""Chunks to vectors: float32 [chunks, dim]."""
Blocks = Callable[[sqlite3.Connection, State], "Iterator[np.ndarray]"]
"""The vectors that a state of the index has, in blocks float32 [n, dim]."""


def copied(folder: Path, connection: sqlite3.Connection, state: State) -> Iterator[np.ndarray]:
    """The live vectors, from the file.

    Raises:
        IndexStateError: A vector is not what was written: a copy would pass for whole.
    """
    file = vector_file(folder, state.generation)
    matrix = map_file(file, state.vectors, state.dim)
    if damaged_segments(connection, matrix):
        raise IndexStateError(
            f"{file.name} is damaged", where=str(folder), fix="run rag index rebuild"
        )
    return _live(connection, state, matrix)


def _live(connection: sqlite3.Connection, state: State, matrix: np.ndarray) -> Iterator[np.ndarray]:
    import numpy as np

    live = connection.execute("SELECT row FROM chunks ORDER BY row")
    while block := live.fetchmany(COPIED):
        yield matrix[np.array(block)[:, 0] - state.first_row]


def embedded(embed: Embed, connection: sqlite3.Connection, state: State) -> Iterator[np.ndarray]:
    """The vectors of all chunks, from their texts."""
    stored = connection.execute("SELECT metadata, content, source, id FROM chunks ORDER BY row")

    def chunks() -> Iterator[list[Chunk]]:
        while block := stored.fetchmany(EMBEDDED):
            yield [
                Chunk(text, {**json.loads(metadata), "source": uri}, key)
                for metadata, text, uri, key in block
            ]

    for some in whole_documents(chunks()):
        yield unit(embed(some), state.dim)
