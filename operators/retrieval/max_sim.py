"""Late interaction over the whole index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.errors import ConfigError
from rag.flow import Operator
from rag.index import Hit, Index
from rag.index.local.derived import Derived, half
from rag.models import Embedder
from rag.text.chunk import Chunk

if TYPE_CHECKING:
    import numpy as np

MOST = 50_000
"""Chunks at most: for so many, a scan of all tokens takes a second and 10 GB of memory."""
SLICE = 1_000
"""Chunks that are compared at a time."""


class MaxSim(Operator):
    """Retrieves chunks by late interaction (ColBERT, arXiv 2004.12832, section 3).

    The score is the mean over the query's tokens of the highest cosine with a token of the chunk
    (Khattab and Zaharia 2020). Exact: all chunks are compared, up to 50,000. The token vectors
    are computed at first use and stored beside the index (`rag.index.local.derived`). For
    embedders trained for late interaction; with others, `dense` and `rerank` are as good and
    cheaper.
    Reads `query`; writes `documents`, best first.
    Example: `{use: max_sim, k: 20}`
    """

    writes = "documents"
    light = True
    span_kind = "RETRIEVER"

    k: PositiveInt = Field(default=10, description="maximum number of documents")

    def run(self, query: str, *, index: Index, embedder: Embedder) -> list[Document]:
        """The chunks.

        Raises:
            ConfigError: The index is too large to be scanned.
            ModelError: The embedder gives no token vectors.
        """
        import numpy as np

        count = index.stats().chunks
        if count > MOST:
            raise ConfigError(
                f"max_sim scans all chunks, and the index has {count}, more than {MOST}",
                fix="retrieve with dense or bm25, then use rerank",
            )
        if not query.strip() or not count:
            return []
        vectors = embedder.token_vectors([query], query=True)[0]
        if not len(vectors):
            return []
        chunks, tokens = _derived(embedder).of(index)
        scores = tokens.scores(vectors)
        best = np.argsort(-scores, kind="stable")[: self.k]
        return [Hit(chunks[at], float(scores[at])).document(self.use) for at in best]


@dataclass(frozen=True)
class _Tokens:
    """The token vectors of all chunks, concatenated.

    Attributes:
        vectors: float16 [tokens, dim].
        ends: int64 [chunks]: where each chunk's tokens end.
    """

    vectors: np.ndarray
    ends: np.ndarray

    def scores(self, query: np.ndarray) -> np.ndarray:
        """MaxSim of each chunk, divided by the query's tokens: float32 [chunks]."""
        import numpy as np

        scores = np.zeros(len(self.ends), dtype=np.float32)
        starts = np.concatenate([[0], self.ends[:-1]])
        for first in range(0, len(self.ends), SLICE):
            part = slice(first, first + SLICE)
            low, high = starts[part][0], self.ends[part][-1]
            filled = np.flatnonzero(self.ends[part] > starts[part])
            if not len(filled):
                continue
            near = self.vectors[low:high].astype(np.float32) @ query.T
            best = np.maximum.reduceat(near, starts[part][filled] - low, axis=0)
            scores[first + filled] = best.mean(axis=1)
        return scores


def _derived(embedder: Embedder) -> Derived[_Tokens]:
    def compute(chunks: Sequence[Chunk]) -> list[bytes]:
        texts = [chunk.indexed_text for chunk in chunks]
        return [half(vectors) for vectors in embedder.token_vectors(texts)]

    def build(data: list[bytes]) -> _Tokens:
        import numpy as np

        ends = np.cumsum([len(one) // (2 * embedder.dim) for one in data], dtype=np.int64)
        joined: Any = np.frombuffer(b"".join(data), dtype=np.float16)
        return _Tokens(joined.reshape(-1, embedder.dim), ends)

    return Derived(f"tokens {embedder.id}", compute, build)
