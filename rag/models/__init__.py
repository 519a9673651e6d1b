"""Models: one loader for embedders, rerankers and language models, LangChain's included."""

from rag.models.base import (
    LLM,
    NLI,
    CrossEncoder,
    Embedder,
    Generation,
    Prompt,
    Sampling,
    SparseEncoder,
)

__all__ = [
    "LLM",
    "NLI",
    "CrossEncoder",
    "Embedder",
    "Generation",
    "Prompt",
    "Sampling",
    "SparseEncoder",
]
