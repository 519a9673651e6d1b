"""An embedder in this process."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rag.models.embedder import Embedder

if TYPE_CHECKING:
    import numpy as np

    from rag.models.local.encoder.text_encoder import TextEncoder

TOKEN_CACHE_BYTES = 256 * 2**20
"""Of token vectors of documents: the same documents are reranked again and again."""


class _TokenVectorCache:
    """Token vectors by text in half precision, the least recently used evicted first.

    Args:
        budget: Bytes at most.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._bytes = 0
        self._entries: OrderedDict[str, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, text: str) -> np.ndarray | None:
        import numpy as np

        with self._lock:
            if text not in self._entries:
                return None
            self._entries.move_to_end(text)
            return self._entries[text].astype(np.float32)

    def put(self, text: str, vectors: np.ndarray) -> None:
        import numpy as np

        half = vectors.astype(np.float16)
        with self._lock:
            if text not in self._entries:
                self._entries[text] = half
                self._bytes += half.nbytes
            while self._bytes > self._budget:
                _, evicted = self._entries.popitem(last=False)
                self._bytes -= evicted.nbytes


class LocalEmbedder(Embedder):
    """An encoder in this process.

    Args:
        encoder: Computes the vectors.
        id: Distinguishes it from any other embedder.
    """

    def __init__(self, encoder: TextEncoder, id: str) -> None:  # noqa: A002
        self.id = id
        self.encoder = encoder
        self.dim, self.window = encoder.dim, encoder.window
        self._cache = _TokenVectorCache(TOKEN_CACHE_BYTES)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """See `Embedder.embed`."""
        import numpy as np

        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        return self.encoder.vectors(texts, query=False)

    def embed_both(self, texts: Sequence[str]) -> tuple[np.ndarray, list[np.ndarray] | None]:
        """See `Embedder.embed_both`."""
        if not texts:
            return self.embed(texts), []
        vectors, tokens = self.encoder.both(texts)
        return vectors, None if tokens is None else _unit(tokens)

    def embed_query(self, text: str) -> np.ndarray:
        """See `Embedder.embed_query`."""
        vector: np.ndarray = self.encoder.vectors([text], query=True)[0]
        return vector

    def token_vectors(self, texts: Sequence[str], *, query: bool = False) -> list[np.ndarray]:
        """See `Embedder.token_vectors`."""
        if query:
            return self._token_vectors(list(texts), query=True)
        vectors = {text: self._cache.get(text) for text in texts}
        new = [text for text, cached in vectors.items() if cached is None]
        for text, computed in zip(new, self._token_vectors(new, query=False), strict=True):
            vectors[text] = computed
            self._cache.put(text, computed)
        return [one for text in texts if (one := vectors[text]) is not None]

    def _token_vectors(self, texts: list[str], *, query: bool) -> list[np.ndarray]:
        return _unit(self.encoder.tokens(texts, query=query)) if texts else []

    def embed_spans(self, text: str, spans: Sequence[tuple[int, int]]) -> np.ndarray:
        """See `Embedder.embed_spans`."""
        import numpy as np

        from rag.models.local.late import pools_spans, span_vectors

        pools_spans(self.encoder, self.id)
        if not spans:
            return np.zeros((0, self.dim), dtype=np.float32)
        vectors = span_vectors(self.encoder, text, spans)
        # What has no token of its own, such as white space, is what it is alone.
        empty = np.flatnonzero(~vectors.any(axis=1))
        if len(empty):
            vectors[empty] = self.embed([text[slice(*spans[int(at)])] for at in empty])
        return vectors

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """See `Embedder.lengths`."""
        return self.encoder.lengths(texts) if texts else []


def _unit(found: list[np.ndarray]) -> list[np.ndarray]:
    import numpy as np

    norms = [np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in found]
    return [
        (vectors / np.maximum(norm, 1e-12)).astype(np.float32)
        for vectors, norm in zip(found, norms, strict=True)
    ]
