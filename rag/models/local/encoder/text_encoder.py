"""What an embedder needs of an encoder, however it computes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a long text that went through an encoder together, without special tokens.

    Attributes:
        starts: First character of each token: int64 [tokens].
        vectors: Of the tokens: float32 [tokens, dim].
    """

    starts: np.ndarray
    vectors: np.ndarray


class TextEncoder(ABC):
    """An encoder with its tokenizer. Every method may be called from any thread.

    Attributes:
        dim: Length of a vector.
        window: Tokens of a text that are read, special ones included.
        pooling: How a text's vector comes of its tokens': `mean`, `cls`, or another way of
            sentence-transformers.
    """

    dim: int
    window: int
    pooling: str

    @abstractmethod
    def vectors(self, texts: Sequence[str], *, query: bool) -> np.ndarray:
        """float32 [texts, dim], unit length; at least one text.

        Args:
            texts: What is embedded.
            query: Whether they are queries, for models that tell queries from documents.
        """

    @abstractmethod
    def tokens(self, texts: Sequence[str], *, query: bool) -> list[np.ndarray]:
        """The tokens of each text without special ones: float32 [tokens, dim].

        Args:
            texts: At least one.
            query: As for `vectors`.
        """

    def both(self, texts: Sequence[str]) -> tuple[np.ndarray, list[np.ndarray] | None]:
        """`vectors` and `tokens` of documents; None for the latter where they come at a price.

        Args:
            texts: At least one.
        """
        return self.vectors(texts, query=False), None

    @abstractmethod
    def windows(self, text: str, overlap: int) -> list[Window]:
        """All tokens of a document of any length.

        Args:
            text: Behind its prompt, which counts as text.
            overlap: Tokens of a window that the one before it has, too.
        """

    @abstractmethod
    def finished(self, means: np.ndarray) -> np.ndarray:
        """Means of token vectors as the model's vectors: float32 [n, dim], of any length."""

    @property
    @abstractmethod
    def document_prompt(self) -> str:
        """What the model puts before documents."""

    @abstractmethod
    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens left out; at least one text."""
