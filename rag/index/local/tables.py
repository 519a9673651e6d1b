"""The rows of chunks, sources and tombstones: reading and changing them."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rag.errors import IndexStateError
from rag.index.local.checksums import checksum, of_vectors
from rag.index.local.database import EQUAL, FILE
from rag.index.store import LOOKED_AT
from rag.index.types import Source, SourcePlan
from rag.text.chunk import Chunk
from rag.text.surrogates import escape_surrogates

if TYPE_CHECKING:
    import numpy as np

_CHUNK = "SELECT row, id, source, metadata, content FROM chunks"
_SOURCE = "SELECT uri, digest, size, mtime_ns, chunks FROM sources"


def stored_chunks(connection: sqlite3.Connection, uri: str) -> dict[str, str]:
    """Id to metadata (JSON) of the chunks of a source, in the order of insertion."""
    return dict(connection.execute(
        "SELECT id, metadata FROM chunks WHERE source = ? ORDER BY row", (uri,)
    ).fetchall())  # fmt: skip


def apply_plan(connection: sqlite3.Connection, plan: SourcePlan, row: int) -> None:
    """Write a plan's chunks, the new ones from a row on."""
    bury(connection, [row for (row,) in connection.execute(
        "SELECT row FROM chunks WHERE id IN (SELECT value FROM json_each(?)) ORDER BY row",
        (json.dumps(plan.gone),),
    )])  # fmt: skip
    connection.executemany(
        "UPDATE chunks SET metadata = ?1, checksum = checksum(id, source, ?1, content)"
        " WHERE id = ?2",
        [(metadata, key) for key, metadata in plan.renewed],
    )
    connection.executemany(
        "INSERT INTO chunks (row, id, source, metadata, content, checksum)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [
            (
                row + n,
                chunk.id,
                plan.uri,
                chunk.metadata,
                chunk.text,
                checksum(chunk.id, plan.uri, chunk.metadata, chunk.text),
            )
            for n, chunk in enumerate(plan.new)
        ],
    )


def damaged_sources(connection: sqlite3.Connection) -> list[str]:
    """The sources of which a row is not what was written: their texts may be wrong."""
    found = connection.execute(
        "SELECT CAST(source AS BLOB) FROM chunks WHERE checksum IS NOT checksum("
        "CAST(id AS BLOB), CAST(source AS BLOB), CAST(metadata AS BLOB), CAST(content AS BLOB))"
        " UNION SELECT CAST(uri AS BLOB) FROM sources WHERE checksum IS NOT"
        " checksum(CAST(uri AS BLOB), CAST(digest AS BLOB), size, mtime_ns)"
        " OR chunks <> (SELECT count(*) FROM chunks WHERE source = uri)"
        " UNION SELECT CAST(source AS BLOB) FROM chunks WHERE source NOT IN"
        " (SELECT uri FROM sources)"
    )
    return sorted(_readable(uri) for (uri,) in found)


def forget_damaged(connection: sqlite3.Connection) -> list[str]:
    """Delete the sources of which a row is not what was written; returns them."""
    lost = set(damaged_sources(connection))
    stored = connection.execute("SELECT row, CAST(source AS BLOB) FROM chunks").fetchall()
    bury(connection, [row for row, uri in stored if _readable(uri) in lost])
    known = connection.execute(
        "SELECT CAST(uri AS BLOB), CAST(digest AS BLOB), size, mtime_ns, chunks, added_at, checksum"
        " FROM sources"
    ).fetchall()
    # All of the table is written again: a changed key stands at the wrong place in its tree.
    connection.execute("DELETE FROM sources")
    connection.executemany(
        "INSERT INTO sources VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (_readable(uri), _readable(digest), *rest)
            for uri, digest, *rest in known
            if _readable(uri) not in lost
        ],
    )
    return sorted(lost)


def _readable(text: bytes) -> str:
    return text.decode(errors="backslashreplace")


def bury(connection: sqlite3.Connection, rows: Iterable[int]) -> None:
    """Delete chunks, and leave a tombstone of each for whoever has them in memory."""
    gone = [(row,) for row in rows]
    connection.executemany("INSERT INTO tombstones (row) VALUES (?)", gone)
    connection.executemany("DELETE FROM chunks WHERE row = ?", gone)


