"""Searches: by vectors, by words, by both. All of one search see one state of the index.

BM25 is computed in SQL from postings, a row for each word of each chunk: how often it occurs there,
and how long the chunk is. A word's rarity is counted in the same scan that scores it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from rag.index.attention import LearnedAttention
from rag.index.filters import parse_filter
from rag.index.postgres.conditions import clean, on_chunks
from rag.index.ranking import TEMPERATURE, ranked
from rag.index.store import LOOKED_AT
from rag.index.types import Aggregate, Candidates, Hit, NamedAggregate
from rag.index.words import K1, B, words_of
from rag.text.chunk import Chunk

if TYPE_CHECKING:
    import numpy as np
    from psycopg import Connection

    from rag.index.store import Score, Where

Columns = Literal["row", "row, id, source, metadata, content"]
SPARE = 16
"""Hits beyond those wanted, for equal scores at the border."""
CHUNK: Columns = "row, id, source, metadata, content"

_BM25 = f"""
WITH asked AS (SELECT * FROM unnest(%s::text[], %s::integer[]) AS t (term, asked)),
total AS (
    SELECT sum(chunks)::float8 AS chunks, sum(words)::float8 / greatest(sum(chunks), 1) AS mean
    FROM commits),
matched AS (SELECT * FROM asked JOIN postings USING (term)),
rare AS (
    SELECT term, ln(1 + (total.chunks - count(*) + 0.5) / (count(*) + 0.5)) AS idf
    FROM matched, total GROUP BY term, total.chunks)
SELECT matched.row, sum(asked * idf * times * {K1 + 1} / (
    times + {K1} * ({1 - B} + {B} * matched.words / mean)))::float4 AS score
