"""Counts and sizes of an index."""

from __future__ import annotations

from rag.files import total_size
from rag.index.local.reader import Reader
from rag.index.types import IndexStats, ListsStats

_FILES = {
    "sqlite": "index.sqlite*",
    "vectors": "vectors-*.f32",
    "bm25": "bm25-*/*",
    "lists": "lists-*.faiss",
}


def stats(reader: Reader, embedder: str, dim: int) -> IndexStats:
    """See `Index.stats`."""
    with reader.vectors() as (connection, snapshot):
        sources = connection.execute("SELECT count(*) FROM sources").fetchone()[0]
    live = snapshot.live.count
    about = snapshot.lists.about if snapshot.lists else None
    return IndexStats(
        address=str(reader.folder),
        sources=sources,
        chunks=live,
        tombstones=len(snapshot.matrix) - live,
        bytes={part: total_size(reader.folder.glob(files)) for part, files in _FILES.items()},
        embedder=embedder,
        dim=dim,
        vectors="lists" if about and about.efforts else "flat",
        lists=ListsStats(about.vectors, about.efforts) if about else None,
    )
