"""Writing sources: one transaction for each, one writer of a source at a time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rag.index.local.vectors import unit
from rag.index.postgres.conditions import clean, fields_of
from rag.index.postgres.database import Database
from rag.index.source_plan import basis_of
from rag.index.store import embedded_again
from rag.index.types import NewChunk, SourcePlan, SourceUpdate, WriteReport
from rag.index.words import words_of
from rag.text.chunk import Chunk

if TYPE_CHECKING:
    import numpy as np
    from psycopg import Connection

FOLDED = 1_000
"""Rows of `commits` beyond which they are added up."""
REBUILT = 500
"""Chunks whose words are counted at a time."""

_SOURCE = """
INSERT INTO sources VALUES (%s, %s, %s, %s, (SELECT count(*) FROM chunks WHERE source = %s))
ON CONFLICT (uri) DO UPDATE SET digest = excluded.digest, size = excluded.size,
    mtime_ns = excluded.mtime_ns, chunks = excluded.chunks
"""
_FOLD = """
WITH gone AS (DELETE FROM commits RETURNING chunks, words)
INSERT INTO commits (chunks, words) SELECT coalesce(sum(chunks), 0), coalesce(sum(words), 0)
FROM gone
"""


class Writer:
    """What changes an index.

    Args:
        database: Of the index.
        embedder: Id of the embedder whose vectors it writes.
        dim: Length of a vector.
    """

    def __init__(self, database: Database, embedder: str, dim: int) -> None:
        self._database, self._embedder, self._dim = database, embedder, dim
        self._schema = database.address.schema

    def write(self, updates: Sequence[SourceUpdate]) -> WriteReport:
        """See `Store.write`."""
        report = WriteReport(0, 0, 0)
        with self._database.connection() as db:
            for update in updates:
                report += self._write(db, update)
            self.fold(db, FOLDED)
        return report

    def _write(self, db: Connection[Any], update: SourceUpdate) -> WriteReport:
        plan, uri = update.plan, clean(update.plan.uri)
        vectors = unit(update.vectors, self._dim)
        if len(vectors) != len(plan.new):
            raise ValueError(f"{uri}: {len(vectors)} vectors for {len(plan.new)} new chunks")
        with db.transaction():
            self._own(db, uri)
            if basis_of(stored_chunks(db, uri)) != plan.basis:
                return WriteReport(0, 0, 0, (plan.uri,))
            chunks, words = _removed(db, plan.gone)
            more_chunks, more_words = _added(db, plan, vectors)
            _renew(db, plan.renewed)
            db.execute(_SOURCE, (uri, update.digest, update.size, update.mtime_ns, uri))
            if plan.gone or plan.new or plan.renewed:
                _commit(db, more_chunks - chunks, more_words - words)
        return WriteReport.of(plan)

    def delete(self, uris: Sequence[str]) -> int:
        """See `Store.delete`."""
        removed = 0
        with self._database.connection() as db:
            for uri in map(clean, uris):
                with db.transaction():
                    self._own(db, uri)
                    gone = db.execute("SELECT id FROM chunks WHERE source = %s", (uri,)).fetchall()
                    chunks, words = _removed(db, [key for (key,) in gone])
                    known = db.execute("DELETE FROM sources WHERE uri = %s", (uri,)).rowcount
                    if known:
                        _commit(db, -chunks, -words)
                    removed += chunks
        return removed

    def fold(self, db: Connection[Any], most: int) -> None:
        """Add up the rows of `commits`, unless they are no more than `most`."""
        with db.transaction():
            (count,) = db.execute("SELECT count(*) FROM commits").fetchone() or (0,)
            if count > most:
                self._own(db, "")
                db.execute(_FOLD)

    def rebuild(self) -> None:
        """Count the words of all chunks again."""
        with self._database.connection() as db, db.transaction():
            self._own(db, "")
            db.execute("LOCK TABLE chunks, postings, commits IN SHARE ROW EXCLUSIVE MODE")
            db.execute("DELETE FROM postings")
            db.execute("DELETE FROM commits")
            last, total, chunks = -1, 0, 0
            while block := db.execute(
                "SELECT row, metadata, content FROM chunks WHERE row > %s ORDER BY row LIMIT %s",
                (last, REBUILT),
            ).fetchall():
                counted = [
                    (row, Counter(words_of(_chunk(metadata, content).indexed_text)))
                    for row, metadata, content in block
                ]
                _put_postings(db, counted)
                for row, words in counted:
                    length = words.total()
                    db.execute("UPDATE chunks SET words = %s WHERE row = %s", (length, row))
                    total += length
                last, chunks = block[-1][0], chunks + len(block)
            _commit(db, chunks, total)

    def _own(self, db: Connection[Any], uri: str) -> None:
        """Be the only writer of a source until the end of the transaction.

        Raises:
            IndexStateError: The index was embedded again.
        """
        # Shared among writers; who embeds again changes the row.
        found = db.execute("SELECT embedder FROM state FOR SHARE").fetchone()
        if found != (self._embedder,):
            raise embedded_again(str(found and found[0]), where=str(self._database.address))
        db.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 1))", (f"{self._schema}\n{uri}",)
        )


def stored_chunks(db: Connection[Any], uri: str) -> dict[str, str]:
    """Id to metadata (JSON) of the chunks of a source, in the order of insertion."""
    found = db.execute(
        "SELECT id, metadata FROM chunks WHERE source = %s ORDER BY row", (clean(uri),)
    )
    return dict(found.fetchall())


def _removed(db: Connection[Any], ids: Sequence[str]) -> tuple[int, int]:
    """Delete chunks; returns how many, and how many words they had."""
    if not ids:
        return 0, 0
    gone = db.execute(
        "DELETE FROM chunks WHERE id = ANY(%s) RETURNING row, words", (list(ids),)
    ).fetchall()
    db.execute("DELETE FROM postings WHERE row = ANY(%s)", ([row for row, _ in gone],))
    return len(gone), sum(words for _, words in gone)


def _added(db: Connection[Any], plan: SourcePlan, vectors: np.ndarray) -> tuple[int, int]:
    """Write a plan's new chunks; returns how many, and how many words they have."""
    new = list(plan.new)
    if not new:
        return 0, 0
    drawn = db.execute("SELECT nextval('rows') FROM generate_series(1, %s)", (len(new),))
    rows = sorted(row for (row,) in drawn.fetchall())
    counted = [
        (row, Counter(words_of(chunk.indexed))) for row, chunk in zip(rows, new, strict=True)
    ]
    with db.cursor() as cursor, cursor.copy("COPY chunks FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(["int8", "text", "text", "text", "jsonb", "text", "int4", "vector"])
        for (row, words), chunk, vector in zip(counted, new, vectors, strict=True):
            copy.write_row((row, *_columns(chunk, plan.uri), words.total(), vector))
    _put_postings(db, counted)
    return len(new), sum(words.total() for _, words in counted)


def _columns(chunk: NewChunk, uri: str) -> tuple[Any, ...]:
    from psycopg.types.json import Jsonb

    fields = Jsonb(fields_of(chunk.metadata))
    return chunk.id, clean(uri), chunk.metadata, fields, clean(chunk.text)


def _put_postings(db: Connection[Any], counted: Iterable[tuple[int, Counter[str]]]) -> None:
    with db.cursor() as cursor, cursor.copy("COPY postings FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(["text", "int8", "int4", "int4"])
        for row, words in counted:
            length = words.total()
            for word, times in words.items():
                copy.write_row((word, row, times, length))


def _renew(db: Connection[Any], renewed: Sequence[tuple[str, str]]) -> None:
    from psycopg.types.json import Jsonb

    with db.cursor() as cursor:
        cursor.executemany(
            "UPDATE chunks SET metadata = %s, fields = %s WHERE id = %s",
            [(metadata, Jsonb(fields_of(metadata)), key) for key, metadata in renewed],
        )


def _commit(db: Connection[Any], chunks: int, words: int) -> None:
    db.execute("INSERT INTO commits (chunks, words) VALUES (%s, %s)", (chunks, words))


def _chunk(metadata: str, content: str) -> Chunk:
    return Chunk(content, json.loads(metadata))
