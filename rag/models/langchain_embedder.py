"""LangChain's embeddings behind our protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from rag.errors import ModelError
from rag.models.embedder import Embedder
from rag.models.unreachable import unreachable
from rag.text.tokens import count_tokens

if TYPE_CHECKING:
    import numpy as np
    from langchain_core.embeddings import Embeddings


class LangChainEmbedder(Embedder):
    """LangChain embeddings; their vectors are normalised to unit length.

    Args:
        model: Any `Embeddings`.

    Raises:
        ModelError: The service cannot be reached.
    """

    late: ClassVar[bool] = False

    def __init__(self, model: Embeddings) -> None:
        self.model = model
        name = getattr(model, "model", None) or getattr(model, "model_name", None)
        self.id = f"{type(model).__name__}:{name}" if name else type(model).__name__
        self.window = 8192
        self.dim = int(self.embed_query("dimension").shape[0])

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """See `Embedder.embed`."""
        import numpy as np

        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        return _unit(self._call("embed_documents", list(texts)))

    def embed_query(self, text: str) -> np.ndarray:
        """See `Embedder.embed_query`."""
        vector: np.ndarray = _unit([self._call("embed_query", text)])[0]
        return vector

    def _call(self, method: str, argument: Any) -> Any:
        try:
            return getattr(self.model, method)(argument)
        except Exception as error:  # each provider's client has its own
            what = f"the embedder {self.id!r} gave no vectors"
            raise unreachable(what, "embedder", error) from error

    def token_vectors(self, texts: Sequence[str], *, query: bool = False) -> list[np.ndarray]:
        """See `Embedder.token_vectors`; LangChain's interface has none."""
        raise ModelError(
            f"the embedder {self.id!r} has no token vectors, which late interaction needs",
            fix="use a local embedder, or another retriever instead of max_sim",
        )

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Estimates: LangChain's interface counts no tokens."""
        return [count_tokens(text) for text in texts]


def _unit(vectors: Any) -> np.ndarray:
    import numpy as np

    array = np.asarray(vectors, dtype=np.float32)
    unit: np.ndarray = array / np.maximum(np.linalg.norm(array, axis=-1, keepdims=True), 1e-12)
    return unit
