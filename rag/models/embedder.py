"""The protocol of an embedder."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from rag.errors import ModelError
from rag.models.resource import ModelResource, ModelSpec

if TYPE_CHECKING:
    import numpy as np

DEFAULT_EMBEDDER = "all-minilm-l6-v2"


class EmbedderSpec(ModelSpec):
    """A sentence-transformers model."""

    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="number format; auto: bfloat16 where the processor computes in it",
    )
    batch_size: PositiveInt = Field(
        default=32,
        description="texts that go through a model of sentence-transformers together; models of "
        "the BERT family are computed without padding, in rows that suit the processor's cache",
    )


class Embedder(ModelResource):
    """A model that maps texts to vectors of unit length."""

    default: ClassVar[Any] = DEFAULT_EMBEDDER
    Spec = EmbedderSpec
    foreign = "langchain_core.embeddings.Embeddings"
    opener = "rag.models.opening.encoders:open_embedder"

    id: str
    """Distinguishes this embedder from any other, wherever it is installed."""
    dim: int
    window: int
    """Tokens of a text that are embedded; the rest is cut off."""
    late: ClassVar[bool] = True
    """Whether `token_vectors` are available, for late interaction."""

    @abstractmethod
    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """The texts' vectors: float32 [texts, dim], unit length.

        Raises:
            ModelError: A remote embedder cannot be reached.
        """

    def embed_both(self, texts: Sequence[str]) -> tuple[np.ndarray, list[np.ndarray] | None]:
        """`embed`, and `token_vectors` too where they come with it for nothing.

        Raises:
            ModelError: A remote embedder cannot be reached.
        """
        return self.embed(texts), None

    @abstractmethod
    def embed_query(self, text: str) -> np.ndarray:
        """A query's vector: float32 [dim], unit length.

        Raises:
            ModelError: A remote embedder cannot be reached.
        """

    @abstractmethod
    def token_vectors(self, texts: Sequence[str], *, query: bool = False) -> list[np.ndarray]:
        """For each text the vectors of its tokens: float32 [tokens, dim], unit length.

        Raises:
            ModelError: The model has none (`late` is False).
        """

    def embed_spans(self, text: str, spans: Sequence[tuple[int, int]]) -> np.ndarray:
        """Vectors of parts of a text, each computed with the text around it (late chunking).

        The token vectors of the whole text are pooled over each part (Guenther et al. 2024, arXiv
        2409.04701); a text longer than `window` is read in overlapping windows (section 3.1).

        Args:
            text: Of any length.
            spans: First character and end of each part; they may overlap.

        Returns:
            float32 [spans, dim], unit length.

        Raises:
            ModelError: The model gives no token vectors, or does not pool them by their mean.
        """
        raise ModelError(
            f"the embedder {self.id!r} gives no token vectors, which late chunking needs",
            where="late_chunking",
            fix="use a local embedder, or leave out `late_chunking`",
        )

    @abstractmethod
    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens left out."""
