"""The index: what retrievers search and the ingest fills."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from langchain_core.documents import Document

from rag.errors import IndexStateError
from rag.flow.resources import Resource
from rag.index.filters import clean
from rag.index.local.bm25 import FEW
from rag.index.local.chunks import fetch, make_plan, place
from rag.index.local.reading import Reading, open_database
from rag.index.local.vectors import search, unit
from rag.index.local.writing import Writing
from rag.index.spec import IndexSpec
from rag.index.types import Candidates, IndexStats, Source, SourceUpdate, WriteReport

if TYPE_CHECKING:
    import numpy as np


class Index(Resource):
    """Chunks, their vectors and their words, in one folder.

    Made by `Index.open` for searching or `Index.writer` for changing; one process at a time may
    write, and never keeps others from reading. A search sees the last commit at the moment it
    starts. Any number of threads may search one index; writes of one index follow one another.

    Attributes:
        path: The folder.
        embedder: Id of the embedder that makes its vectors.
        dim: Length of a vector.
    """

    default = "./index"

    def __init__(self, path: Path, reading: Reading, writing: Writing | None = None) -> None:
        self.path = path
        self._reading = reading
        self._writing = writing
        with reading.vectors() as (_, view):
            self.embedder = view.state.embedder
            self.dim = view.state.dim

    @classmethod
    def load(cls, spec: Any, *, base: Path) -> Self:
        """Open the index that a pipeline names, for reading.

        Args:
            spec: Its folder, or a mapping as `rag.index.spec.IndexSpec`.
            base: The folder that a relative path starts from.

        Raises:
            ConfigError: The specification is neither.
            IndexStateError: There is no index there, or it cannot be used.
        """
        return cls.open(base / IndexSpec.of(spec).path.expanduser())

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an index for reading.

        Raises:
            IndexStateError: There is none, or it is unfinished, damaged or of a later format.
        """
        path = Path(path)
        database = open_database(path)
        try:
            return cls(path, Reading(path, database, writing=False))
        except BaseException:
            database.close()
            raise

    @classmethod
    def writer(cls, path: Path, *, embedder: str, dim: int, create: bool = True) -> Self:
        """Open an index for writing, and mend what an earlier writer left unfinished.

        Args:
            path: The folder; made if missing.
            embedder: Id of the embedder whose vectors will be written.
            dim: Length of its vectors.
            create: Make an empty index where there is none.

        Raises:
            IndexStateError: Another process writes to it, it was made with another embedder, the
                folder holds something else, or it is damaged.
        """
        path = Path(path)
        writing = Writing(path, embedder=embedder, dim=dim, create=create)
        try:
            return cls(path, writing.reading, writing)
        except BaseException:
            writing.close()
            raise

    def source(self, uri: str) -> Source | None:
        """What the index knows of a source; None if it holds nothing of it."""
        with self._reading.database.connection() as connection:
            found = connection.execute(f"{_SOURCES} WHERE uri = ?", (clean(uri),)).fetchone()
        return Source(*found) if found else None

    def sources(self) -> Iterator[Source]:
        """All sources, by uri."""
        with self._reading.database.connection() as connection:
            found = connection.execute(f"{_SOURCES} ORDER BY uri").fetchall()
        return iter([Source(*row) for row in found])

    def missing(self, uri: str, chunks: Sequence[Document]) -> list[int]:
        """Which chunks need a vector.

        Args:
            uri: Their source.
            chunks: All of its chunks, in order.

        Returns:
            Rising positions of the chunks that are not stored for this source with the same
            content and embedding text (`rag.text.splitting.indexed_text`).
        """
        with self._reading.database.connection() as connection:
            return make_plan(connection, clean(uri), chunks).new

    def write(self, updates: Sequence[SourceUpdate]) -> WriteReport:
        """Make sources consist of the chunks given, all in one commit.

        A chunk that is stored already keeps its row and vector and takes the new metadata; one
        that is no longer given is deleted.

        Raises:
            IndexStateError: The index is open for reading only, or the disk failed; nothing was
                changed then.
            ValueError: An update's vectors do not fit its missing chunks.
        """
        return self._writer().write(updates)

    def delete(self, uris: Iterable[str]) -> int:
        """Remove sources in one commit; unknown ones are passed over.

        Returns:
            The number of chunks removed.
        """
        return self._writer().delete(uris)

    def add(self, documents: Sequence[Document], vectors: np.ndarray) -> list[str]:
        """Add documents that come from no file.

        Their source is what their metadata names as `source`, else their id, else their content.
        What a named source has already stays; under an id the new content replaces the old.
        Content that its source has already only takes the new metadata.

        Args:
            documents: What to add; each is one chunk.
            vectors: float32 [len(documents), dim].

        Returns:
            The chunk id of each document.

        Raises:
            IndexStateError: The index is open for reading only, or the disk failed.
            ValueError: The vectors do not fit.
        """
        return self._writer().add(documents, vectors)

    def dense(
        self,
        vector: np.ndarray,
        k: int,
        *,
        where: Mapping[str, Any] | None = None,
        embedder: str | None = None,
    ) -> list[Document]:
        """The chunks nearest to a vector by cosine.

        Args:
            vector: float32 [dim] or [1, dim].
            k: How many.
            where: A metadata filter, as in `rag.index.filters`.
            embedder: Id of the embedder that made the vector, to be checked.

        Returns:
            At most k documents by falling score, equal ones in the order they were added; fewer
            only if there are no more. Metadata carries `source` and `score`.

        Raises:
            IndexStateError: The vector is of another embedder or length, or the index is damaged.
            InputError: The filter is wrong.
        """
        query = self._query(vector, embedder)
        if k < 1:
            return []
        with self._reading.vectors() as (connection, view):
            chosen = view.select(connection, where)
            positions, scores = search(view.matrix, query, k, chosen)
            return fetch(connection, view.rows[positions], scores)

    def _query(self, vector: np.ndarray, embedder: str | None) -> np.ndarray:
        """The vector as float32 [dim] of unit length, checked."""
        import numpy as np

        query = np.asarray(vector, dtype=np.float32).reshape(-1)
        if (embedder or self.embedder) != self.embedder or len(query) != self.dim:
            raise IndexStateError(
                f"a vector of {embedder or 'an unnamed embedder'} ({len(query)} dimensions) cannot"
                f" search an index made with {self.embedder} ({self.dim} dimensions)",
                where=str(self.path),
                fix=f"use the embedder {self.embedder}, or ingest anew with the other",
            )
        checked: np.ndarray = unit(query[None], self.dim)[0]
        return checked

    def sparse(
        self, query: str, k: int, *, where: Mapping[str, Any] | None = None
    ) -> list[Document]:
        """The chunks that match the words of a query best, by BM25.

        Args:
            query: Plain text; nothing in it is syntax.
            k: How many.
            where: A metadata filter, as in `rag.index.filters`.

        Returns:
            At most k documents by falling score, equal ones in the order they were added; fewer
            only if no more share a word with the query. Metadata carries `source` and `score`.

        Raises:
            IndexStateError: The index is damaged.
            InputError: The filter is wrong.
        """
        if k < 1:
            return []
        with self._reading.words() as (connection, view, bm25):
            chosen = view.select(connection, where)
            few = view.rows[chosen] if where and chosen.sum() <= FEW else None
            rows, scores = bm25.search(query, k, lambda found: view.contains(found, chosen), few)
            return fetch(connection, rows, scores)

    def hybrid(
        self,
        query: str,
        vector: np.ndarray,
        k: int,
        *,
        depth: int,
        score: Callable[[Candidates], np.ndarray],
        where: Mapping[str, Any] | None = None,
        embedder: str | None = None,
    ) -> list[Document]:
        """The best of what `dense` and `sparse` find, ordered by a score of one's own.

        Args:
            query: As for `sparse`.
            vector: As for `dense`.
            k: How many.
            depth: How many either search finds; at most 2500.
            score: What the candidates are ordered by: [n].
            where: A metadata filter, as in `rag.index.filters`.
            embedder: Id of the embedder that made the vector, to be checked.

        Returns:
            At most k documents by falling score, equal ones in the order they were added.
            Metadata carries `source`, `score`, and `scores` with `dense` and `bm25`.

        Raises:
            IndexStateError: As `dense` and `sparse`.
            InputError: The filter is wrong.
        """
        import numpy as np

        asked = self._query(vector, embedder)
        with self._reading.words() as (connection, view, bm25):
            chosen = view.select(connection, where)
            near, _ = search(view.matrix, asked, depth, chosen)
            few = view.rows[chosen] if where and chosen.sum() <= FEW else None
            alike, _ = bm25.search(query, depth, lambda rows: view.contains(rows, chosen), few)
            at = np.union1d(near, np.searchsorted(view.rows, alike))
            if not len(at):
                return []
            rows = view.rows[at]
            known, values = bm25.search(query, len(rows), lambda found: np.isin(found, rows), rows)
            sparse = np.zeros(len(rows), dtype=np.float32)
            sparse[np.searchsorted(rows, known)] = values
            vectors = np.asarray(view.matrix[at])
            dense = vectors @ asked
            scores = score(Candidates(dense, sparse, vectors))
            best = np.lexsort((rows, -scores))[:k]
            found = fetch(connection, rows[best], scores[best])
        for document, number in zip(found, best, strict=True):
            parts = {"dense": float(dense[number]), "bm25": float(sparse[number])}
            document.metadata["scores"] = parts
        return found

    def of_source(self, uri: str) -> list[Document]:
        """All chunks of a source, in the order in which they stand in it.

        Args:
            uri: As the chunks' metadata name it in `source`; an unknown one has no chunks.
        """
        import numpy as np

        with self._reading.database.connection() as connection:
            connection.execute("BEGIN")
            found = connection.execute(
                "SELECT row FROM chunks WHERE source = ? ORDER BY row", (clean(uri),)
            ).fetchall()
            rows = np.array([row for (row,) in found], dtype=np.int64)
            documents = fetch(connection, rows, np.zeros(len(rows), dtype=np.float32))
        for document in documents:
            del document.metadata["score"]
        return sorted(documents, key=place)

    def batches(self, count: int) -> Iterator[list[Document]]:
        """All chunks, in the order in which they were added, so many at a time."""
        import numpy as np

        with self._reading.vectors() as (connection, view):
            rows = np.sort(view.rows[view.live])
            zeros = np.zeros(count, dtype=np.float32)
            for start in range(0, len(rows), count):
                part = rows[start : start + count]
                yield fetch(connection, part, zeros[: len(part)])

    def version(self) -> str:
        """The number of the last commit: what was found before it may not be found after it."""
        with self._reading.vectors() as (_, view):
            return str(view.state.seq)

    def stats(self) -> IndexStats:
        """Counts and sizes as of the last commit."""
        with self._reading.vectors() as (connection, view):
            sources = connection.execute("SELECT count(*) FROM sources").fetchone()[0]
        live = int(view.live.sum())
        return IndexStats(
            path=self.path,
            sources=sources,
            chunks=live,
            tombstones=len(view.live) - live,
            bytes={
                "sqlite": _size(self.path.glob("index.sqlite*")),
                "vectors": _size(self.path.glob("vectors-*.f32")),
                "bm25": _size(self.path.glob("bm25-*/*")),
            },
            embedder=self.embedder,
            dim=self.dim,
            vectors="flat",
        )

    def compact(self) -> None:
        """Free the room of deleted chunks; readers go on meanwhile.

        New files are written beside the old and one commit changes over, so it needs room for
        both for a while, and a crash leaves the one or the other.

        Raises:
            IndexStateError: The index is open for reading only, or the disk failed.
        """
        self._writer().compact()

    def close(self) -> None:
        """Close the files; a writer lets others write."""
        if self._writing is not None:
            self._writing.close()
        self._reading.database.close()

    def _writer(self) -> Writing:
        if self._writing is None:
            raise IndexStateError(
                "the index is open for reading", where=str(self.path), fix="use Index.writer"
            )
        return self._writing


_SOURCES = "SELECT uri, digest, size, mtime_ns, chunks FROM sources"


def _size(files: Iterable[Path]) -> int:
    """Bytes of the files; one that a writer removes meanwhile counts nothing."""
    total = 0
    for file in files:
        try:
            total += file.stat().st_size
        except FileNotFoundError:
            continue
    return total
