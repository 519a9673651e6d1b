"""Dense retrieval of whole documents."""

from __future__ import annotations

from typing import Any

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import Operator
from rag.index import Index
from rag.index.aggregator import Aggregator
from rag.index.types import NamedAggregate
from rag.models import Embedder
from rag.operators.search import Filter, combine_filters, query_vector


class DenseDocuments(Operator):
    """Retrieves whole documents by the vectors of all of their chunks, aggregated.

    Split, encode, aggregate (SEA, Hu et al. 2022, arXiv 2208.11271): long code, or any long text,
    is split, its parts are embedded, and their vectors put together: `mean` (the cosine with the
    mean vector), `max` (the best part), or `attention` (the cosines weighted by their softmax). The
    paper learns these weights: so does `rag train aggregate`, whose folder the resource
    `aggregator` names. For questions about files as a whole, such as which one
    implements something; with `splitter: code` the parts are functions and classes. Exact.
    Reads `query` and, if present, `passages` (as `dense` does) and `where` (a filter); writes
    `documents`: of each the nearest chunk, best document first. `parents` with `of: document`
    makes it the whole.
    Example: `{use: dense_documents, k: 10, aggregate: attention}`
    """

    writes = "documents"
    light = True
    span_kind = "RETRIEVER"

    k: PositiveInt = Field(default=10, description="maximum number of documents")
    aggregate: NamedAggregate | None = Field(
        default=None,
        description="how the scores of chunks become a document's; default: as the resource "
        "`aggregator` says, and attention without one",
    )
    where: Filter = None

    def run(
        self,
        query: str,
        passages: list[str] | None = None,
        where: dict[str, Any] | None = None,
        *,
        index: Index,
        embedder: Embedder,
        aggregator: Aggregator,
    ) -> list[Document]:
        """The nearest chunk of each document.

        Raises:
            IndexStateError: The index was made with another embedder, or attention was learned
                with another one.
        """
        found = index.dense_sources(
            query_vector(embedder, query, passages), self.k,
            aggregate=self.aggregate or aggregator.aggregate,
            where=combine_filters(self.where, where), embedder=embedder.id,
        )  # fmt: skip
        return [hit.document(self.use) for hit in found]
