"""All vectors replaced by those of another embedder, in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rag.index.embedding import whole_documents
from rag.index.local.vectors import unit
from rag.index.postgres.database import index_chunks
from rag.index.postgres.search import CHUNK, chunk_of

if TYPE_CHECKING:
    from psycopg import Connection

    from rag.index.store import Embed
    from rag.text.chunk import Chunk

BATCH = 1_024
"""Chunks that are read and written together."""


def embed_again(db: Connection[Any], embedder: str, dim: int, embed: Embed) -> None:
    """See `Store.embed_again`.

    The chunks are copied into a table of their own with the new vectors and an index, which then
    takes the place of the old one. Writers wait meanwhile; searches wait for the exchange alone.

    Args:
        db: In no transaction.
        embedder: Id of the embedder.
        dim: Length of its vectors.
        embed: Called with all chunks, those within one document together.
    """
    with db.transaction():
        # Writers share this row: they wait here, and see afterwards that the embedder is another.
        db.execute("UPDATE state SET embedder = %s, dim = %s", (embedder, dim))
        db.execute(
            f"CREATE TEMP TABLE made (id text, embedding vector({dim})) ON COMMIT DROP".encode()
        )
        for chunks in whole_documents(_batches(db)):
            vectors = unit(embed(chunks), dim)
            with db.cursor() as cursor, cursor.copy("COPY made FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(["text", "vector"])
                for chunk, vector in zip(chunks, vectors, strict=True):
                    copy.write_row((chunk.id, vector))
        db.execute("CREATE TABLE next_chunks (LIKE chunks)")
        db.execute(f"ALTER TABLE next_chunks ALTER embedding TYPE vector({dim})".encode())
        db.execute(
            "INSERT INTO next_chunks SELECT row, chunks.id, source, metadata, fields, content,"
            " words, made.embedding FROM chunks JOIN made USING (id) ORDER BY row"
        )
        index_chunks(db, "next_chunks", dim)
        db.execute("DROP TABLE chunks")
        db.execute("ALTER TABLE next_chunks RENAME TO chunks")
        db.execute("INSERT INTO commits (chunks, words) VALUES (0, 0)")


def _batches(db: Connection[Any]) -> Iterator[list[Chunk]]:
    """All chunks by row, in batches."""
    with db.cursor(name="chunks") as cursor:
        cursor.execute(f"SELECT {CHUNK} FROM chunks ORDER BY row".encode())  # noqa: S608 - no values in it
        while found := cursor.fetchmany(BATCH):
            yield [chunk_of(row) for row in found]
