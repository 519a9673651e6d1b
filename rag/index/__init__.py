"""Chunks, vectors and BM25 in one folder on disk."""

from rag.index.index import Index
from rag.index.types import EMBEDDING_TEXT, IndexStats, Source, SourceUpdate, WriteReport

__all__ = ["EMBEDDING_TEXT", "Index", "IndexStats", "Source", "SourceUpdate", "WriteReport"]
