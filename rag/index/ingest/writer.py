"""An index that the steps of a flow write: opened for the time of each write."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from langchain_core.documents import Document

from rag.flow.resources import Resource
from rag.index.filters import clean
from rag.index.index import Index
from rag.index.ingest.ingest import WINDOW
from rag.index.local.chunks import source_of
from rag.index.spec import IndexSpec
from rag.index.types import SourceUpdate, WriteReport
from rag.text.splitting import indexed_text

if TYPE_CHECKING:
    from rag.models import Embedder


class IndexWriter(Resource):
    """Where documents are written to: the resource `index`, for steps that fill it.

    A flow may be kept open for long, so the index is not: between two writes any process may
    write to it. Writes through one `IndexWriter` follow one another, from any thread.

    Args:
        path: The folder; made at the first write if missing.
    """

    default = Index.default

    def __init__(self, path: Path) -> None:
        self.path = path
        self._turn = threading.Lock()

    @classmethod
    def load(cls, spec: Any, *, base: Path) -> Self:
        """The index that a pipeline names, which need not be there yet.

        Args:
            spec: As for `Index.load`, or an `Index` open for reading.
            base: The folder that a relative path starts from.

        Raises:
            ConfigError: The specification is neither.
        """
        if isinstance(spec, Index):
            return cls(spec.path)
        return cls(base / IndexSpec.of(spec).path.expanduser())

    def write(
        self, documents: Sequence[Document], embedder: Embedder, sources: Sequence[str] = ()
    ) -> WriteReport:
        """Make the sources of the documents consist of these; other sources stay.

        What is stored already keeps its vector and takes the new metadata; what a source has no
        longer is deleted. Many documents are several commits, each of whole sources: a write that
        was stopped goes on from the last one. Without documents and sources nothing is opened.

        Args:
            documents: Each is one chunk. Its source is what its metadata name as `source`, else
                its id, else its content.
            embedder: Makes the vectors of what is new.
            sources: Further ones that are up to date: one that no document names is emptied.

        Returns:
            How many chunks were added, kept and removed.

        Raises:
            IndexStateError: Another process writes to the index, it was made with another
                embedder, the folder holds something else, or the disk failed.
        """
        if not documents and not sources:
            return WriteReport(0, 0, 0)
        chunks: dict[str, list[Document]] = {clean(uri): [] for uri in sources}
        for document in documents:
            chunks.setdefault(source_of(document), []).append(document)
        with self._turn:
            index = Index.writer(self.path, embedder=embedder.id, dim=embedder.dim)
            try:
                return _fill(index, chunks, embedder)
            finally:
                index.close()


def _fill(
    index: Index, sources: Mapping[str, Sequence[Document]], embedder: Embedder
) -> WriteReport:
    added = kept = removed = 0
    for batch in _batches(index, sources):
        texts = [indexed_text(sources[uri][at]) for uri, new in batch.items() for at in new]
        vectors = embedder.embed(texts)
        updates, start = [], 0
        for uri, new in batch.items():
            end = start + len(new)
            updates.append(SourceUpdate(uri, "", 0, 0, sources[uri], vectors[start:end]))
            start = end
        wrote = index.write(updates)
        added, kept, removed = added + wrote.added, kept + wrote.kept, removed + wrote.removed
    return WriteReport(added, kept, removed)


def _batches(
    index: Index, sources: Mapping[str, Sequence[Document]]
) -> Iterator[dict[str, list[int]]]:
    """What makes a commit: sources, each with the positions of its new chunks."""
    batch: dict[str, list[int]] = {}
    size = 0
    for uri, chunks in sources.items():
        batch[uri] = index.missing(uri, chunks)
        size += len(batch[uri])
        if size >= WINDOW:
            yield batch
            batch, size = {}, 0
    if batch:
        yield batch
