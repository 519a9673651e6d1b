"""Searches over one commit: by vectors, by words, by both."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rag.index.local.bm25 import BM25, is_few
from rag.index.local.nearest import nearest
from rag.index.local.reader import Reader
from rag.index.local.snapshot import Selection, Snapshot
from rag.index.local.tables import fetch
from rag.index.ranking import aggregated
from rag.index.types import Aggregate, Candidates, Hit

if TYPE_CHECKING:
    import numpy as np

Where = Mapping[str, Any] | None


BLOCK = 65_536
"""Vectors that are read at a time where all are."""


def dense(reader: Reader, query: np.ndarray, k: int, where: Where) -> list[Hit]:
    """See `Index.dense`; the query is float32 [dim] of unit length."""
    with reader.vectors() as (connection, snapshot):
        chosen = snapshot.select(connection, where)
        positions, scores = nearest(snapshot, query, k, chosen)
        return _hits(connection, snapshot.rows(positions), scores)


def sparse(reader: Reader, query: str, k: int, where: Where) -> list[Hit]:
    """See `Index.sparse`."""
    with reader.words() as (connection, snapshot, bm25):
        chosen = snapshot.select(connection, where)
        rows, scores = _matching(bm25, snapshot, query, k, chosen)
        return _hits(connection, rows, scores)


def hybrid(
    reader: Reader,
    query: str,
    vector: np.ndarray,
    k: int,
    depth: int,
    score: Callable[[Candidates], np.ndarray],
    where: Where,
) -> list[Hit]:
    """See `Index.hybrid`; the vector is float32 [dim] of unit length."""
    import numpy as np

    with reader.words() as (connection, snapshot, bm25):
        chosen = snapshot.select(connection, where)
        near, _ = nearest(snapshot, vector, depth, chosen)
        alike, matches = _matching(bm25, snapshot, query, depth, chosen)
        at = np.union1d(near, snapshot.positions(alike))
        if not len(at):
            return []
        rows = snapshot.rows(at)
        words = np.zeros(len(rows), dtype=np.float32)
        words[np.searchsorted(rows, alike)] = matches
        others = np.setdiff1d(rows, alike)
        if len(others):
            known, values = bm25.search(query, len(others), lambda r: np.isin(r, others), others)
            words[np.searchsorted(rows, known)] = values
        vectors = np.asarray(snapshot.matrix[at])
        cosines = vectors @ vector
        scores = score(Candidates(cosines, words, vectors))
        best = np.lexsort((rows, -scores))[:k]
        chunks = fetch(connection, rows[best])
    return [
        Hit(chunk, float(scores[n]), {"dense": float(cosines[n]), "bm25": float(words[n])})
        for chunk, n in zip(chunks, best, strict=True)
    ]


def by_source(
    reader: Reader, query: np.ndarray, k: int, aggregate: Aggregate, where: Where
) -> list[Hit]:
    """See `Index.dense_sources`; the query is float32 [dim] of unit length.

    Returns:
        Hits by falling score, with the nearest chunk's cosine as the part `dense`.
    """
    import numpy as np

    with reader.vectors() as (connection, snapshot):
        at, starts = _by_source(connection, snapshot, snapshot.select(connection, where))
        if not len(at):
            return []
        scores = np.empty(len(starts), dtype=np.float32)
        cosines = np.empty(len(at), dtype=np.float32)
        ends = np.append(starts[1:], len(at))
        first = 0
        while first < len(starts):
            begin = starts[first]
            last = max(first + 1, int(np.searchsorted(ends, begin + BLOCK, side="right")))
            block = slice(begin, ends[last - 1])
            vectors = snapshot.matrix[at[block]]
            cosines[block] = vectors @ query
            inside = starts[first:last] - begin
            scores[first:last] = aggregated(vectors, cosines[block], inside, query, aggregate)
            first = last
        best = np.argsort(-scores, kind="stable")[:k]
        nearest = [int(starts[n] + cosines[starts[n] : ends[n]].argmax()) for n in best]
        chunks = fetch(connection, snapshot.rows(at[nearest]))
    return [
        Hit(chunk, float(scores[n]), {"dense": float(cosines[near])})
        for chunk, n, near in zip(chunks, best, nearest, strict=True)
    ]


def _by_source(
    connection: sqlite3.Connection, snapshot: Snapshot, chosen: Selection
) -> tuple[np.ndarray, np.ndarray]:
    """The chosen vectors ordered by source, int64 [m], and where each source begins there."""
    import numpy as np

    # The index on sources answers both; the table is not read.
    rows = connection.execute("SELECT row FROM chunks ORDER BY source, row")
    counts = connection.execute("SELECT count(*) FROM chunks GROUP BY source ORDER BY source")
    at = snapshot.positions(np.fromiter((row for (row,) in rows), dtype=np.int64))
    sizes = np.fromiter((count for (count,) in counts), dtype=np.int64)
    kept = chosen.mask[at]
    sources = np.repeat(np.arange(len(sizes)), sizes)[kept]
    starts = np.flatnonzero(np.diff(sources, prepend=-1))
    return at[kept], starts


def _matching(
    bm25: BM25, snapshot: Snapshot, query: str, k: int, chosen: Selection
) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    few = None
    if chosen.filtered and is_few(chosen.count, k, len(chosen.mask)):
        few = snapshot.rows(np.flatnonzero(chosen.mask))
    share = max(chosen.count, 1) / max(len(chosen.mask), 1)
    return bm25.search(query, k, lambda rows: snapshot.contains(rows, chosen), few, share)


def _hits(connection: sqlite3.Connection, rows: np.ndarray, scores: np.ndarray) -> list[Hit]:
    chunks = fetch(connection, rows)
    return [Hit(chunk, score) for chunk, score in zip(chunks, scores.tolist(), strict=True)]
