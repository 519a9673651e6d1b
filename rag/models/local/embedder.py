"""Embedding by sentence-transformers."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rag.models.embedder import Embedder

if TYPE_CHECKING:
    import numpy as np

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
    """A sentence-transformers model.

    Args:
        model: The open `SentenceTransformer`.
        id: Distinguishes it from any other embedder.
        batch_size: Texts that go through the model together.
    """

    def __init__(self, model: Any, id: str, batch_size: int = 32) -> None:  # noqa: A002
        self.id = id
        self._model = model
        self._batch = batch_size
        # Tokenizers and modules have state while they work.
        self._lock = threading.Lock()
        self._cache = _TokenVectorCache(TOKEN_CACHE_BYTES)
        # A tokenizer of its own, so that splitting goes on while the model embeds.
        self._counter = copy.deepcopy(model.tokenizer)
        self._counting = threading.Lock()
        self.dim = int(model.get_embedding_dimension())
        self.window = int(model.max_seq_length)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """See `Embedder.embed`."""
        return self._encode("encode_document", list(texts))

    def embed_query(self, text: str) -> np.ndarray:
        """See `Embedder.embed_query`."""
        vector: np.ndarray = self._encode("encode_query", [text])[0]
        return vector

    def _encode(self, method: str, texts: list[str]) -> np.ndarray:
        import numpy as np

        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        with self._lock:
            vectors: np.ndarray = getattr(self._model, method)(
                texts, batch_size=self._batch, normalize_embeddings=True, show_progress_bar=False
            )
        return np.asarray(vectors, dtype=np.float32)

    def token_vectors(self, texts: Sequence[str], *, query: bool = False) -> list[np.ndarray]:
        """See `Embedder.token_vectors`."""
        if query:
            return self._token_vectors("encode_query", list(texts))
        vectors = {text: self._cache.get(text) for text in texts}
        new = [text for text, cached in vectors.items() if cached is None]
        for text, computed in zip(new, self._token_vectors("encode_document", new), strict=True):
            vectors[text] = computed
            self._cache.put(text, computed)
        return [one for text in texts if (one := vectors[text]) is not None]

    def _token_vectors(self, method: str, texts: list[str]) -> list[np.ndarray]:
        if not texts:
            return []
        with self._lock:
            rows = getattr(self._model, method)(
                texts, batch_size=self._batch, output_value=None, show_progress_bar=False
            )
            special = set(self._model.tokenizer.all_special_ids)
        return [_tokens(row, special) for row in rows]

    def embed_spans(self, text: str, spans: Sequence[tuple[int, int]]) -> np.ndarray:
        """See `Embedder.embed_spans`."""
        import numpy as np

        from rag.models.local.late import LateChunking

        with self._lock:
            late = LateChunking(self._model, self.id, self._batch)
            vectors = late.vectors(text, spans) if spans else np.zeros((0, self.dim))
        # What has no token of its own, such as white space, is what it is alone.
        empty = np.flatnonzero(~vectors.any(axis=1))
        if len(empty):
            vectors[empty] = self.embed([text[slice(*spans[int(at)])] for at in empty])
        return np.asarray(vectors, dtype=np.float32)

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """See `Embedder.lengths`."""
        if not texts:
            return []
        with self._counting:
            ids = self._counter(
                list(texts), add_special_tokens=False, truncation=False, padding=False,
                return_attention_mask=False, return_token_type_ids=False, verbose=False,
            )["input_ids"]  # fmt: skip
        return [len(row) for row in ids]


def _tokens(row: dict[str, Any], special: set[int]) -> np.ndarray:
    """The unit vectors of a text's tokens, special tokens left out: float32 [tokens, dim]."""
    import numpy as np

    ids = row["input_ids"].cpu().numpy()
    own = row["attention_mask"].cpu().numpy().astype(bool) & ~np.isin(ids, list(special))
    vectors = row["token_embeddings"].cpu().float().numpy()[own]
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: np.ndarray = (vectors / np.maximum(norms, 1e-12)).astype(np.float32)
    return unit
