"""An index as LangChain's `VectorStore`."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from rag.connect.langchain.embeddings import EmbedderEmbeddings
from rag.errors import InputError
from rag.index import Index
from rag.index.address import address_of
from rag.index.embedding import embed_chunks
from rag.index.ingest.batch import Batch
from rag.models.embedder import Embedder
from rag.models.langchain_embedder import LangChainEmbedder
from rag.text.chunk import Chunk

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from langchain_core.embeddings import Embeddings

Filter = Mapping[str, Any]
"""A metadata filter as in `rag.index.filters`: `{"year": {"$gte": 1990}}`."""

_GIVEN = "given_source"
"""The metadata key under which the index has a document's own `source`; every one added has it."""


class IndexVectorStore(VectorStore):
    """An index, which pipelines and the command may use at the same time.

    A document that is added is a source of its own in the index: its id, a random one where none
    is given, is the source's URI, and adding under an id that is there replaces it. A `source` in
    its metadata comes back from this store, which also filters by it; pipelines find it as
    `given_source`. Chunks that were ingested are found by their ids too, and deleted with their
    files only. Scores are cosines. Of metadata, what JSON cannot hold becomes text, and a key
    `score` is not stored.

    The index is open for reading; it is opened for writing for the time of each write. A write
    fails while another process writes.

    Args:
        path: The folder or address of the index; an empty index is made where there is none.
        embedding: What the index was or will be filled with: LangChain `Embeddings`, or as
            `resources.embedder` in a pipeline.

    Raises:
        IndexStateError: The index was made with another embedder, is damaged, or the folder holds
            other files.
        ModelError: There is no such embedder, or it cannot be opened.
    """

    def __init__(self, path: Path | str, embedding: Any = Embedder.default) -> None:
        self.address = address_of(path)
        self.embedder: Embedder = Embedder.load(embedding, base=Path())
        self._turn = threading.Lock()
        with self._writer():
            pass
        self._index = Index.open(self.address)

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        path: Path | str = "./index",
        **kwargs: Any,
    ) -> Self:
        """A store over the index at `path`, with the texts added; see `add_texts`."""
        store = cls(path, embedding)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    @property
    def embeddings(self) -> Embeddings:
        """The embedder as LangChain takes it."""
        if isinstance(self.embedder, LangChainEmbedder):
            return self.embedder.model
        return EmbedderEmbeddings(self.embedder)

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Embed and store texts; many are several commits.

        Args:
            texts: Each is one chunk.
            metadatas: Of each text.
            ids: Of each text; None: a random one. Of equal ids the last one counts.
            **kwargs: None are known.

        Returns:
            The id of each text.

        Raises:
            IndexStateError: Another process writes to the index, or the disk failed.
            ModelError: The embedder cannot be reached.
            ValueError: Metadata or ids are not as many as the texts.
        """
        texts = list(texts)
        metadatas = [{} for _ in texts] if metadatas is None else metadatas
        keys = [key or str(uuid.uuid4()) for key in ids or [None] * len(texts)]
        if not len(texts) == len(metadatas) == len(keys):
            raise ValueError(
                f"{len(texts)} texts, {len(metadatas)} metadata and {len(keys)} ids do not fit"
            )
        chunks = {
            key: Chunk(text, _stored(metadata))
            for text, metadata, key in zip(texts, metadatas, keys, strict=True)
        }
        if chunks:
            with self._writer() as index:
                batch = Batch(index, self.embedder)
                for key, chunk in chunks.items():
                    batch.add(key, [chunk])
                    if batch.full:
                        batch.commit()
                batch.commit()
        return keys

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Remove documents by id, unknown ones are passed over; None: remove all.

        Raises:
            IndexStateError: Another process writes to the index, or the disk failed.
            InputError: An id is that of an ingested chunk; nothing was removed then.
        """
        with self._writer() as index:
            if ids is None:
                index.delete([source.uri for source in index.sources()])
                return True
            for chunk in index.get(ids):
                raise InputError(
                    f"{chunk.id} is a chunk of the ingested {chunk.source}",
                    fix="remove the file and ingest again",
                )
            index.delete([key for key in ids if _added(index, key)])
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The documents of these ids, in that order; unknown ids are passed over."""
        found = {chunk.id: chunk for chunk in self._index.get(ids)}
        found |= {key: chunk for key in ids for chunk in _added(self._index, key)}
        return [_as_added(found[key]) for key in ids if key in found]

    def similarity_search(
        self, query: str, k: int = 4, filter: Filter | None = None, **kwargs: Any
    ) -> list[Document]:
        """The documents nearest to a query by cosine.

        Raises:
            InputError: The filter is wrong.
            ModelError: The embedder cannot be reached.
        """
        return [document for document, _ in self.similarity_search_with_score(query, k, filter)]

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: Filter | None = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """As `similarity_search`, each with its cosine, -1 to 1."""
        return self._nearest(self.embedder.embed_query(query), k, filter)

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, filter: Filter | None = None, **kwargs: Any
    ) -> list[Document]:
        """The documents nearest to a vector by cosine.

        Raises:
            IndexStateError: The vector is of another length.
            InputError: The filter is wrong.
        """
        return [document for document, _ in self._nearest(embedding, k, filter)]

    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """Documents near to a query and unlike each other; errors as `similarity_search`.

        Args:
            query: In plain words.
            k: How many at most.
            fetch_k: How many are chosen from.
            lambda_mult: Weight of relevance, 0 to 1.
            filter: What documents must satisfy.
            **kwargs: None are known.
        """
        vector = self.embedder.embed_query(query).tolist()
        return self.max_marginal_relevance_search_by_vector(vector, k, fetch_k, lambda_mult, filter)

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """As `max_marginal_relevance_search`, near to a vector."""
        import numpy as np

        found = self.similarity_search_by_vector(embedding, fetch_k, filter)
        vectors = self.embedder.embed([Chunk.of(document).indexed_text for document in found])
        chosen = maximal_marginal_relevance(
            np.asarray(embedding, dtype=np.float32), list(vectors), lambda_mult, k
        )
        return [found[at] for at in chosen]

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return lambda cosine: min(max(cosine, 0.0), 1.0)

    def _nearest(
        self, vector: list[float] | np.ndarray, k: int, where: Filter | None
    ) -> list[tuple[Document, float]]:
        import numpy as np

        query = np.asarray(vector, dtype=np.float32)
        found = self._index.dense(query, k, where=_where(where), embedder=self.embedder.id)
        return [(_as_added(hit.chunk), hit.score) for hit in found]

    @contextmanager
    def _writer(self) -> Iterator[Index]:
        with self._turn:
            model = self.embedder
            index = Index.writer(
                self.address, embedder=model.id, dim=model.dim, embed=partial(embed_chunks, model)
            )
            try:
                yield index
            finally:
                index.close()

    def close(self) -> None:
        """Close the index."""
        self._index.close()


def _stored(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as the index stores them, which has the id in the place of a source."""
    stored = {key: value for key, value in metadata.items() if key != "source"}
    return {**stored, _GIVEN: metadata.get("source")}


