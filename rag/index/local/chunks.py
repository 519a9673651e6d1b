"""The rows of chunks and sources: what a write changes, and how it is told apart."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document

from rag.index.filters import clean
from rag.index.types import Source
from rag.text.splitting import indexed_text

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Plan:
    """What has to change so that a source consists of some chunks.

    Attributes:
        ids: Id of each chunk, in order.
        texts: Content of each chunk as stored.
        metadata: JSON of each chunk as stored.
        new: Positions of the chunks that are not stored yet, each id once.
        renewed: Positions of stored chunks whose metadata changed.
        gone: Row and vector of stored chunks that are no longer among them.
    """

    ids: list[str]
    texts: list[str]
    metadata: list[str]
    new: list[int]
    renewed: list[int]
    gone: list[tuple[int, int]]


def make_plan(
    connection: sqlite3.Connection, uri: str, chunks: Sequence[Document], *, extend: bool = False
) -> Plan:
    """Compare chunks with what is stored of their source.

    Args:
        connection: In a transaction.
        uri: The source.
        chunks: Its chunks, in order.
        extend: Keep stored chunks that are not among `chunks`, and take equal ones for one.
    """
    texts = [clean(chunk.page_content) for chunk in chunks]
    # What is embedded is part of it: a chunk under a new heading needs a new vector.
    digests = [
        _hash(text, clean(indexed_text(chunk))) for text, chunk in zip(texts, chunks, strict=True)
    ]
    seen: Counter[str] = Counter()
    ids = []
    for digest in digests:
        ids.append(_hash(uri, digest, "0" if extend else str(seen[digest])))
        seen[digest] += 1
    metadata = [_dump(chunk.metadata) for chunk in chunks]
    stored = {
        row[0]: row[1:]
        for row in connection.execute(
            "SELECT id, row, vector, metadata FROM chunks WHERE source = ?", (uri,)
        )
    }
    places = {key: position for position, key in enumerate(ids)}
    new = [position for key, position in places.items() if key not in stored]
    renewed = [
        position
        for key, position in places.items()
        if key in stored and stored[key][2] != metadata[position]
    ]
    gone = [(row, vector) for key, (row, vector, _) in stored.items() if key not in places]
    if extend:
        gone = []
    return Plan(ids, texts, metadata, sorted(new), renewed, sorted(gone))


def apply_plan(connection: sqlite3.Connection, uri: str, plan: Plan, vector: int) -> None:
    """Write a plan's chunks; the vectors of the new ones start at position `vector`."""
    bury(connection, plan.gone)
    connection.executemany(
        "UPDATE chunks SET metadata = ? WHERE id = ?",
        [(plan.metadata[position], plan.ids[position]) for position in plan.renewed],
    )
    connection.executemany(
        "INSERT INTO chunks (id, source, vector, metadata, content) VALUES (?, ?, ?, ?, ?)",
        [
            (plan.ids[at], uri, vector + n, plan.metadata[at], plan.texts[at])
            for n, at in enumerate(plan.new)
        ],
    )


def bury(connection: sqlite3.Connection, gone: Iterable[tuple[int, int]]) -> None:
    """Delete chunks, given by row and vector, and note it for whoever holds them in memory."""
    for row, vector in gone:
        connection.execute("DELETE FROM chunks WHERE row = ?", (row,))
        connection.execute("INSERT INTO tombstones (row, vector) VALUES (?, ?)", (row, vector))


def bury_source(connection: sqlite3.Connection, uri: str) -> int:
    """Delete a source with its chunks; returns how many it had."""
    select = "SELECT row, vector FROM chunks WHERE source = ? ORDER BY row"
    gone = connection.execute(select, (uri,)).fetchall()
    bury(connection, gone)
    connection.execute("DELETE FROM sources WHERE uri = ?", (uri,))
    return len(gone)


def put_source(connection: sqlite3.Connection, source: Source) -> None:
    """Write what is known of a source; its chunks are counted anew."""
    connection.execute(
        "INSERT OR REPLACE INTO sources VALUES (?1, ?2, ?3, ?4,"
        " (SELECT count(*) FROM chunks WHERE source = ?1), ?5)",
        (source.uri, source.digest, source.size, source.mtime_ns, time.time()),
    )


def fetch(connection: sqlite3.Connection, rows: np.ndarray, scores: np.ndarray) -> list[Document]:
    """Documents by row int64 [n] in that order, with scores float32 [n] in their metadata."""
    found = {
        row: (key, source, metadata, content)
        for row, key, source, metadata, content in connection.execute(
            "SELECT row, id, source, metadata, content FROM chunks"
            " WHERE row IN (SELECT value FROM json_each(?))",
            (json.dumps(rows.tolist()),),
        )
    }
    documents = []
    for row, score in zip(rows.tolist(), scores.tolist(), strict=True):
        key, source, metadata, content = found[row]
        values = json.loads(metadata) | {"source": source, "score": score}
        documents.append(Document(id=key, page_content=content, metadata=values))
    return documents


def place(document: Document) -> tuple[float, float]:
    """Where a chunk stands in its source: page and first character."""
    return document.metadata.get("page") or 0, document.metadata.get("start") or 0


def source_of(document: Document) -> str:
    """The source of a document that came without a file: named, or its id, or its content."""
    named = document.metadata.get("source") or document.id or _hash(clean(document.page_content))
    return clean(str(named))


def _dump(metadata: dict[str, Any]) -> str:
    # The source has a column of its own, and a score is of a search and not of a chunk.
    values = {key: value for key, value in metadata.items() if key not in ("source", "score")}
    try:
        return json.dumps(values, default=str, allow_nan=False)
    except ValueError:
        # SQLite's JSON has no NaN and no infinity: they become null.
        finite = json.loads(json.dumps(values, default=str), parse_constant=lambda _: None)
        return json.dumps(finite)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