def bury_source(connection: sqlite3.Connection, uri: str) -> int:
    """Delete a source with its chunks; returns how many it had."""
    select = "SELECT row FROM chunks WHERE source = ? ORDER BY row"
    gone = [row for (row,) in connection.execute(select, (uri,))]
    bury(connection, gone)
    connection.execute("DELETE FROM sources WHERE uri = ?", (uri,))
    return len(gone)


def put_source(connection: sqlite3.Connection, source: Source) -> None:
    """Write what is known of a source; its chunks are counted again."""
    connection.execute(
        "INSERT OR REPLACE INTO sources VALUES (?1, ?2, ?3, ?4,"
        " (SELECT count(*) FROM chunks WHERE source = ?1), ?5, checksum(?1, ?2, ?3, ?4))",
        (source.uri, source.digest, source.size, source.mtime_ns, time.time()),
    )


def put_segment(connection: sqlite3.Connection, start: int, vectors: np.ndarray) -> None:
    """Write down what was appended to the vectors, float32 [n, dim], behind the first `start`."""
    connection.execute(
        "INSERT INTO segments VALUES (?, ?, ?)", (start, len(vectors), of_vectors(vectors))
    )


def known(connection: sqlite3.Connection, uris: Sequence[str]) -> dict[str, Source]:
    """What is known of sources, by URI; those that are not in the index are missing."""
    found = connection.execute(
        f"{_SOURCE} WHERE uri IN (SELECT value FROM json_each(?))",  # noqa: S608 - no values in it
        (json.dumps(uris),),
    )
    return {row[0]: Source(*row) for row in found}


def sources(connection: sqlite3.Connection) -> list[Source]:
    """All sources, by URI."""
    return [Source(*row) for row in connection.execute(f"{_SOURCE} ORDER BY uri")]


def chunks_of(connection: sqlite3.Connection, uri: str) -> list[Chunk]:
    """The chunks of a source, in the order of its text."""
    found = connection.execute(f"{_CHUNK} WHERE source = ? ORDER BY row", (uri,))
    return sorted((chunk for _, chunk in _chunks(found)), key=lambda chunk: chunk.position)


def row_of_equal(connection: sqlite3.Connection, chunk: Chunk) -> int | None:
    """The row of a chunk that has its vector of the same text; None: there is none, or far behind.

    Equal texts under other headings have other vectors, so some of them are looked at.
    """
    found = connection.execute(
        f"SELECT row, metadata, content FROM chunks WHERE {EQUAL} = ? LIMIT ?",  # noqa: S608 - no values in it
        (checksum(chunk.text), LOOKED_AT),
    )
    for row, metadata, content in found:
        other = Chunk(content, json.loads(metadata))
        if not other.within and other.indexed_text == chunk.indexed_text:
            return int(row)
    return None


def fetch(connection: sqlite3.Connection, rows: np.ndarray) -> list[Chunk]:
    """Chunks by row number, int64 [n], in that order."""
    listed = json.dumps(rows.tolist())
    found = connection.execute(f"{_CHUNK} WHERE row IN (SELECT value FROM json_each(?))", (listed,))  # noqa: S608 - no values in it
    chunks = dict(_chunks(found))
    if len(chunks) < len(rows):
        raise IndexStateError("chunks are missing", where=FILE, fix="run rag index rebuild")
    return [chunks[row] for row in rows.tolist()]


def by_id(connection: sqlite3.Connection, ids: Sequence[str]) -> list[Chunk]:
    """The chunks of these ids, in that order; unknown ids are passed over."""
    listed = json.dumps([escape_surrogates(key) for key in ids])
    found = connection.execute(f"{_CHUNK} WHERE id IN (SELECT value FROM json_each(?))", (listed,))  # noqa: S608 - no values in it
    chunks = {chunk.id: chunk for _, chunk in _chunks(found)}
    return [chunks[key] for key in ids if key in chunks]


def _chunks(found: Iterable[tuple[int, str, str, str, str]]) -> Iterator[tuple[int, Chunk]]:
    for row, key, uri, metadata, content in found:
        yield row, Chunk(content, {**json.loads(metadata), "source": uri}, key)
