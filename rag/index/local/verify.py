"""Whether every byte of an index is what was written."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import IndexStateError
from rag.index.local.bm25 import bm25_folder
from rag.index.local.checksums import of_vectors
from rag.index.local.database import FILE, State
from rag.index.local.declared import is_right
from rag.index.local.derived_table import derived_problems
from rag.index.local.reader import Reader
from rag.index.local.tables import damaged_sources
from rag.index.local.vectors import vector_file
from rag.index.types import IndexProblem
from rag.sqlite import damage

if TYPE_CHECKING:
    import numpy as np

BLOCK = 1 << 24
"""Bytes that are read at a time."""


def problems(reader: Reader) -> list[IndexProblem]:
    """What is not as it was written, in all files of an index."""
    with reader.vectors() as (connection, snapshot):
        state = snapshot.state
        found = [*database_problems(connection, state)]
        file = vector_file(reader.folder, state.generation).name
        for start, stop in damaged_segments(connection, snapshot.matrix):
            found.append(IndexProblem(file, f"vectors {start} to {stop - 1} are damaged"))
        if snapshot.lists is not None:
            try:
                snapshot.lists.check()
            except IndexStateError as error:
                found.append(IndexProblem(snapshot.lists.about.name, error.what))
    found += derived_problems(reader.folder)
    if damaged := [*bm25_problems(reader.folder, state)]:
        return found + damaged
    try:
        with reader.words() as (connection, _, bm25):
            for (content,) in connection.execute("SELECT content FROM chunks LIMIT 1"):
                bm25.search(content, 1, lambda rows: rows >= 0)
    except IndexStateError as error:
        found.append(IndexProblem(bm25_folder(Path(), state.generation).name, error.what))
    return found


def database_problems(connection: sqlite3.Connection, state: State) -> Iterator[IndexProblem]:
    """What is wrong in the SQLite file.

    Args:
        connection: In a transaction that sees `state`.
        state: The last commit.
    """
    try:
        for what in damage(connection):
            yield IndexProblem(FILE, what)
        for uri in damaged_sources(connection):
            yield IndexProblem(FILE, f"what is stored of {uri} is not what was written")
        if not is_sound(connection, state):
            yield IndexProblem(FILE, "chunks and vectors do not belong together")
        if not is_right(connection):
            yield IndexProblem(FILE, "the values of `filter` are not those of the chunks")
    except sqlite3.DatabaseError as error:
        yield IndexProblem(FILE, str(error))


def is_sound(connection: sqlite3.Connection, state: State) -> bool:
    """Whether each vector belongs to one chunk, living or deleted, and the counters are right."""
    rows = connection.execute("SELECT row FROM chunks UNION ALL SELECT row FROM tombstones")
    counter = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'tombstones'")
    return (
        sorted(row for (row,) in rows) == [*range(state.first_row, state.last_row + 1)]
        and (counter.fetchone() or (0,))[0] == state.last_tombstone
    )


def damaged_segments(connection: sqlite3.Connection, matrix: np.ndarray) -> list[tuple[int, int]]:
    """Parts of the vectors that are not what was written, or of which nothing is known.

    Args:
        connection: In a transaction that sees the commit.
        matrix: The vectors of that commit, float32 [n, dim].

    Returns:
        First vector and the one behind the last.
    """
    end, found = 0, []
    for start, count, known in connection.execute("SELECT * FROM segments ORDER BY start"):
        stop = start + count
        if start != end or stop > len(matrix) or of_vectors(matrix[start:stop]) != known:
            found.append((end, stop))
        end = stop
    return found if end == len(matrix) else [*found, (end, len(matrix))]


def bm25_problems(folder: Path, state: State) -> Iterator[IndexProblem]:
    """Files of the BM25 index whose checksum, which Tantivy writes at their end, is not theirs."""
    path = bm25_folder(folder, state.generation)
    try:
        segments = json.loads((path / "meta.json").read_bytes())["segments"]
        names = [one["segment_id"].replace("-", "") for one in segments]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        yield IndexProblem(f"{path.name}/meta.json", f"cannot be read: {error}")
        return
    for name in names:
        for file in sorted(path.glob(f"{name}.*")):
            try:
                right = _crc_is_right(file)
            except FileNotFoundError:
                continue  # merged by a writer meanwhile
            if not right:
                yield IndexProblem(f"{path.name}/{file.name}", "the checksum is wrong")


def _crc_is_right(file: Path) -> bool:
    """Whether a file of Tantivy's has the CRC that its footer names.

    The footer is JSON, then its length and a magic number, four bytes each.
    """
    with file.open("rb") as opened:
        size = opened.seek(0, 2)
        opened.seek(max(size - 8, 0))
        length = int.from_bytes(opened.read(4), "little")
        body = size - 8 - length
        if int.from_bytes(opened.read(4), "little") != 1337 or body < 0:
            return False
        opened.seek(body)
        try:
            known = json.loads(opened.read(length))["crc"]
        except (ValueError, LookupError, TypeError):
            return False
        opened.seek(0)
        found = 0
        while body and (block := opened.read(min(BLOCK, body))):
            found = zlib.crc32(block, found)
            body -= len(block)
    return bool(found == known)