FROM matched JOIN rare USING (term) CROSS JOIN total {{within}}
GROUP BY matched.row ORDER BY score DESC, matched.row LIMIT %s
"""  # noqa: S608 - constants of this module
_COSINE = "-(embedding <#> %s)"
_SOURCES: dict[NamedAggregate, str] = {
    "mean": "-(l2_normalize(avg(embedding)) <#> %s)",
    "max": f"max({_COSINE})",
    "attention": f"sum(exp(({_COSINE} - 1) / {TEMPERATURE}) * {_COSINE})"
    f" / sum(exp(({_COSINE} - 1) / {TEMPERATURE}))",
}


def dense(db: Connection[Any], query: np.ndarray, k: int, where: Where) -> list[Hit]:
    """See `Store.dense`; the connection is in a transaction."""
    found = _nearest(db, query, k, where, CHUNK)
    return [Hit(chunk_of(row), float(row[-1])) for row in found]


def sparse(db: Connection[Any], query: str, k: int, where: Where) -> list[Hit]:
    """See `Store.sparse`; the connection is in a transaction."""
    scores = dict(_matching(db, query, k, where))
    chunks = {row[0]: chunk_of(row) for row in _rows(db, scores)}
    return [Hit(chunks[row], score) for row, score in scores.items()]


def hybrid(
    db: Connection[Any],
    query: str,
    vector: np.ndarray,
    k: int,
    depth: int,
    score: Score,
    where: Where,
) -> list[Hit]:
    """See `Store.hybrid`; the connection is in a transaction that reads one state."""
    import numpy as np

    near = [row for row, _ in _nearest(db, vector, depth, where, "row")]
    alike = [row for row, _ in _matching(db, query, depth, where)]
    rows = sorted({*near, *alike})
    if not rows:
        return []
    found = _rows(db, rows, ", embedding")
    words = dict(_matching(db, query, len(rows), within=rows))
    vectors = np.stack([np.asarray(row[-1], dtype=np.float32) for row in found])
    known = np.array([words.get(row[0], 0.0) for row in found], dtype=np.float32)
    candidates = Candidates(vectors @ vector, known, vectors)
    return ranked([chunk_of(row) for row in found], candidates, score(candidates), k)


def by_source(
    db: Connection[Any], query: np.ndarray, k: int, aggregate: Aggregate, where: Where
) -> list[Hit]:
    """See `Store.dense_sources`; the connection is in a transaction that reads one state."""
    condition, values = _condition(where)
    score, vectors = _aggregated(aggregate, query)
    cursor = db.execute(
        f"SELECT source, {score} AS score FROM chunks WHERE {condition}"  # noqa: S608
        " GROUP BY source ORDER BY score DESC, source LIMIT %s".encode(),
        [*vectors, *values, k],
    )
    scores = {source: float(score) for source, score in cursor.fetchall()}
    nearest = db.execute(
        f"SELECT DISTINCT ON (source) {CHUNK}, -(embedding <#> %s) FROM chunks"  # noqa: S608
        f" WHERE source = ANY(%s) AND {condition} ORDER BY source, embedding <#> %s, row".encode(),
        [query, list(scores), *values, query],
    )
    hits = {row[2]: row for row in nearest.fetchall()}
    return [
        Hit(chunk_of(hits[source]), score, {"dense": float(hits[source][-1])})
        for source, score in scores.items()
    ]


def vectors_of_equal(db: Connection[Any], chunks: Sequence[Chunk]) -> dict[int, np.ndarray]:
    """See `Store.vectors_of_equal`; the connection is in a transaction that reads one state."""
    import numpy as np

    found = db.execute(
        "SELECT number - 1, row, metadata FROM unnest(%s::text[]) WITH ORDINALITY AS t (text,"
        " number), LATERAL (SELECT row, metadata FROM chunks WHERE hashtextextended(content, 0)"
        " = hashtextextended(text, 0) AND content = text LIMIT %s) AS equal",
        ([clean(chunk.text) for chunk in chunks], LOOKED_AT),
    ).fetchall()
    rows: dict[int, int] = {}
    for at, row, metadata in found:
        stored = Chunk(chunks[at].text, json.loads(metadata))
        if not stored.within and stored.indexed_text == chunks[at].indexed_text:
            rows[at] = row
    vectors = dict(
        db.execute(
            "SELECT row, embedding FROM chunks WHERE row = ANY(%s)", (list({*rows.values()}),)
        ).fetchall()
    )
    return {at: np.asarray(vectors[row], dtype=np.float32) for at, row in rows.items()}


def _aggregated(aggregate: Aggregate, query: np.ndarray) -> tuple[str, list[np.ndarray]]:
    """The score of a source in SQL, and the vectors for its places."""
    if not isinstance(aggregate, LearnedAttention):
        return _SOURCES[aggregate], [query] * _SOURCES[aggregate].count("%s")
    weight = f"exp(({_COSINE} - 1) / {float(aggregate.temperature)!r} + {_COSINE})"
    share = float(aggregate.mean)
    attended = f"sum({weight} * {_COSINE}) / sum({weight})"
    score = f"{1 - share!r} * {attended} + {share!r} * {_SOURCES['mean']}"
    own = aggregate.weights
    return score, [query, own, query, query, own, query]


def chunk_of(row: Sequence[Any]) -> Chunk:
    """The chunk in a row that begins with the columns `CHUNK`."""
    _, key, source, metadata, content = row[:5]
    return Chunk(content, {**json.loads(metadata), "source": source}, key)


def _nearest(
    db: Connection[Any],
    query: np.ndarray,
    k: int,
    where: Where,
    columns: Columns,
) -> list[tuple[Any, ...]]:
    """The rows nearest to a vector, with their cosine as the last column."""
    condition, values = _condition(where)
    sql = (
        f"SELECT {columns}, -(embedding <#> %s) FROM chunks WHERE {condition}"  # noqa: S608
        " ORDER BY embedding <#> %s LIMIT %s"
    ).encode()
    _set(db, "hnsw.ef_search", str(min(max(2 * k, 100), 1000)))
    _set(db, "hnsw.iterative_scan", "strict_order")
    parameters = [query, *values, query, k + SPARE]
    found = db.execute(sql, parameters).fetchall()
    if len(found) < k:
        # The index stops after so many rows that a filter leaves out; a scan does not.
        _set(db, "enable_indexscan", "off")
        found = db.execute(sql, parameters).fetchall()
        _set(db, "enable_indexscan", "on")
    return sorted(found, key=lambda row: (-row[-1], row[0]))[:k]


def _matching(
    db: Connection[Any],
    query: str,
    k: int,
    where: Where = None,
    within: Iterable[int] | None = None,
) -> list[tuple[int, float]]:
    """The best rows for the words of a query, with their scores."""
    words = Counter(words_of(query))
    if not words:
        return []
    values: list[Any] = []
    if within is not None:
        narrowed, values = "WHERE matched.row = ANY(%s)", [list(within)]
    elif where:
        condition, values = _condition(where)
        narrowed = f"WHERE matched.row IN (SELECT row FROM chunks WHERE {condition})"  # noqa: S608
    else:
        narrowed = ""
    cursor = db.execute(
        _BM25.format(within=narrowed).encode(), [list(words), list(words.values()), *values, k]
    )
    return [(row, float(score)) for row, score in cursor.fetchall()]


def _rows(db: Connection[Any], rows: Iterable[int], more: Literal["", ", embedding"] = "") -> Any:
    """The chunks of these rows, rising."""
    sql = f"SELECT {CHUNK}{more} FROM chunks WHERE row = ANY(%s) ORDER BY row"  # noqa: S608
    return db.execute(sql.encode(), (list(rows),)).fetchall()


def _condition(where: Where) -> tuple[str, list[Any]]:
    return on_chunks(parse_filter(where)) if where else ("true", [])


def _set(db: Connection[Any], name: str, value: str) -> None:
    """A setting for the rest of the transaction."""
    db.execute("SELECT set_config(%s, %s, true)", (name, value))
