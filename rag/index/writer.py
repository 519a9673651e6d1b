"""The index as a place to write to, for steps that fill it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from langchain_core.documents import Document

from rag.flow.resources import Resource
from rag.index.address import address_of
from rag.index.embedding import embed_chunks
from rag.index.index import Index
from rag.index.ingest.batch import Batch
from rag.index.ingest.names import renamed
from rag.index.source_plan import digest
from rag.index.spec import IndexSpec, root_of
from rag.index.store import Address
from rag.index.types import WriteReport
from rag.text.chunk import Chunk
from rag.text.surrogates import escape_surrogates

if TYPE_CHECKING:
    from rag.models import Embedder


class IndexWriter(Resource):
    """Where documents are written to: the resource `index`, for steps that fill it.

    A flow may be kept open for long, so the index is not: between two writes any process may
    write to it. Writes through one `IndexWriter` follow one another, from any thread.

    Args:
        where: The folder or address; made at the first write if missing.
        root: The folder that files are named relative to.
    """

    default = Index.default
    Spec = IndexSpec
    shorthand = "path"

    def __init__(self, where: Address | Path | str, root: Path | None = None) -> None:
        self.address, self.root = address_of(where), root
        self._turn = threading.Lock()

    @classmethod
    def open(cls, spec: IndexSpec | Index | Address | Path | str, *, base: Path = Path()) -> Self:
        """The index that a pipeline names, which need not be there yet.

        Args:
            spec: What a pipeline says of it, its folder or address, or an `Index` open for reading.
            base: The folder that a relative path starts from.
        """
        if isinstance(spec, Index):
            return cls(spec.address, spec.root)
        return cls(address_of(spec, base), root_of(spec, base))

    @classmethod
    def takes(cls, resource: Resource) -> bool:
        """An `IndexWriter`, or an `Index` that is open for reading: its store is written to."""
        return isinstance(resource, cls | Index)

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
        report = WriteReport(0, 0, 0)
        if not documents and not sources:
            return report
        chunks: dict[str, list[Chunk]] = {self._name(uri): [] for uri in sources}
        for chunk in map(Chunk.of, documents):
            source = chunk.source or chunk.id or digest(escape_surrogates(chunk.text))
            chunks.setdefault(self._name(source), []).append(chunk)
        with self._turn, closing(self._open(embedder)) as index:
            batch = Batch(index, embedder)
            for uri, found in chunks.items():
                batch.add(uri, found)
                if batch.full:
                    report += batch.commit()
            return report + batch.commit()

    def _name(self, source: str) -> str:
        return renamed(escape_surrogates(source), self.root)

    def _open(self, embedder: Embedder) -> Index:
        return Index.writer(
            self.address,
            embedder=embedder.id,
            dim=embedder.dim,
            embed=partial(embed_chunks, embedder),
        )
