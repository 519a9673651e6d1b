"""An embedder as LangChain's `Embeddings`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from langchain_core.embeddings import Embeddings

from rag.flow.resources import Resources
from rag.models.embedder import Embedder


class EmbedderEmbeddings(Embeddings):
    """An embedder; its vectors have unit length.

    Where an `Embedder` is wanted and this is given, the embedder itself is taken.

    Args:
        model: As `resources.embedder` in a pipeline: a name, a mapping, or an open `Embedder`.
        base: The folder that relative paths start from; default: the current one.
    """

    def __init__(self, model: Any = Embedder.default, *, base: Path | None = None) -> None:
        self.model = model
        self._resources = Resources({"embedder": model}, base=base)

    @property
    def embedder(self) -> Embedder:
        """The embedder, opened at first use.

        Raises:
            ConfigError: `model` describes no embedder.
            ModelError: There is no such model, or it cannot be read.
        """
        return self._resources.get("embedder", Embedder)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The texts' vectors.

        Raises:
            ModelError: The model cannot be opened, or a remote one not be reached.
        """
        vectors: list[list[float]] = self.embedder.embed(texts).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """A query's vector; errors as `embed_documents`."""
        vector: list[float] = self.embedder.embed_query(text).tolist()
        return vector

    def close(self) -> None:
        """Close the model, if it was opened here."""
        self._resources.close()
