"""What LangChain's applications use of ours: index, flows, language model, embedder.

Importing this loads no model library; a model is opened at its first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag.connect.langchain.chat_model import ChatLLM
    from rag.connect.langchain.embeddings import EmbedderEmbeddings
    from rag.connect.langchain.retriever import FlowRetriever
    from rag.connect.langchain.vector_store import IndexVectorStore

__all__ = ["ChatLLM", "EmbedderEmbeddings", "FlowRetriever", "IndexVectorStore"]

_MODULES = {
    "ChatLLM": "chat_model",
    "EmbedderEmbeddings": "embeddings",
    "FlowRetriever": "retriever",
    "IndexVectorStore": "vector_store",
}


def __getattr__(name: str) -> Any:
    """Import a class at its first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
