"""Learned sparse retrieval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import Operator
from rag.index import Hit, Index
from rag.index.local.derived import Derived
from rag.models import SparseEncoder
from rag.text.chunk import Chunk


class LearnedSparse(Operator):
    """Retrieves the chunks with the highest dot product of learned term weights (SPLADE).

    Formal et al. 2021 (arXiv 2107.05720, section 3): a trained model weights the terms of a text
    and expands it with related ones. The resource `sparse_encoder` is a sparse encoder of
    sentence-transformers. The chunks' weights are computed at first use and stored beside the
    index (`rag.index.local.derived`). For corpora where exact terms matter and users use others.
    Reads `query`; writes `documents`, best first; only chunks that share a term with the query.
    Example: `{use: learned_sparse, k: 20}`
    """

    writes = "documents"
    light = True
    span_kind = "RETRIEVER"

    k: PositiveInt = Field(default=10, description="maximum number of documents")

    def run(self, query: str, *, index: Index, sparse_encoder: SparseEncoder) -> list[Document]:
        """The chunks.

        Raises:
            ModelError: There is no such encoder.
        """
        import numpy as np

        if not query.strip() or not index.stats().chunks:
            return []
        chunks, weights = _derived(sparse_encoder).of(index)
        words, values = sparse_encoder.encode_query(query)
        dense = np.zeros(sparse_encoder.dim, dtype=np.float32)
        dense[words] = values
        scores = weights @ dense
        best = np.argsort(-scores, kind="stable")[: self.k]
        hits = [Hit(chunks[at], float(scores[at])) for at in best if scores[at] > 0]
        return [hit.document(self.use) for hit in hits]


def _derived(encoder: SparseEncoder) -> Derived[Any]:
    """Weights as a scipy CSR matrix, float32 [chunks, vocabulary]."""

    def compute(chunks: Sequence[Chunk]) -> list[bytes]:
        found = encoder.encode([chunk.indexed_text for chunk in chunks])
        return [words.tobytes() + values.tobytes() for words, values in found]

    def build(data: list[bytes]) -> Any:
        import numpy as np
        from scipy.sparse import csr_matrix

        halves = [(one[: len(one) // 2], one[len(one) // 2 :]) for one in data]
        words = np.frombuffer(b"".join(first for first, _ in halves), dtype=np.int32)
        values = np.frombuffer(b"".join(second for _, second in halves), dtype=np.float32)
        ends = np.cumsum([0, *(len(first) // 4 for first, _ in halves)])
        return csr_matrix((values, words, ends), shape=(len(data), encoder.dim))

    return Derived(f"sparse {encoder.id}", compute, build)