def _where(given: Filter | None) -> Filter | None:
    """The filter with `source` as documents have it: their own, or the ingested file's."""
    if given is None:
        return None
    parts: list[Filter] = []
    for key, condition in given.items():
        if key in ("$and", "$or") and isinstance(condition, list | tuple):
            parts.append({key: [_where(part) for part in condition]})
        elif key != "source":
            parts.append({key: condition})
        else:
            single = condition if isinstance(condition, Mapping) else {"$eq": condition}
            for operator, value in single.items():
                join = "$and" if operator in ("$ne", "$nin") else "$or"
                parts.append({join: [{name: {operator: value}} for name in ("source", _GIVEN)]})
    return {"$and": parts}


def _added(index: Index, key: str) -> list[Chunk]:
    """The chunk that was added under an id, if there is one."""
    return [chunk for chunk in index.of_source(key) if _GIVEN in chunk.metadata]


def _as_added(chunk: Chunk) -> Document:
    """A chunk as the document that was added; an ingested one as it is."""
    if _GIVEN not in chunk.metadata:
        return chunk.document()
    metadata = dict(chunk.metadata)
    key, given = metadata.pop("source"), metadata.pop(_GIVEN)
    if given is not None:
        metadata["source"] = given
    return Document(id=key, page_content=chunk.text, metadata=metadata)
