"""Models: one loader, the embedder, the reranker, the language model, LangChain's in their place."""

from rag.llm.base import LLM, CrossEncoder, Embedder, Generation, Prompt, Sampling

__all__ = ["LLM", "CrossEncoder", "Embedder", "Generation", "Prompt", "Sampling"]
