"""Retrieval by walks over a graph of entities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.errors import ConfigError
from rag.flow import Operator, RunContext
from rag.index import Hit, Index
from rag.models import Embedder
from rag.operators.entities import entities, mentioned
from rag.operators.entity_graph import EntityGraph, entity_graph
from rag.text.chunk import Chunk

if TYPE_CHECKING:
    import numpy as np

MOST = 50_000
"""Chunks at most: the graph is in memory, with a vector for each entity."""


class Graph(Operator):
    """Retrieves chunks by walks over a graph of what they name, from what the question names.

    HippoRAG (Gutierrez et al. 2024, arXiv 2405.14831): entities are connected with the chunks
    that name them, with entities of similar names, and with those that a fact connects them to;
    the score is personalised PageRank from the question's entities, rare ones most. Documents of
    a search before it are where walks begin too (HippoRAG 2, arXiv 2502.14802). For questions
    whose answer needs several documents that share a name. Entities are those of the facts that
    a model wrote at ingest (`describe: {by: triples}`), else names and noun phrases by rules; the
    paper's are by a model, of the question too. Exact, up to 50,000 chunks. What is read off
    chunks is stored beside the index at first use.
    Reads `query` and, if present, `documents` (best first); writes `documents`, best first: none
    where nothing of the question is in the graph.
    Example: `{use: graph, k: 20}`
    """

    writes = "documents"
    span_kind = "RETRIEVER"

    k: PositiveInt = Field(default=10, description="maximum number of documents")
    damping: float = Field(
        default=0.5, gt=0, lt=1, description="chance of a further step, instead of starting again"
    )
    synonyms: float = Field(
        default=0.85, ge=0, description="cosine from which two names are connected; 2: none are"
    )
    linked: float = Field(
        default=0.6,
        ge=0,
        description="cosine from which a name of the question that no chunk has stands for one",
    )
    passages: float = Field(
        default=0.8,
        ge=0,
        le=1,
        description="share of walks that begin at `documents`, where the question names something",
    )

    def run(
        self,
        query: str,
        documents: list[Document] | None = None,
        *,
        index: Index,
        embedder: Embedder,
        ctx: RunContext,
    ) -> list[Document]:
        """The chunks.

        Raises:
            ConfigError: The index is too large for a graph in memory.
        """
        import numpy as np

        count = index.stats().chunks
        if count > MOST:
            raise ConfigError(
                f"the graph is in memory, and the index has {count} chunks, more than {MOST}",
                fix="retrieve with dense or bm25",
            )
        if not count or not (query.strip() or documents):
            return []
        chunks, graph = entity_graph(embedder, self.synonyms).of(index)
        seeds = self._seeds(query, documents or [], chunks, graph, embedder)
        if not seeds.any():
            ctx.warn("the graph knows nothing that the question names")
            return []
        shares = graph.shares(seeds, self.damping)[len(graph.names) :]
        best = np.argsort(-shares, kind="stable")[: self.k]
        return [Hit(chunks[at], float(shares[at])).document(self.use) for at in best if shares[at]]

    def _seeds(
        self,
        query: str,
        documents: list[Document],
        chunks: list[Chunk],
        graph: EntityGraph,
        embedder: Embedder,
    ) -> np.ndarray:
        """Where walks begin: float64 [nodes]."""
        import numpy as np

        names = mentioned(query, dict(graph.names))
        others = [name for name in entities(query) if name not in graph.names]
        found = [graph.names[name] for name in names]
        if others:
            found += graph.nearest(embedder.embed(others), self.linked)
        seeds = np.zeros(len(graph.names) + len(chunks))
        for entity in found:
            seeds[entity] = 1 / max(int(graph.spread[entity]), 1)
        if seeds.any():
            seeds *= (1 - (self.passages if documents else 0)) / seeds.sum()
        places = {chunk.id: len(graph.names) + at for at, chunk in enumerate(chunks)}
        ranks = {
            places[one.id]: 1 / rank
            for rank, one in enumerate(documents, start=1)
            if one.id in places
        }
        share = self.passages if seeds.any() else 1.0
        for place, weight in ranks.items():
            seeds[place] += share * weight / sum(ranks.values())
        return seeds
